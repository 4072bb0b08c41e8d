"""Training that ends when the monitored metric has ceased to improve."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import lightning as L
from lightning.pytorch.callbacks import EarlyStopping


class StopEarly(EarlyStopping):
    """Lightning's `EarlyStopping`, also of a run that is resumed after it had stopped.

    Args:
        monitor: metric that a run monitors.
        mode: whether it is an error ("min") or a score ("max").
        patience: number of validations without an improvement after which training ends.

    Raises:
        ValueError: if patience is less than 1.

    Example:
        >>> StopEarly("val/mse", "min", 10).patience
        10
    """

    def __init__(self, monitor: str, mode: Literal["min", "max"], patience: int) -> None:
        if patience < 1:
            raise ValueError(f"early_stopping must be at least 1 validation, got {patience}.")
        super().__init__(monitor, mode=mode, patience=patience)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        unmeasured = trainer.limit_val_batches == 0 or trainer.barebones
        if stage == "fit" and unmeasured:
            switch = "barebones" if trainer.barebones else "limit_val_batches 0"
            raise ValueError(
                f"early_stopping waits for {self.monitor}, which {switch} leaves unmeasured: leave "
                "one of them out."
            )

    @property
    def stopped(self) -> bool:
        return self.wait_count >= self.patience

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.stopped:
            trainer.should_stop = True


def check_modes(callbacks: Iterable[L.Callback], monitor: str, mode: str) -> None:
    """Refuse an `EarlyStopping` of a user that waits for the monitored metric to get worse.

    Raises:
        ValueError: with the mode that it should have.
    """
    for callback in callbacks:
        if not isinstance(callback, EarlyStopping) or callback.monitor != monitor:
            continue
        if callback.mode != mode:
            raise ValueError(
                f"EarlyStopping has mode {callback.mode!r}, but the run's monitor_mode for "
                f"{monitor} is {mode!r}: give both the same, or use --early_stopping."
            )
