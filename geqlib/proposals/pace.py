"""Time of an epoch of a configuration on this machine, from training it for some steps."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import lightning as L
import torch

from geqlib.train.run import fit, read_run

STEPS = 8
WARM = 2  # steps whose time does not count
SECONDS = 20.0
TRIAL = {
    "trainer.max_epochs": 1,
    "trainer.max_steps": STEPS,
    "trainer.logger": False,
    "trainer.enable_checkpointing": False,
    "trainer.enable_progress_bar": False,
    "trainer.num_sanity_val_steps": 2,
}


@dataclass(frozen=True)
class Pace:
    """Measurements of a trial.

    Args:
        step: seconds of a training step.
        validation: seconds of a validation batch.
        steps, validations: of an epoch.
        device: that it ran on.
    """

    step: float
    validation: float
    steps: int
    validations: int
    device: str

    @property
    def epoch(self) -> float:
        """Seconds of an epoch.

        Example:
            >>> Pace(0.1, 0.5, 20, 2, "cpu").epoch
            3.0
        """
        return self.step * self.steps + self.validation * self.validations

    def epochs(self, minutes: float, most: int) -> int:
        """How many epochs a budget has, from 1 to `most`."""
        return max(1, min(most, math.floor(60 * minutes / max(self.epoch, 1e-9))))


def measure(config: Mapping[str, Any]) -> Pace:
    """Train a configuration for some steps, in a folder that is deleted again.

    Raises:
        ValueError: if it does not train.
    """
    with TemporaryDirectory() as folder, _no_word_of_seeds():
        run = read_run(config, {**TRIAL, "trainer.default_root_dir": folder})
        clock = Clock()
        run.callbacks = [clock]
        fit(run)
    return Pace(
        median(clock.steps[WARM:] or clock.steps),
        clock.validations[-1] if clock.validations else 0.0,
        clock.batches["train"],
        clock.batches["val"],
        clock.device,
    )


@dataclass
class Clock(L.Callback):
    """Times training steps and validation batches, and ends a training that takes long."""

    steps: list[float] = field(default_factory=list)
    validations: list[float] = field(default_factory=list)
    batches: dict[str, int] = field(default_factory=dict)
    device: str = ""
    started: float = 0.0

    def on_validation_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        self.started = _now(trainer)

    def on_validation_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.sanity_checking:
            self.validations.append(_now(trainer) - self.started)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.batches = {"train": int(trainer.num_training_batches), "val": _batches(trainer)}
        self.device = str(pl_module.device)

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        self.started = _now(trainer)

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        self.steps.append(_now(trainer) - self.started)
        if sum(self.steps) > SECONDS:
            trainer.should_stop = True


@contextmanager
def _no_word_of_seeds() -> Iterator[None]:
    logger = logging.getLogger("lightning.fabric.utilities.seed")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def _batches(trainer: L.Trainer) -> int:
    counts = trainer.num_val_batches
    return int(sum(counts) if isinstance(counts, list) else counts)


def _now(trainer: L.Trainer) -> float:
    if trainer.strategy.root_device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()
