"""Where metrics go: CSV always, TensorBoard where it is installed, and what a run names."""

from __future__ import annotations

import inspect
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

CSV = "metrics"


def loggers_of(folder: Path, chosen: Any) -> Any:
    """The loggers of a run, of which the first writes what `geqlib report` reads.

    Args:
        folder: of the run.
        chosen: `trainer.logger`: None or true for CSV, and TensorBoard where it is installed; a
            logger or a list of them, which are used beside CSV; false for none at all.

    Example:
        >>> loggers_of(Path("runs/mine"), False)
        False
    """
    if chosen is False or chosen == []:
        return False
    own: list[Any] = [CSVLogger(folder, CSV)]
    if chosen is None or chosen is True:
        named = [TensorBoardLogger(folder, "tensorboard")] if find_spec("tensorboard") else []
    else:
        named = list(chosen) if isinstance(chosen, list | tuple) else [chosen]
    return [*own, *named]


def into_folder(config: Any, folder: str | None) -> None:
    """Have the loggers of a configuration write into the folder of its run; in place.

    A logger keeps the folder that it is given.

    Args:
        config: `trainer.logger`: a description by class, or a list of these.
        folder: of the run, if it is named.
    """
    for part in config if isinstance(config, list) else [config]:
        arguments = part.get("init_args") if hasattr(part, "get") else None
        if folder is None or not arguments or "save_dir" not in arguments:
            continue
        module, _, name = part["class_path"].rpartition(".")
        parameters = inspect.signature(getattr(import_module(module), name)).parameters
        default = parameters["save_dir"].default
        if arguments["save_dir"] == default and isinstance(default, str):
            arguments["save_dir"] = str(Path(folder) / default)
