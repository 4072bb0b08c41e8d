"""`geqlib fit | validate | test | predict`: Lightning's options with this library's defaults."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import lightning as L

from geqlib.train import run
from geqlib.train.configuration import Command, ConfigReader


def main(command: Command, args: Sequence[str]) -> int:
    """Run one of the commands; returns the exit code."""
    reader = ConfigReader(list(args), command)
    options = {name: reader.config_init[name] for name in reader.subcommand_options}
    if command == "fit":
        options["overwrite"] = reader.config_init["overwrite"]
        if reader.run.trainer.get("default_root_dir") is None:
            reader.run.callbacks = [*reader.run.callbacks, NameFolder()]
    getattr(run, command)(reader.run, **options)
    return 0


class NameFolder(L.Callback):
    """Says where a run is that named no folder."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            sys.stderr.write(f"The run is in {trainer.default_root_dir}.\n")
