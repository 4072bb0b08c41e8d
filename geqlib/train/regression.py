"""Predicting numbers of whole graphs."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss, mse_loss
from torch_geometric.data import Data
from torchmetrics import MeanAbsoluteError, MeanSquaredError, Metric

from geqlib.graph.checks import check_graph
from geqlib.train.task import Task


class RegressionTask(Task):
    """Targets `y` [graphs, targets] of a batch, standardised for the model.

    The model learns (y - mean) / std with the numbers that the data module's `target_scale()`
    gives (0 and 1 if it has none); they are kept in the checkpoint. Metrics, `mae` and `rmse`, and
    predictions are in the unit of the target.

    Args:
        model: returns scalars [graphs, targets], or (scalars, vectors).
        loss: "mae" or "mse".
        lr, warmup, weight_decay, rotate: see `Task`.

    Example:
        >>> from geqlib.models import MonoidGNN
        >>> task = RegressionTask(MonoidGNN([28], "max", out_graph=1, edge_dim=[4]), loss="mae")
    """

    inputs: ClassVar = {
        "pos": "point",
        "vec": "vector",
        "z": "scalar",
        "x": "scalar",
        "edge_index": "edge_index",
        "edge_attr": "edge_scalar",
        "batch": "batch",
    }
    outputs: ClassVar = {"y": "graph:scalar"}

    def __init__(
        self,
        model: nn.Module,
        *,
        loss: Literal["mae", "mse"] = "mae",
        lr: float = 2e-3,
        warmup: float = 0.05,
        weight_decay: float = 0.0,
        rotate: bool = False,
    ) -> None:
        super().__init__(model, lr=lr, warmup=warmup, weight_decay=weight_decay, rotate=rotate)
        if loss not in ("mae", "mse"):
            raise ValueError(f'loss must be "mae" or "mse", got {loss!r}.')
        self.loss = loss
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(0.0))
        self.register_buffer("std", torch.tensor(1.0))
        self.errors = nn.ModuleDict({stage: _errors() for stage in ("val", "test")})

    def setup(self, stage: str) -> None:
        data = getattr(self.trainer, "datamodule", None)
        if stage == "fit" and hasattr(data, "target_scale"):
            mean, std = data.target_scale()  # type: ignore[union-attr]
            self.mean.fill_(mean)
            self.std.fill_(std if std > 0 else 1.0)

    def check_batch(self, batch: Any) -> None:
        if "pos" not in batch:
            batch = Data(**batch.to_dict(), pos=batch.y.new_zeros(len(batch.x), 3))
        check_graph(batch)

    def predict_outputs(self, batch: Any) -> dict[str, Tensor]:
        return {"y": self.mean + self.std * self._standard(batch)}

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        batch = self.rotated(batch)
        found = self._standard(batch)
        true = ((batch.y - self.mean) / self.std).view_as(found)
        loss = (l1_loss if self.loss == "mae" else mse_loss)(found, true)
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=batch.num_graphs)
        return self.with_auxiliary(loss)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._measure(batch, "val")

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self._measure(batch, "test")

    def predict_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        found = self.predict_outputs(batch)["y"]
        return {"predicted": found, "true": batch.y.view_as(found)}

    def _standard(self, batch: Any) -> Tensor:
        out = self(batch)
        return out[0] if isinstance(out, tuple) else out

    def _measure(self, batch: Any, stage: str) -> None:
        found = self.predict_outputs(batch)["y"]
        for name, module in cast(nn.ModuleDict, self.errors[stage]).items():
            error = cast(Metric, module)
            error.update(found, batch.y.view_as(found))
            self.log(f"{stage}/{name}", error, prog_bar=True, batch_size=batch.num_graphs)


def _errors() -> nn.ModuleDict:
    return nn.ModuleDict({"mae": MeanAbsoluteError(), "rmse": MeanSquaredError(squared=False)})
