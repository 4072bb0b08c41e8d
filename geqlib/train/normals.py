"""Normals of surfaces that are known by points."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torchmetrics import MeanMetric

from geqlib.train.task import Task


class NormalsTask(Task):
    """The direction of the surface at each point, up to sign.

    Loss and `error` are the mean over points of 1 - (n . n')^2, the square of the sine of the angle
    between the normal and the direction of the predicted vector, as in Puny et al. (ICLR 2022,
    arXiv 2110.03336); 2 / 3 for a random direction. `degrees` is the mean of that angle.

    Args:
        model: returns (scalars, vectors) with vectors [N, 1, 3], or vectors alone.
        lr, warmup, weight_decay, rotate: see `Task`.

    Example:
        >>> from geqlib.models import DGCNN
        >>> task = NormalsTask(DGCNN(0, 1, level="node"), lr=1e-3)
    """

    inputs: ClassVar = {"pos": "point", "batch": "batch"}
    outputs: ClassVar = {"normal": "vector"}

    def __init__(
        self,
        model: nn.Module,
        *,
        lr: float = 2e-3,
        warmup: float = 0.05,
        weight_decay: float = 0.0,
        rotate: bool = False,
    ) -> None:
        super().__init__(model, lr=lr, warmup=warmup, weight_decay=weight_decay, rotate=rotate)
        self.metrics = nn.ModuleDict(
            {f"{s}_{m}": MeanMetric() for s in ("val", "test") for m in ("error", "degrees")}
        )

    def predict_outputs(self, batch: Any) -> dict[str, Tensor]:
        out = self(batch)
        vectors = out[1] if isinstance(out, tuple) else out
        return {"normal": normalize(vectors.reshape(batch.pos.shape), dim=1)}

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        batch = self.rotated(batch)
        loss = squared_sines(self.predict_outputs(batch)["normal"], batch.normal).mean()
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=batch.num_graphs)
        return self.with_auxiliary(loss)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._measure(batch, "val")

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self._measure(batch, "test")

    def predict_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        predicted = self.predict_outputs(batch)["normal"]
        found = {"pos": batch.pos, "predicted": predicted, "batch": batch.batch}
        return found | ({"true": batch.normal} if "normal" in batch else {})

    def _measure(self, batch: Any, stage: str) -> None:
        error = squared_sines(self.predict_outputs(batch)["normal"], batch.normal)
        degrees = torch.rad2deg(error.clamp(0, 1).sqrt().asin())
        for name, value in (("error", error), ("degrees", degrees)):
            metric: Any = self.metrics[f"{stage}_{name}"]
            metric.update(value)
            self.log(f"{stage}/{name}", metric, prog_bar=True, batch_size=batch.num_graphs)


def squared_sines(predicted: Tensor, true: Tensor) -> Tensor:
    """[N] of the angles between unit vectors [N, 3]; 1 where a prediction is 0."""
    return 1 - (predicted * true).sum(1).square()
