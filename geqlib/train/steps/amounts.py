"""Switches that leave nothing to do: refused by name, or said when a command has ended."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import lightning as L

STAGES = {"fit": "train", "validate": "val", "test": "test", "predict": "predict"}


def check_amounts(command: str, options: Mapping[str, Any]) -> None:
    """Refuse options of the trainer with which a command would end at once, as if all were well.

    Args:
        command: "fit", "validate", "test" or "predict".
        options: of the trainer.

    Raises:
        ValueError: naming the option.

    Example:
        >>> check_amounts("fit", {"max_epochs": 0})
        Traceback (most recent call last):
        ...
        ValueError: geqlib fit has nothing to do with max_epochs 0: set it to at least 1, or leave \
it out.
    """
    # which set all others themselves
    if options.get("fast_dev_run") or options.get("overfit_batches"):
        return
    amounts = [f"limit_{STAGES[command]}_batches"]
    if command == "fit":
        amounts += ["max_epochs", "max_steps"]
    for name in amounts:
        value = options.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and value == 0:
            raise ValueError(
                f"geqlib {command} has nothing to do with {name} 0: set it to at least 1, or leave "
                "it out."
            )


class CountSteps(L.Callback):
    """Warns if training ends without a step: that of a finished run, or one without time."""

    def __init__(self) -> None:
        self.first: int | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.first = trainer.global_step

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.first is not None and trainer.global_step > self.first:
            return
        warnings.warn(
            f"Nothing was trained: the run ended at epoch {trainer.current_epoch}, step "
            f"{trainer.global_step}, where it began. Raise trainer.max_epochs, trainer.max_steps "
            "or trainer.max_time to go on.",
            stacklevel=2,
        )
