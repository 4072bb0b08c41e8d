"""Steps of a task that are recorded once per size of batch, and replayed: its `cuda_graphs`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning as L
from torch import Tensor

from geqlib.train.steps.replay import Replay


class ReplayedModule(L.LightningModule):
    """How a task takes its training steps and evaluations from what was recorded."""

    cuda_graphs: bool
    # made in the first step: copies of a task are made before, and weights move
    _replay: Replay | None
    _replayed: bool

    def _replayed_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor] | None:
        """Loss and gradients of a batch by a recorded step; None if there is none."""
        self._replayed = False
        if not self.cuda_graphs or self._trainer is None:
            return None
        if self._replay is None:
            self._replay = Replay(self)
        count = self.trainer.accumulate_grad_batches
        outputs = self._replay.step(batch, count, first=batch_idx % count == 0)
        self._replayed = outputs is not None
        return outputs

    def _outside_training(self, function: Callable[[Any], Any], batch: Any, name: str = "") -> Any:
        """function(batch), in evaluation by what was recorded."""
        if not self.cuda_graphs or self._trainer is None or self.trainer.training:
            return function(batch)
        if self._replay is None:
            self._replay = Replay(self)
        if self._replay.running:  # to be recorded
            return function(batch)
        outputs = self._replay.evaluate(batch, function, name)
        return function(batch) if outputs is None else outputs[0]

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        if not self._replayed:  # which has made the gradients
            super().backward(loss, *args, **kwargs)

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Any) -> None:
        if self._replayed:
            return
        if self._replay is not None and self._replay.grads:
            self._replay.zero_grad()
        else:
            super().optimizer_zero_grad(epoch, batch_idx, optimizer)

    def teardown(self, stage: str) -> None:
        self._replay = None  # weights move after this
