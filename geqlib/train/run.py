"""Training, validating, testing and predicting, as functions.

Each takes a configuration (a path or a dictionary) with changes to it, or a `Run` of built objects:

    run = fit("configs/nbody_ponita.yaml", {"trainer.max_epochs": 2})
    test(run, run.folder / "checkpoints" / "best.ckpt")

    run = fit(Run(task, data, {"default_root_dir": "runs/mine", "max_epochs": 100}))

The folder of a run holds config.yaml (if there is a configuration), metrics/ (CSV), tensorboard/ if
tensorboard is installed, checkpoints/last.ckpt of each epoch's end and checkpoints/best.ckpt,
fit.json, and after `test` and `predict` results.json and predictions.safetensors.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import lightning as L
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import EMAWeightAveraging, LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from geqlib.quiet import quiet
from geqlib.train.cluster import own_environment
from geqlib.train.configuration import TRAINER, Command, Config, Overrides, Run, read_run
from geqlib.train.record import RunRecord
from geqlib.train.resume import ReseedBatches, SafeCheckpointIO

__all__ = ["Run", "fit", "predict", "read_run", "test", "validate"]


def fit(
    run: Run | Config,
    overrides: Overrides = (),
    *,
    ckpt_path: str | Path | None = None,
    **options: Any,
) -> Run:
    """Train.

    Args:
        run: a configuration, or a `Run` of built objects.
        overrides: changes to a configuration, see `read_run`.
        ckpt_path: checkpoint to resume from: the result equals an uninterrupted run.
        options: further ones of `lightning.Trainer.fit`.

    Returns:
        The run, whose task is trained.

    Raises:
        ValueError: if the configuration, the data or the checkpoint is wrong.
        KeyboardInterrupt: after Ctrl-C; the run can be resumed from checkpoints/last.ckpt.

    Example:
        >>> run = fit("configs/nbody_ponita.yaml", {"trainer.max_epochs": 2})  # doctest: +SKIP
    """
    run = _built(run, overrides)
    _start("fit", run, ckpt_path=ckpt_path, **options)
    return run


def validate(
    run: Run | Config, ckpt_path: str | Path, overrides: Overrides = (), **options: Any
) -> dict[str, float]:
    """Measure a checkpoint on the validation split; arguments as of `fit`.

    Returns:
        Metrics by name.

    Example:
        >>> validate("runs/mine/config.yaml", "runs/mine/checkpoints/best.ckpt")  # doctest: +SKIP
        {'val/mse': 0.0035, 'val/median': 0.0012}
    """
    return _metrics(_start("validate", _built(run, overrides), ckpt_path=ckpt_path, **options))


def test(
    run: Run | Config, ckpt_path: str | Path, overrides: Overrides = (), **options: Any
) -> dict[str, float]:
    """Measure a checkpoint on the test split, and write results.json; arguments as of `fit`.

    Returns:
        Metrics by name.

    Example:
        >>> test("runs/mine/config.yaml", "runs/mine/checkpoints/best.ckpt")  # doctest: +SKIP
        {'test/mse': 0.0033, 'test/median': 0.0011}
    """
    return _metrics(_start("test", _built(run, overrides), ckpt_path=ckpt_path, **options))


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
    run = _built(run, overrides)
    _start("predict", run, ckpt_path=ckpt_path, **options)
    return run.folder / "predictions.safetensors"


def make_trainer(run: Run, command: Command = "fit") -> L.Trainer:
    """The trainer of a run, with its loggers, checkpoints and records."""
    options = TRAINER | dict(run.trainer)
    if options.get("logger") is None:
        options["logger"] = _loggers(run.folder) if command == "fit" else False
    record = RunRecord(run.folder, run.seed)
    own = _callbacks(run, record) if command == "fit" else [record]
    options["callbacks"] = [*_listed(options.get("callbacks")), *own]
    plugins = _listed(options.get("plugins"))
    options["plugins"] = [*plugins, *own_environment(options, plugins), SafeCheckpointIO()]
    return L.Trainer(**options)


def _built(run: Run | Config, overrides: Overrides) -> Run:
    if not isinstance(run, Run):
        return read_run(run, overrides)
    if overrides:
        raise ValueError("overrides are changes to a configuration: change the Run itself.")
    return run


def _start(command: Command, run: Run, **options: Any) -> Any:
    try:
        with quiet():
            start = getattr(make_trainer(run, command), command)
            return start(run.task, datamodule=run.data, **options)
    except MisconfigurationException as error:
        raise ValueError(str(error)) from error
    except SystemExit as stop:  # so Lightning ends after Ctrl-C, without a word
        if isinstance(stop.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise


def _callbacks(run: Run, record: RunRecord) -> list[L.Callback]:
    folder = run.folder / "checkpoints"
    averaging = [] if run.ema is None else [EMAWeightAveraging(decay=run.ema, use_buffers=False)]
    best = ModelCheckpoint(
        folder,
        "best",
        monitor=run.monitor,
        mode=run.monitor_mode,
        enable_version_counter=False,
    )
    last = ModelCheckpoint(
        folder, "last", save_on_train_epoch_end=True, enable_version_counter=False
    )
    rates = LearningRateMonitor()
    return [ReseedBatches(run.seed), *averaging, rates, record, best, last, *run.callbacks]


def _loggers(folder: Path) -> list[Any]:
    loggers: list[Any] = [CSVLogger(folder, "metrics")]
    if find_spec("tensorboard") is not None:
        loggers.append(TensorBoardLogger(folder, "tensorboard"))
    return loggers


def _metrics(results: list[dict[str, float]]) -> dict[str, float]:
    return {name: value for part in results for name, value in part.items()}


def _listed(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, list | tuple) else [value]
