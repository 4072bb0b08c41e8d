"""Folders of runs: one run each, never two mixed."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

import lightning as L
from lightning.pytorch.loggers import Logger

DEFAULT = Path("runs/default")
RESULTS = ("fit.json", "results.json", "predictions.safetensors", "predictions.xyz")
RESULTS += ("samples.xyz", "samples.json")
LOGS = ("metrics", "tensorboard")


def new_folder(first: Path = DEFAULT) -> Path:
    """Create the folder of a run that named none: `first`, or its name and the next free number.

    Creating it claims it: two runs that start at once have two folders.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as top:
        ...     [new_folder(Path(top) / "default").name for _ in range(3)]
        ['default', 'default-2', 'default-3']
    """
    number = 1
    while True:
        folder = first if number == 1 else first.with_name(f"{first.name}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            number += 1
        else:
            return folder


def check_folder(folder: Path, checkpoint: str | Path | None, *, overwrite: bool) -> None:
    """Refuse to train into a folder that holds another run.

    Args:
        folder: of the run.
        checkpoint: that the run resumes from.
        overwrite: whether the other run shall go.

    Raises:
        ValueError: if it holds a run, of which the checkpoint is none.
    """
    if overwrite and checkpoint is not None:
        raise ValueError(
            "A run is resumed or overwritten: leave out --ckpt_path, or overwrite (--overwrite)."
        )
    content = next(_content(folder), None)
    if content is None or overwrite or (checkpoint and _inside(checkpoint, folder)):
        return
    raise ValueError(
        f"The folder {folder} holds a run ({content.relative_to(folder)}): name another one "
        "(--trainer.default_root_dir), resume that run (--ckpt_path "
        f"{folder / 'checkpoints' / 'last.ckpt'}), or replace it (--overwrite)."
    )


def check_results(folder: Path, checkpoint: str | Path) -> None:
    """Refuse to write results of a checkpoint into the folder of another run.

    Raises:
        ValueError: if the folder has checkpoints, of which this is none.
    """
    own = next((folder / "checkpoints").glob("*.ckpt"), None)
    if own is not None and not _inside(checkpoint, folder):
        raise ValueError(
            f"{checkpoint} does not belong to the run in {folder}, whose results would be mixed "
            "with its own: name another folder (--trainer.default_root_dir)."
        )


def log_folders(folder: Path) -> set[Path]:
    """The folders of loggers in that of a run, one for each of its starts."""
    return {version for name in LOGS for version in (folder / name).glob("version_*")}


def remove_unused_logs(folder: Path, before: Collection[Path]) -> None:
    """Remove the folders of loggers of a start that ended before it logged a value.

    Args:
        folder: of the run, which goes, too, if it is then empty.
        before: `log_folders` before this start.
    """
    new = log_folders(folder) - {*before}
    if any((version / "metrics.csv").exists() for version in new):
        return
    for version in new:
        shutil.rmtree(version, ignore_errors=True)
    for path in (*(folder / name for name in LOGS), folder):
        with suppress(OSError):  # one that is not empty stays
            path.rmdir()


class StartFolder(L.Callback):
    """Remove what an earlier run left when training starts, and not before.

    A run that cannot start, for want of data say, leaves the one before as it is.

    Args:
        folder: of the run.
        resumed: whether the run goes on: only its results go, which are those of other weights.
    """

    def __init__(self, folder: Path, *, resumed: bool) -> None:
        self.folder, self.resumed = folder, resumed

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.is_global_zero or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        for name in RESULTS:
            (self.folder / name).unlink(missing_ok=True)
        if self.resumed:
            return
        for name in ("config.yaml", "init.json"):
            (self.folder / name).unlink(missing_ok=True)
        for path in (self.folder / "checkpoints").glob("*.ckpt"):
            path.unlink()
        logs = {Path(path) for path in map(_log_folder, trainer.loggers) if path}
        for name in LOGS:
            for version in (self.folder / name).glob("version_*"):
                if version not in logs:
                    shutil.rmtree(version)


def _content(folder: Path) -> Iterator[Path]:
    """What shows that a folder holds a run."""
    yield from (folder / "checkpoints").glob("*.ckpt")
    yield from (folder / name for name in RESULTS if (folder / name).exists())
    yield from (folder / "metrics").glob("version_*/metrics.csv")


def _inside(checkpoint: str | Path, folder: Path) -> bool:
    """Whether a checkpoint is one of the folder's; Lightning knows some by name."""
    if str(checkpoint) in ("best", "last", "hpc", "registry"):
        return True
    return Path(checkpoint).resolve().is_relative_to(folder.resolve())


def _log_folder(logger: Logger) -> str | None:
    return getattr(logger, "log_dir", None)
