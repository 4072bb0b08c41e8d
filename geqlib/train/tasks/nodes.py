"""Tasks on the nodes of graphs: their classes, and links between them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy

from geqlib.graph import check_graph
from geqlib.train.steps.schedule import Schedule
from geqlib.train.tasks.graphs import ClassificationTask
from geqlib.train.tasks.label_checks import check_any_label
from geqlib.train.tasks.means import labelled_means, mean_over
from geqlib.train.tasks.outputs import STAGES, scalars_of
from geqlib.train.tasks.target_metrics import TargetRanking
from geqlib.train.tasks.targets import INPUTS
from geqlib.train.tasks.task import Task, with_positions

UNLABELLED = -1


class NodeClassificationTask(ClassificationTask):
    """The class of each node, by cross-entropy; nodes of class -1 have no label.

    So one graph can be split into training, validation and test nodes: each split is the whole
    graph, with the labels of its own nodes.

    Args:
        model: returns logits [N, classes], alone or first of a pair.
        classes: number of classes.
        label_smoothing, lr, warmup, weight_decay, schedule, cuda_graphs: see `ClassificationTask`.

    Example:
        >>> from geqlib.models import MonoidGNN
        >>> task = NodeClassificationTask(MonoidGNN(34, "max", out_node=2), 2)
    """

    inputs: ClassVar = INPUTS
    outputs: ClassVar = {"logits": "scalar"}

    def __init__(
        self,
        model: nn.Module,
        classes: int,
        *,
        label_smoothing: float = 0.0,
        lr: float = 2e-3,
        warmup: float = 0.05,
        weight_decay: float = 0.0,
        schedule: Schedule = "cosine",
        cuda_graphs: bool = False,
    ) -> None:
        super().__init__(
            model,
            classes,
            label_smoothing=label_smoothing,
            lr=lr,
            warmup=warmup,
            weight_decay=weight_decay,
            schedule=schedule,
            cuda_graphs=cuda_graphs,
        )
        options: dict[str, Any] = {"average": "micro", "ignore_index": UNLABELLED}
        self.classes = int(classes)
        self.accuracy = nn.ModuleDict(
            {stage: MulticlassAccuracy(self.classes, **options) for stage in STAGES}
        )

    def on_fit_start(self) -> None:
        super().on_fit_start()
        check_any_label(self.trainer, self.labels)

    def check_batch(self, batch: Any) -> None:
        check_graph(batch if "pos" in batch else with_positions(batch))
        if "y" not in batch:
            return  # predictions need none
        y = batch.y
        if y.is_floating_point() or y.shape != (batch.num_nodes,):
            raise ValueError(
                f"y has shape {tuple(y.shape)} and dtype {y.dtype}: expected the class of each of "
                f"{batch.num_nodes} nodes, as integers."
            )
        if bool((y < UNLABELLED).any() | (y >= self.classes).any()):
            raise ValueError(
                f"y goes from {int(y.min())} to {int(y.max())}, but the task has {self.classes} "
                "classes, from 0: set `classes` to those of the data; -1 says that there is none."
            )

    def graph_losses(self, batch: Any) -> Tensor:
        logits, y = self.predict_outputs(batch)["logits"], _real_labels(batch)
        errors = cross_entropy(
            logits,
            y,
            ignore_index=UNLABELLED,
            label_smoothing=self.label_smoothing,
            reduction="none",
        )
        return labelled_means(errors, y != UNLABELLED, batch.batch, batch.num_graphs)

    def loss(self, batch: Any) -> Tensor:
        logits = self.predict_outputs(batch)["logits"]
        return _mean_cross_entropy(logits, _real_labels(batch), self.label_smoothing)

    def metrics(self, batch: Any, stage: str) -> Mapping[str, Metric | Tensor]:
        logits = self.predict_outputs(batch)["logits"]
        accuracy = cast(Metric, self.accuracy[stage])
        accuracy.update(logits, batch.y)
        return {"loss": _mean_cross_entropy(logits, batch.y), "accuracy": accuracy}


class LinkPredictionTask(Task):
    """Whether two nodes are linked: the product of the vectors that the model gives them.

    Pairs are `edge_label_index` [2, pairs] with `edge_label` [pairs], 1 or 0, as of
    torch_geometric's `RandomLinkSplit`; messages go along `edge_index`, which must not hold the
    links that are asked for. The logit of a pair is z_i . z_j, the loss its cross-entropy. Metrics:
    `auroc`, `average_precision` and `loss`.

    Args:
        model: returns z [N, C], alone or first of a pair.
        lr, warmup, weight_decay, schedule, cuda_graphs: see `Task`.

    Example:
        >>> from geqlib.models import MonoidGNN
        >>> task = LinkPredictionTask(MonoidGNN(34, "max", out_node=16))
    """

    inputs: ClassVar = INPUTS
    outputs: ClassVar = {"nodes": "scalar"}
    monitor = "val/loss"
    shown: ClassVar = ("auroc", "average_precision")

    def __init__(
        self,
        model: nn.Module,
        *,
        lr: float = 2e-3,
        warmup: float = 0.05,
        weight_decay: float = 0.0,
        schedule: Schedule = "cosine",
        cuda_graphs: bool = False,
    ) -> None:
        super().__init__(
            model,
            lr=lr,
            warmup=warmup,
            weight_decay=weight_decay,
            schedule=schedule,
            rotate=False,
            cuda_graphs=cuda_graphs,
        )
        self.measures = nn.ModuleDict(
            {
                stage: nn.ModuleDict(
                    {"auroc": TargetRanking(), "average_precision": TargetRanking("precision")}
                )
                for stage in STAGES
            }
        )

    def check_batch(self, batch: Any) -> None:
        check_graph(batch if "pos" in batch else with_positions(batch))
        if "edge_label_index" not in batch or "edge_label" not in batch:
            raise ValueError(
                "The data has no pairs of nodes: edge_label_index [2, pairs] and edge_label "
                '[pairs], as level="link" of OwnGraphData makes them.'
            )

    def predict_outputs(self, batch: Any) -> dict[str, Tensor]:
        return {"nodes": scalars_of(self(batch))}

    def logits(self, batch: Any) -> Tensor:
        """[pairs]."""
        z = self.predict_outputs(batch)["nodes"]
        first, second = batch.edge_label_index
        return (z.index_select(0, first) * z.index_select(0, second)).sum(1)

    def graph_losses(self, batch: Any) -> Tensor:
        errors = self._errors(batch)
        graph = batch.batch.index_select(0, batch.edge_label_index[0])
        return labelled_means(errors, torch.ones_like(errors).bool(), graph, batch.num_graphs)

    def loss(self, batch: Any) -> Tensor:
        return mean_over("pair", self._errors(batch), batch)

    def _errors(self, batch: Any) -> Tensor:
        """[pairs]."""
        logits = self.logits(batch)
        true = batch.edge_label.to(logits.dtype)
        return binary_cross_entropy_with_logits(logits, true, reduction="none")

    def metrics(self, batch: Any, stage: str) -> Mapping[str, Metric | Tensor]:
        logits = self.logits(batch)
        true = batch.edge_label.to(logits.dtype)
        measures = cast(Mapping[str, Metric], self.measures[stage])
        for measure in measures.values():
            measure.update(logits[:, None], true[:, None])
        return {**measures, "loss": binary_cross_entropy_with_logits(logits, true)}

    def predict_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        return {"logits": self.logits(batch), "true": batch.edge_label}


def _real_labels(batch: Any) -> Tensor:
    """Classes of nodes, without those of padding."""
    real = getattr(batch, "real_nodes", None)
    return batch.y if real is None else torch.where(real, batch.y, UNLABELLED)


def _mean_cross_entropy(logits: Tensor, y: Tensor, smoothing: float = 0.0) -> Tensor:
    total = cross_entropy(
        logits, y, ignore_index=UNLABELLED, label_smoothing=smoothing, reduction="sum"
    )
    return total / (y != UNLABELLED).sum().clamp(min=1)
