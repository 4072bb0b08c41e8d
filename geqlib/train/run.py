"""Training, validating, testing and predicting, as functions.

Each takes a configuration (a path or a dictionary) with changes to it, or a `Run` of built objects:

    run = fit("configs/nbody_ponita.yaml", {"trainer.max_epochs": 2})
    test(run, run.folder / "checkpoints" / "best.ckpt")

    run = fit(Run(task, data, {"default_root_dir": "runs/mine", "max_epochs": 100}))

The folder of a run holds config.yaml (if there is a configuration), metrics/ (CSV), tensorboard/ if
tensorboard is installed and no other logger is named, checkpoints/last.ckpt of each epoch's end and
checkpoints/best.ckpt, fit.json, init.json if it began with the weights of another model, and after
`test` and `predict` results.json and predictions.safetensors.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_only

from geqlib.quiet import quiet
from geqlib.train.fine_tuning.frozen import freeze
from geqlib.train.fine_tuning.initial import BeginFrom
from geqlib.train.resume import ReseedBatches, SafeCheckpointIO
from geqlib.train.runs.cluster import own_environment
from geqlib.train.runs.configuration import TRAINER, Command, Config, Overrides, Run, read_run
from geqlib.train.runs.folders import (
    StartFolder,
    check_folder,
    check_results,
    log_folders,
    new_folder,
    remove_unused_logs,
)
from geqlib.train.runs.loggers import loggers_of
from geqlib.train.runs.record import RunRecord, metric_units
from geqlib.train.steps.amounts import (
    CountSteps,
    check_accelerator,
    check_amounts,
    check_ranges,
)
from geqlib.train.steps.averaging import AveragedWeights
from geqlib.train.steps.memory import is_out_of_memory, out_of_memory
from geqlib.train.steps.monitor import CheckMonitors
from geqlib.train.steps.optimisation import Chosen, choose
from geqlib.train.steps.progress import print_metrics, progress
from geqlib.train.steps.stopping import StopEarly, check_modes

__all__ = ["Run", "fit", "predict", "read_run", "test", "validate"]


def fit(
    run: Run | Config,
    overrides: Overrides = (),
    *,
    ckpt_path: str | Path | None = None,
    overwrite: bool = False,
    **options: Any,
) -> Run:
    """Train.

    Args:
        run: a configuration, or a `Run` of built objects.
        overrides: changes to a configuration, see `read_run`.
        ckpt_path: checkpoint to resume from: the result equals an uninterrupted run.
        overwrite: whether a run that the folder holds is replaced, as soon as training starts.
        options: further ones of `lightning.Trainer.fit`.

    Returns:
        The run, whose task is trained.

    Raises:
        ValueError: if the configuration, the data or the checkpoint is wrong, if the folder holds
            another run, if training diverges, or if a batch does not fit into the device's memory.
        KeyboardInterrupt: after Ctrl-C; the run can be resumed from checkpoints/last.ckpt.

    Example:
        >>> run = fit("configs/nbody_ponita.yaml", {"trainer.max_epochs": 2})  # doctest: +SKIP
    """
    run = _built(run, overrides)
    _prepare_folder(run, ckpt_path, overwrite=overwrite)
    before = log_folders(run.folder)
    try:
        start_trainer("fit", run, ckpt_path=ckpt_path, **options)
    except BaseException:
        if not run.trainer.get("fast_dev_run") and not rank_zero_only.rank:
            remove_unused_logs(run.folder, before)
        raise
    return run


def validate(
    run: Run | Config,
    ckpt_path: str | Path,
    overrides: Overrides = (),
    *,
    verbose: bool = True,
    **options: Any,
) -> dict[str, float]:
    """Measure a checkpoint on the validation split; arguments as of `fit`.

    Args:
        run, ckpt_path, overrides, options: as of `fit`.
        verbose: whether metrics are printed.

    Returns:
        Metrics by name.

    Example:
        >>> validate("runs/mine/config.yaml", "runs/mine/checkpoints/best.ckpt")  # doctest: +SKIP
        {'val/mse': 0.0035, 'val/median': 0.0012}
    """
    run = _built(run, overrides)
    return measure("validate", run, verbose=verbose, ckpt_path=ckpt_path, **options)


def test(
    run: Run | Config,
    ckpt_path: str | Path,
    overrides: Overrides = (),
    *,
    verbose: bool = True,
    **options: Any,
) -> dict[str, float]:
    """Measure a checkpoint on the test split, and write results.json; arguments as of `validate`.

    Returns:
        Metrics by name.

    Example:
        >>> test("runs/mine/config.yaml", "runs/mine/checkpoints/best.ckpt")  # doctest: +SKIP
        {'test/mse': 0.0033, 'test/median': 0.0011}
    """
    run = _tested(_built(run, overrides), ckpt_path)
    return measure("test", run, verbose=verbose, ckpt_path=ckpt_path, **options)


def predict(
    run: Run | Config, ckpt_path: str | Path, overrides: Overrides = (), **options: Any
) -> Path:
    """Write predictions.safetensors of the test split; arguments as of `fit`.

    Returns:
        Path of the file.

    Example:
        >>> predict("runs/mine/config.yaml", "runs/mine/checkpoints/best.ckpt")  # doctest: +SKIP
        PosixPath('runs/mine/predictions.safetensors')
    """
    run = _tested(_built(run, overrides), ckpt_path)
    start_trainer("predict", run, ckpt_path=ckpt_path, **options)
    return run.folder / "predictions.safetensors"


def measure(
    command: Literal["validate", "test"], run: Run, *, verbose: bool = True, **options: Any
) -> dict[str, float]:
    """Metrics of a split, which are printed with their units if `verbose`."""
    results = start_trainer(command, run, verbose=False, **options)
    metrics = {name: value for part in results for name, value in part.items()}
    if verbose and not rank_zero_only.rank:
        print_metrics(metrics, metric_units(run.task, run.data))
    return metrics


def make_trainer(run: Run, command: Command = "fit", *, resumed: bool = False) -> L.Trainer:
    """The trainer of a run, with its loggers, checkpoints and records."""
    options: dict[str, Any] = TRAINER | dict(run.trainer) | {"default_root_dir": run.folder}
    check_amounts(command, options)
    check_accelerator(options.get("accelerator"))
    if command == "fit":
        decay = getattr(run.task, "weight_decay", 0.0)
        check_ranges(run.ema, decay, options.get("gradient_clip_val"))
    if command != "fit":
        options.pop("barebones", None)  # which would measure nothing
    logs = command == "fit" and not options.get("barebones")
    options["logger"] = loggers_of(run.folder, options.get("logger")) if logs else False
    record = RunRecord(run.folder, run.seed)
    own: list[L.Callback] = [record]
    if command == "fit":
        choose(run.task, Chosen(run.optimizer, run.lr_scheduler, run.monitor, run.monitor_mode))
        start = StartFolder(run.folder, resumed=resumed)
        if run.freeze:
            freeze(run.task, run.freeze)
        begin = [] if run.init is None else [BeginFrom(run.init, run.folder, resumed=resumed)]
        # weights are loaded before averages of them are copied
        own = [start, *begin, CountSteps(), CheckMonitors(), *_callbacks(run, record, options)]
    theirs = _listed(options.get("callbacks"))
    check_modes(theirs, run.monitor, run.monitor_mode)
    options["callbacks"] = [*theirs, *own]
    options |= progress(options, options["callbacks"], run.monitor)
    plugins = _listed(options.get("plugins"))
    options["plugins"] = [*plugins, *own_environment(options, plugins), SafeCheckpointIO()]
    return L.Trainer(**options)


def _built(run: Run | Config, overrides: Overrides) -> Run:
    if not isinstance(run, Run):
        return read_run(run, overrides)
    if overrides:
        raise ValueError("overrides are changes to a configuration: change the Run itself.")
    return run


def _prepare_folder(run: Run, checkpoint: str | Path | None, *, overwrite: bool) -> None:
    """See to it that a run has a folder of its own."""
    if run.trainer.get("fast_dev_run") or rank_zero_only.rank:
        return  # nothing is written
    if run.trainer.get("default_root_dir") is None:
        folder = new_folder() if checkpoint is None else _folder_of(checkpoint)
        run.trainer = {**run.trainer, "default_root_dir": folder}
    check_folder(run.folder, checkpoint, overwrite=overwrite)


def _tested(run: Run, checkpoint: str | Path) -> Run:
    """The run, whose results belong into the folder of the checkpoint if it names none."""
    if run.trainer.get("default_root_dir") is None:
        run.trainer = {**run.trainer, "default_root_dir": _folder_of(checkpoint)}
    check_results(run.folder, checkpoint)
    return run


def _folder_of(checkpoint: str | Path) -> Path:
    """The folder of the run that wrote a checkpoint."""
    folder = Path(checkpoint).parent
    return folder.parent if folder.name == "checkpoints" else folder


def start_trainer(command: Command, run: Run, **options: Any) -> Any:
    """Do what `fit`, `validate`, `test` or `predict` do, in the folder that the run names."""
    trainer = None
    try:
        with quiet(), _default_type(run):
            if run.freeze:  # frozen parts are in evaluation mode
                warnings.filterwarnings("ignore", message=r".*module\(s\) in eval mode")
            resumed = options.get("ckpt_path") is not None
            trainer = make_trainer(run, command, resumed=resumed)
            return getattr(trainer, command)(run.task, datamodule=run.data, **options)
    except RuntimeError as error:
        if trainer is None or not is_out_of_memory(error):
            raise
        raise ValueError(out_of_memory(run.task, trainer)) from error
    except MisconfigurationException as error:
        raise ValueError(str(error)) from error
    except SystemExit as stop:  # so Lightning ends after Ctrl-C, without a word
        if isinstance(stop.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise


@contextmanager
def _default_type(run: Run) -> Iterator[None]:
    """Data in float64 for a trainer of that precision."""
    if str(run.trainer.get("precision")) not in ("64", "64-true"):
        yield
        return
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _callbacks(run: Run, record: RunRecord, options: Mapping[str, Any]) -> list[L.Callback]:
    averaging = [] if run.ema is None else [AveragedWeights(run.ema)]
    patience = run.early_stopping
    stopping = [] if patience is None else [StopEarly(run.monitor, run.monitor_mode, patience)]
    rates = [LearningRateMonitor()] if options["logger"] not in (False, []) else []
    checkpoints = _checkpoints(run, options)
    common = [ReseedBatches(run.seed), *averaging, *rates, record, *stopping]
    return [*common, *checkpoints, *run.callbacks]


def _checkpoints(run: Run, options: Mapping[str, Any]) -> list[L.Callback]:
    """Of the best and of the last epoch, as far as the trainer's switches leave them."""
    if options.get("enable_checkpointing") is False or options.get("barebones"):
        return []
    folder = run.folder / "checkpoints"
    last = ModelCheckpoint(
        folder, "last", save_on_train_epoch_end=True, enable_version_counter=False
    )
    if options.get("limit_val_batches") in (0, 0.0):  # nothing is monitored
        return [last]
    best = ModelCheckpoint(
        folder,
        "best",
        monitor=run.monitor,
        mode=run.monitor_mode,
        enable_version_counter=False,
    )
    return [best, last]


def _listed(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, list | tuple) else [value]
