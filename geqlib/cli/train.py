"""`geqlib fit | validate | test | predict`: Lightning's options with this library's defaults."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

import lightning as L
from lightning.pytorch.utilities import rank_zero_only

from geqlib.train import run
from geqlib.train.configuration import Command, ConfigReader, Run

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
        if reader.run.trainer.get("default_root_dir") is None:
            reader.run.callbacks = [*reader.run.callbacks, NameFolder()]
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
        sys.stderr.write(f"Trained at {steps:g} steps and {graphs:g} graphs per second.\n")


class NameFolder(L.Callback):
    """Says where a run is that named no folder."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            sys.stderr.write(f"The run is in {trainer.default_root_dir}.\n")
