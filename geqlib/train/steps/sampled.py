"""When a task draws samples as a metric, and where the last of them stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L

from geqlib.train.runs.record import RunRecord


class SampledModule(L.LightningModule):
    """Draws samples in every `sample_every`-th validation of a fit, and in each one outside of it.

    With 0 none are drawn. They come from the weights that are validated: averaged ones are restored
    before a module's own hook at the end of an epoch.
    """

    sample_every: int

    def log_samples(self, stage: str) -> None:
        """Draw samples and log their metrics as STAGE/NAME."""
        raise NotImplementedError(f"{type(self).__name__} must define log_samples(stage).")

    def samples_path(self, name: str) -> Path | None:
        """Where the first process keeps its samples in the folder of a run, for its report; None of
        other processes, and where there is no run of `geqlib.train.run`."""
        trainer: Any = self.trainer
        record = next((own for own in trainer.callbacks if isinstance(own, RunRecord)), None)
        if record is None or trainer.fast_dev_run or not trainer.is_global_zero:
            return None
        record.folder.mkdir(parents=True, exist_ok=True)
        return record.folder / name

    def on_validation_epoch_start(self) -> None:
        super().on_validation_epoch_start()
        fitting = self.trainer.state.fn == "fit"
        due = self.sample_every and (self.trainer.current_epoch + 1) % self.sample_every == 0
        if not self.trainer.sanity_checking and (due if fitting else self.sample_every):
            self.log_samples("val")

    def on_test_epoch_start(self) -> None:
        super().on_test_epoch_start()
        if self.sample_every:
            self.log_samples("test")
