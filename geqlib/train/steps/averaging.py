"""Averaged weights of a run, updated by few operations and without a wait of the host."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging

from geqlib.graph.many import copy_all, mix_all

BEGIN = 10  # steps of which the average has the last; later, a tenth of all steps at most


class AveragedWeights(EMAWeightAveraging):
    """An exponential moving average of the weights, on the device on which they are trained.

    Step k moves it by the share max(1 - decay, min(1, 10 / k)) of the way to the weights, so that
    in a short run, and early in a long one, it does not remember the weights of the beginning.

    Args:
        decay: of the average, per step.

    Example:
        >>> AveragedWeights(0.99).decay
        0.99
        >>> [AveragedWeights(0.75).share(k) for k in (1, 10, 20, 40, 80)]
        [1.0, 1.0, 0.5, 0.25, 0.25]
    """

    def __init__(self, decay: float) -> None:
        super().__init__(decay=decay, use_buffers=False)
        self.decay = decay
        self._steps = 0
        self._begin = BEGIN

    def share(self, step: int) -> float:
        """Of the way to the weights of a step, counted from 1."""
        if step == 1:
            return 1.0
        return max(1 - self.decay, min(1.0, self._begin / step))

    @property
    def state_key(self) -> str:
        return "EMAWeightAveraging"  # as in checkpoints of Lightning's own callback

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"begin": self._begin}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        # earlier averages had their decay from the second step on, and go on so
        self._begin = state_dict.get("begin", 0)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        if self._average_model is not None:
            # when Lightning makes the copy, the weights are still on the CPU
            self._average_model.to(trainer.strategy.root_device)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        average: Any = self._average_model
        self._steps = int(average.n_averaged)

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, k: int
    ) -> None:
        step = trainer.global_step
        average: Any = self._average_model
        if step <= self._latest_update_step or not self.should_update(step_idx=step - 1):
            return
        weights, averages = pl_module.parameters(), average.module.parameters()
        self._steps += 1
        mix_all(averages, weights, self.share(self._steps))
        copy_all(average.module.buffers(), pl_module.buffers())
        average.n_averaged += 1
        self._latest_update_step = step
