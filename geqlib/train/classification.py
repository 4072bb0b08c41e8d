"""Classifying graphs."""

from __future__ import annotations

from typing import Any, ClassVar, cast

from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchmetrics.classification import MulticlassAccuracy

from geqlib.train.task import Task


class ClassificationTask(Task):
    """The class of each graph, by cross-entropy on the scalars that the model predicts for it.

    Args:
        model: returns (scalars, vectors) with scalars [graphs, classes], or scalars alone.
        classes: number of classes.
        label_smoothing: share of the target that is spread over all classes.
        lr, warmup, weight_decay, rotate: see `Task`.

    Example:
        >>> from geqlib.models import PONITA
        >>> net = PONITA(1, 0, 10, 0, space="R2xS1", orientations=8, level="graph")
        >>> task = ClassificationTask(net, 10, lr=1e-3)
    """

    inputs: ClassVar = {
        "pos": "point",
        "vec": "vector",
        "x": "scalar",
        "edge_index": "edge_index",
        "edge_attr": "edge_scalar",
        "batch": "batch",
    }
    outputs: ClassVar = {"logits": "graph:scalar"}

    def __init__(
        self,
        model: nn.Module,
        classes: int,
        *,
        label_smoothing: float = 0.0,
        lr: float = 2e-3,
        warmup: float = 0.05,
        weight_decay: float = 0.0,
        rotate: bool = False,
    ) -> None:
        super().__init__(model, lr=lr, warmup=warmup, weight_decay=weight_decay, rotate=rotate)
        if classes < 2:
            raise ValueError(f"classes must be at least 2, got {classes}.")
        self.label_smoothing = label_smoothing
        stages = ("val", "test")
        self.accuracy = nn.ModuleDict(
            {stage: MulticlassAccuracy(classes, average="micro") for stage in stages}
        )

    def predict_outputs(self, batch: Any) -> dict[str, Tensor]:
        out = self(batch)
        return {"logits": out[0] if isinstance(out, tuple) else out}

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        batch = self.rotated(batch)
        logits = self.predict_outputs(batch)["logits"]
        loss = cross_entropy(logits, batch.y, label_smoothing=self.label_smoothing)
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=batch.num_graphs)
        return self.with_auxiliary(loss)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._measure(batch, "val")

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self._measure(batch, "test")

    def predict_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        return {"logits": self.predict_outputs(batch)["logits"], "true": batch.y}

    def _measure(self, batch: Any, stage: str) -> None:
        logits = self.predict_outputs(batch)["logits"]
        accuracy = cast(MulticlassAccuracy, self.accuracy[stage])
        accuracy.update(logits, batch.y)
        loss = cross_entropy(logits, batch.y)
        self.log(f"{stage}/loss", loss, batch_size=batch.num_graphs)
        self.log(
            f"{stage}/accuracy",
            accuracy,
            prog_bar=True,
            on_epoch=True,
            batch_size=batch.num_graphs,
        )
