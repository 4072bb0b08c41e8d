"""`geqlib fit | validate | test | predict`: Lightning's options with this library's defaults."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import lightning as L
from lightning.pytorch.utilities import rank_zero_only

from geqlib.data.loaders import noun_of
from geqlib.train import run
from geqlib.train.runs.configuration import Command, ConfigReader, Run
from geqlib.train.steps.optimisation import sentence
from geqlib.train.steps.stopping import StopEarly

# what comes before the options of a configuration
SHORT = """geqlib {command} MODEL [FILE] [--out FILE]
  MODEL is the folder of a run, a checkpoint or an exported model, FILE any data that it could be
  trained on; else the test split of its run. `geqlib {command} MODEL --help` has more.
  Or, with a configuration:

"""


def main(command: Command, args: Sequence[str]) -> int:
    """Run one of the commands; returns the exit code."""
    if command in ("test", "predict") and {"-h", "--help"} & {*args}:
        sys.stdout.write(SHORT.format(command=command))
    reader = ConfigReader(list(args), command)
    options = {name: reader.config_init[name] for name in reader.subcommand_options}
    if command == "fit":
        options["overwrite"] = reader.config_init["overwrite"]
        reader.run.callbacks = [*reader.run.callbacks, SayFiles()]
    getattr(run, command)(reader.run, **options)
    if command == "fit":
        say_speed(reader.run)
    return 0


def say_speed(finished: Run) -> None:
    """Say how fast a run has trained, as its fit.json has it."""
    file = finished.folder / "fit.json"
    if rank_zero_only.rank or finished.trainer.get("fast_dev_run") or not file.exists():
        return
    fit = json.loads(file.read_text())
    if "steps_per_second" in fit:
        steps, graphs = fit["steps_per_second"], fit["graphs_per_second"]
        noun = noun_of(finished.data)
        sys.stderr.write(f"Trained at {steps:g} steps and {graphs:g} {noun}s per second.\n")


class SayFiles(L.Callback):
    """Says where a run is when it starts, and what it has left when it ends."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.is_global_zero or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        sys.stderr.write(f"The run is in {trainer.default_root_dir}.\n")
        if warning := sentence(pl_module):
            sys.stderr.write(f"{warning}\n")

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.is_global_zero or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        folder = Path(trainer.default_root_dir)
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, StopEarly) and callback.stopped:
                sys.stderr.write(
                    f"Training ended at epoch {trainer.current_epoch}: {callback.monitor} has not "
                    f"improved for {callback.patience} validations.\n"
                )
        parts = [_checkpoint(folder, c) for c in trainer.checkpoint_callbacks]
        parts += sorted({_inside(folder, logger.log_dir) for logger in trainer.loggers})
        listed = ", ".join(filter(None, ["config.yaml", *parts]))
        sys.stderr.write(f"{folder} has {listed}. Next: geqlib test {folder}\n")


def _checkpoint(folder: Path, callback: object) -> str:
    """Such as `checkpoints/best.ckpt (val/mse 0.0031)`; empty if it was not written."""
    path = getattr(callback, "best_model_path", "")
    if not path or not Path(path).exists():
        return ""
    score, metric = getattr(callback, "best_model_score", None), getattr(callback, "monitor", None)
    measured = f" ({metric} {float(score):.4g})" if metric and score is not None else ""
    return f"{_inside(folder, path)}{measured}"


def _inside(folder: Path, path: str | Path | None) -> str:
    """A path as seen from the folder of a run; empty if there is none."""
    if not path:
        return ""
    inner = Path(path).resolve().is_relative_to(folder.resolve())
    return str(Path(path).resolve().relative_to(folder.resolve())) if inner else str(path)
