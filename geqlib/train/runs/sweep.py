"""Many runs of one configuration, each completed once: folds, seeds, sizes of the training set."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any, Literal

import torch

from geqlib.counted import shown_unit
from geqlib.quiet import in_process_of_a_run
from geqlib.train.run import fit, predict, test
from geqlib.train.runs.configuration import Config, as_arguments
from geqlib.train.runs.recipe import difference, write_recipe
from geqlib.train.steps.progress import print_line, watched

WIDTH = 80  # of a terminal


@dataclass(frozen=True)
class SweepRun:
    """One run of a sweep.

    Args:
        folder: of the run.
        config: configuration that all runs share.
        overrides: this run's changes to it, as on the command line.
        seed: of all that is random.
        checkpoint: which one is tested.
        predict: whether predictions belong to the run.
        threads: number of threads; torch's own number by default.
        recipe: of `geqlib.train.runs.recipe.read_recipe`, and what else tells this run from others.
            It is kept with the run, which counts only as long as it is the same.

    Example:
        >>> SweepRun(Path("runs/size50"), "tiny.yaml", ("--data.init_args.num_train=50",)).finished
        False
    """

    folder: Path
    config: Config
    overrides: tuple[str, ...] = ()
    seed: int = 0
    checkpoint: Literal["best", "last"] = "best"
    predict: bool = False
    threads: int | None = None
    recipe: Mapping[str, Any] | None = None

    @property
    def finished(self) -> bool:
        last = "predictions.safetensors" if self.predict else "results.json"
        return (self.folder / last).exists()


def complete(run: SweepRun) -> None:
    """Train, test and predict, as far as that is missing; training resumes from its last epoch.

    A terminal shows a progress bar, if no other process writes to it.

    Raises:
        ValueError, OSError, KeyboardInterrupt: see `geqlib.train.run.fit`.
    """
    train(run)
    overrides = _overrides(run)
    tested = run.folder / "checkpoints" / f"{run.checkpoint}.ckpt"
    if not (run.folder / "results.json").exists():
        metrics = test(run.config, tested, overrides, verbose=False)
        print_line(_line(run.folder.name, metrics))
    if run.predict and not (run.folder / "predictions.safetensors").exists():
        predict(run.config, tested, overrides)


def train(run: SweepRun) -> None:
    """The first part of `complete`: a run whose learning rate is not chosen needs no test."""
    if run.threads is not None:
        torch.set_num_threads(run.threads)
    last = run.folder / "checkpoints" / "last.ckpt"
    if not (run.folder / "fit.json").exists():
        if run.recipe is not None and not last.exists():
            write_recipe(run.folder, run.recipe)
        resumed = last if last.exists() else None
        # without a checkpoint there is nothing to lose but the log of part of an epoch
        fit(run.config, _overrides(run), ckpt_path=resumed, overwrite=resumed is None)


def _line(name: str, metrics: Mapping[str, float]) -> str:
    """The first metrics of a run, up to the width of a terminal; its results have all.

    Example:
        >>> _line("fold0", {"test/mae": 0.5, "test/" + "long" * 20: 1.0})
        'fold0  test/mae 0.5'
    """
    line = name
    for part in map(_shown, metrics.items()):
        if len(line) + len(part) > WIDTH:
            break
        line += part
    return line


def _shown(metric: tuple[str, float]) -> str:
    name, value = metric
    scale, unit = shown_unit(name, {})
    return f"  {name} {scale * value:.4g} {unit}".rstrip()


def _overrides(run: SweepRun) -> list[str]:
    own = {
        "seed_everything": run.seed,
        "trainer.default_root_dir": str(run.folder),
        "trainer.enable_progress_bar": parent_process() is None and watched(),
    }
    return [*run.overrides, *as_arguments(own)]


def check_recipes(runs: Sequence[SweepRun], *, overwrite: bool) -> None:
    """Refuse parts of a sweep that were made otherwise than this sweep would make them.

    Args:
        runs: of the sweep, with their recipes.
        overwrite: whether such parts are removed, so that they are made again.

    Raises:
        ValueError: with what differs.
    """
    for run in runs:
        if run.recipe is None or not any(_parts(run.folder)):
            continue
        change = difference(run.folder, run.recipe)
        if change and not overwrite:
            raise ValueError(
                f"{run.folder} holds a run that was made otherwise ({change}): name another "
                "folder (--out), or make such runs again (--overwrite)."
            )
        if change:
            shutil.rmtree(run.folder)


def _parts(folder: Path) -> list[Path]:
    """What of a run there is."""
    names = ("fit.json", "results.json", "predictions.safetensors")
    parts = [folder / name for name in names] + [*(folder / "checkpoints").glob("*.ckpt")]
    return [path for path in parts if path.exists()]


def complete_all(
    runs: Sequence[SweepRun], jobs: int = 1, announce: Callable[[str], object] = lambda line: None
) -> None:
    """Complete the runs that are not finished.

    Args:
        runs: of the sweep.
        jobs: how many at a time, each in a process of its own if there are several.
        announce: called with "NAME, K of N" when a run starts, with several jobs when it ends.

    Raises:
        ValueError, OSError, KeyboardInterrupt: of the first run that fails; no further one starts.
    """
    missing = [run for run in runs if not run.finished]
    if jobs == 1:
        for k, run in enumerate(missing):
            announce(f"{run.folder.name}, {k + 1} of {len(missing)}")
            complete(run)
        return
    context = get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=in_process_of_a_run) as pool:
        started = {pool.submit(complete, run): run for run in missing}
        try:
            for k, done in enumerate(as_completed(started)):
                done.result()
                announce(f"{started[done].folder.name}, {k + 1} of {len(missing)}")
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
