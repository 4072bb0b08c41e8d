"""Settings with which nothing, or nonsense, would be done: refused by name before training, or
said when a command has ended."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import lightning as L
from lightning.pytorch.accelerators import CUDAAccelerator, MPSAccelerator, XLAAccelerator

DEVICES = {"cuda": [CUDAAccelerator], "mps": [MPSAccelerator], "tpu": [XLAAccelerator]}
DEVICES["gpu"] = DEVICES["cuda"] + DEVICES["mps"]
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


def check_accelerator(name: Any) -> None:
    """Refuse an accelerator of the trainer that this machine does not have.

    Raises:
        ValueError: naming those that it has.
    """
    if not isinstance(name, str) or any(kind.is_available() for kind in DEVICES.get(name, [])):
        return
    if name in DEVICES:
        there = [kind for kind in DEVICES if any(part.is_available() for part in DEVICES[kind])]
        others = ", ".join(["cpu", *there, "auto"])
        raise ValueError(
            f"trainer.accelerator {name} cannot be used: this machine has none, or torch is built "
            f"without it; choose one of {others}."
        )


def check_ranges(ema: float | None, weight_decay: float, clip: float | None) -> None:
    """Refuse numbers with which training would go the wrong way, or averages would never move.

    Args:
        ema: decay of averaged weights.
        weight_decay: of the task.
        clip: `gradient_clip_val` of the trainer.

    Raises:
        ValueError: naming the option.

    Example:
        >>> check_ranges(1.5, 0.0, None)
        Traceback (most recent call last):
        ...
        ValueError: ema is the decay per step of averaged weights, in [0, 1), got 1.5: set it to \
such as 0.99, or leave it out.
    """
    if ema is not None and not 0 <= ema < 1:
        raise ValueError(
            f"ema is the decay per step of averaged weights, in [0, 1), got {ema}: set it to such "
            "as 0.99, or leave it out."
        )
    if not weight_decay >= 0:
        raise ValueError(f"weight_decay of the task must be 0 or more, got {weight_decay}.")
    if clip is not None and not clip >= 0:
        raise ValueError(
            f"trainer.gradient_clip_val is the largest norm of a gradient, got {clip}: set it to a "
            "positive number, or to null for none."
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
