"""Classifying graphs without positions, fold by fold."""

from __future__ import annotations

from typing import Any, ClassVar, cast

from torch import Tensor, nn
from torch_geometric.data import Data
from torchmetrics.classification import MulticlassAccuracy

from geqlib.graph.checks import check_graph
from geqlib.train.classification import ClassificationTask


class GraphClassificationTask(ClassificationTask):
    """`ClassificationTask` for graphs of nodes and edges alone.

    After each epoch it measures the validation graphs, and where the data module has a second set
    beside them, the test fold as `val/test_accuracy`: for tables whose epoch is chosen by the mean
    over all test folds.

    Args:
        model: returns [graphs, classes].
        classes: number of classes.
        label_smoothing, lr, warmup, weight_decay: see `ClassificationTask`.

    Example:
        >>> from geqlib.models import SPEN
        >>> task = GraphClassificationTask(SPEN(7, 2, channels=16), 2, lr=1e-3)
    """

    inputs: ClassVar = {
        "x": "scalar",
        "edge_index": "edge_index",
        "edge_attr": "edge_scalar",
        "batch": "batch",
    }

    def __init__(
        self,
        model: nn.Module,
        classes: int,
        *,
        label_smoothing: float = 0.0,
        lr: float = 2e-3,
        warmup: float = 0.05,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(
            model,
            classes,
            label_smoothing=label_smoothing,
            lr=lr,
            warmup=warmup,
            weight_decay=weight_decay,
        )
        self.accuracy["fold"] = MulticlassAccuracy(classes, average="micro")

    def check_batch(self, batch: Any) -> None:
        known = {key: batch[key] for key in (*self.inputs, "y") if key in batch}
        check_graph(Data(**known, pos=batch.x.new_zeros(len(batch.x), 3)))

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        if dataloader_idx == 0:
            self._measure(batch, "val")
            return
        accuracy = cast(MulticlassAccuracy, self.accuracy["fold"])
        accuracy.update(self.predict_outputs(batch)["logits"], batch.y)
        self.log("val/test_accuracy", accuracy, on_epoch=True, add_dataloader_idx=False)

    def log(self, name: str, value: Tensor | Any, *args: Any, **options: Any) -> None:
        """Names are those of one validation set, whichever sets there are."""
        super().log(name, value, *args, **(options | {"add_dataloader_idx": False}))
