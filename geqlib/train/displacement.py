"""Predicting where points will be."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn
from torchmetrics import CatMetric, MeanSquaredError

from geqlib.train.task import Task

ROOT_FLOOR = 1e-4


class DisplacementTask(Task):
    """Later positions: y = pos + elapsed * velocity + the vector that the model predicts.

    `mse` is the squared error a coordinate, as in the n-body tables of the literature; `median`
    is the median over graphs of the same, because a few close encounters carry most of the mean.

    Args:
        model: returns (scalars, vectors) with vectors [N, 1, dim], or vectors alone.
        loss: "mse", or "rmse": the mean over graphs of sqrt(mse of the graph + 1e-4). Chaotic
            graphs, whose error no model can remove, then weigh in proportion to their error, not
            to its square.
        elapsed: time from input to target, in units of the velocities `vec[:, 0]`: the model then
            predicts the deviation from free flight. 0 leaves all of the displacement to it.
        conjugate: train on both signs of `x`, drawn for each graph: for charges, because equal
            and opposite charges move alike.
        lr, warmup, weight_decay, rotate: see `Task`.

    Example:
        >>> from geqlib.models import PONITA
        >>> task = DisplacementTask(PONITA(1, 1, 0, 1, edge_dim=1), lr=1e-3)
    """

    inputs: ClassVar = {
        "pos": "point",
        "vec": "vector",
        "x": "scalar",
        "edge_index": "edge_index",
        "edge_attr": "edge_scalar",
        "batch": "batch",
    }
    outputs: ClassVar = {"y": "point"}

    def __init__(
        self,
        model: nn.Module,
        *,
        loss: Literal["mse", "rmse"] = "mse",
        elapsed: float = 0.0,
        conjugate: bool = False,
        lr: float = 2e-3,
        warmup: float = 0.05,
        weight_decay: float = 0.0,
        rotate: bool = True,
    ) -> None:
        super().__init__(model, lr=lr, warmup=warmup, weight_decay=weight_decay, rotate=rotate)
        if loss not in ("mse", "rmse"):
            raise ValueError(f'loss must be "mse" or "rmse", got {loss!r}.')
        self.loss, self.elapsed, self.conjugate = loss, elapsed, conjugate
        self.mse = nn.ModuleDict({stage: MeanSquaredError() for stage in ("val", "test")})
        self.graph_errors = nn.ModuleDict(
            {stage: CatMetric(nan_strategy="disable") for stage in ("val", "test")}
        )

    def predict_outputs(self, batch: Any) -> dict[str, Tensor]:
        out = self(batch)
        vectors = out[1] if isinstance(out, tuple) else out
        later = batch.pos + vectors.reshape(batch.pos.shape)
        return {"y": later + self.elapsed * batch.vec[:, 0] if self.elapsed else later}

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        batch = self._augmented(batch)
        error = graph_errors(self.predict_outputs(batch)["y"], batch)
        loss = error.mean() if self.loss == "mse" else (error + ROOT_FLOOR).sqrt().mean()
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=batch.num_graphs)
        return self.with_auxiliary(loss)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._measure(batch, "val")

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self._measure(batch, "test")

    def predict_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        predicted = self.predict_outputs(batch)["y"]
        found = {"pos": batch.pos, "true": batch.y, "predicted": predicted, "batch": batch.batch}
        return found | ({"path": batch.path} if "path" in batch else {})

    def on_validation_epoch_end(self) -> None:
        self._log_median("val")

    def on_test_epoch_end(self) -> None:
        self._log_median("test")

    def _augmented(self, batch: Any) -> Any:
        batch = self.rotated(batch)
        if self.conjugate:
            batch = batch.clone()
            sign = 2 * torch.randint(2, (batch.num_graphs, 1), device=batch.x.device) - 1
            batch.x = batch.x * sign.index_select(0, batch.batch)
        return batch

    def _measure(self, batch: Any, stage: str) -> None:
        predicted = self.predict_outputs(batch)["y"]
        mse = cast(MeanSquaredError, self.mse[stage])
        mse.update(predicted, batch.y)
        cast(CatMetric, self.graph_errors[stage]).update(graph_errors(predicted, batch))
        self.log(f"{stage}/mse", mse, prog_bar=True, batch_size=batch.num_graphs)

    def _log_median(self, stage: str) -> None:
        errors = cast(CatMetric, self.graph_errors[stage])
        self.log(f"{stage}/median", torch.median(errors.compute()))
        errors.reset()


def graph_errors(predicted: Tensor, batch: Any) -> Tensor:
    """[graphs] mean squared error a coordinate of each graph; 0 for a graph without nodes."""
    error = ((predicted - batch.y) ** 2).mean(-1)
    total = error.new_zeros(batch.num_graphs).index_add(0, batch.batch, error)
    count = torch.bincount(batch.batch, minlength=batch.num_graphs)
    return total / count.clamp(min=1)
