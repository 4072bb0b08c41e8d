"""Tasks on whole graphs: classes and targets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import (
    cross_entropy,
    l1_loss,
    mse_loss,
)
from torchmetrics import MeanAbsoluteError, MeanSquaredError, Metric
from torchmetrics.classification import MulticlassAccuracy

from geqlib.graph import check_graph
from geqlib.train.steps.schedule import Schedule
from geqlib.train.tasks.label_checks import check_classes
from geqlib.train.tasks.means import mean_over
from geqlib.train.tasks.outputs import STAGES, check_outputs, scalars_of
from geqlib.train.tasks.task import Task, with_positions

# counts of pairs of nodes and of graphs, as of `geqlib.motifs.features.MotifFeatures`
MOTIFS = {"pair_index": "pair_index", "pair_attr": "pair:scalar", "motifs": "graph:scalar"}


class ClassificationTask(Task):
    """The class of each graph, by cross-entropy on the scalars that the model predicts for it.

    Metrics: `loss`, the cross-entropy without label smoothing, and `accuracy`.

    Args:
        model: returns (scalars, vectors) with scalars [graphs, classes], or scalars alone.
        classes: number of classes.
        label_smoothing: share of the target that is spread over all classes.
        lr, warmup, weight_decay, schedule, rotate, cuda_graphs: see `Task`.

    Raises:
        ValueError: if there are fewer than two classes.

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
    labels: ClassVar = ("y",)
    monitor = "val/loss"
    shown: ClassVar = ("accuracy",)

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
        rotate: bool | str = False,
        cuda_graphs: bool = False,
    ) -> None:
        super().__init__(
            model,
            lr=lr,
            warmup=warmup,
            weight_decay=weight_decay,
            schedule=schedule,
            rotate=rotate,
            cuda_graphs=cuda_graphs,
        )
        if classes < 2:
            raise ValueError(f"classes must be at least 2, got {classes}.")
        self.classes, self.label_smoothing = int(classes), label_smoothing
        self.accuracy = nn.ModuleDict(
            {stage: MulticlassAccuracy(self.classes, average="micro") for stage in STAGES}
        )

    def check_batch(self, batch: Any) -> None:
        super().check_batch(batch)
        check_classes(batch, self.classes)

    def predict_outputs(self, batch: Any) -> dict[str, Tensor]:
        logits = scalars_of(self(batch))
        check_outputs(logits, batch, self.model, self.classes)
        return {"logits": logits}

    def graph_losses(self, batch: Any) -> Tensor:
        logits = self.predict_outputs(batch)["logits"]
        return cross_entropy(
            logits, batch.y, label_smoothing=self.label_smoothing, reduction="none"
        )

    def loss(self, batch: Any) -> Tensor:
        return mean_over("graph", self.graph_losses(batch), batch)

    def metrics(self, batch: Any, stage: str) -> Mapping[str, Metric | Tensor]:
        logits = self.predict_outputs(batch)["logits"]
        accuracy = cast(Metric, self.accuracy[stage])
        accuracy.update(logits, batch.y)
        return {"loss": cross_entropy(logits, batch.y), "accuracy": accuracy}

    def predict_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        true = {"true": batch.y} if "y" in batch else {}
        return {"logits": self.predict_outputs(batch)["logits"], **true}


class GraphClassificationTask(ClassificationTask):
    """`ClassificationTask` for graphs of nodes and edges alone.

    After each epoch it measures the validation graphs and, where the data module has a second
    validation set beside them, the test fold as `val/test_accuracy`: for tables whose epoch is
    chosen by the mean over all test folds.

    Args:
        model: returns [graphs, classes].
        classes: number of classes.
        label_smoothing, lr, warmup, weight_decay, schedule, cuda_graphs: see `ClassificationTask`.

    Example:
        >>> from geqlib.models import SPEN
        >>> task = GraphClassificationTask(SPEN(7, 2, channels=16), 2, lr=1e-3)
    """

    inputs: ClassVar = {
        "x": "scalar",
        "edge_index": "edge_index",
        "edge_attr": "edge_scalar",
        "batch": "batch",
        **MOTIFS,
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

    def check_batch(self, batch: Any) -> None:
        check_graph(with_positions(batch, (*self.inputs, "y")))
        check_classes(batch, self.classes)


class RegressionTask(Task):
    """Targets `y` [graphs, targets] of a batch, standardised for the model.

    The model learns (y - mean) / std with the numbers that the data module's `target_scale()`
    gives (0 and 1 if it has none); they are part of the checkpoint. Metrics, `mae` and `rmse`, and
    predictions are in the unit of the target.

    Args:
        model: returns scalars [graphs, targets], or (scalars, vectors).
        loss: "mae" or "mse".
        lr, warmup, weight_decay, schedule, rotate, cuda_graphs: see `Task`.

    Raises:
        ValueError: if the loss is another.

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
        **MOTIFS,
    }
    outputs: ClassVar = {"y": "graph:scalar"}
    labels: ClassVar = ("y",)
    monitor = "val/mae"
    shown: ClassVar = ("mae", "rmse")

    def __init__(
        self,
        model: nn.Module,
        *,
        loss: Literal["mae", "mse"] = "mae",
        lr: float = 2e-3,
        warmup: float = 0.05,
        weight_decay: float = 0.0,
        schedule: Schedule = "cosine",
        rotate: bool | str = False,
        cuda_graphs: bool = False,
    ) -> None:
        super().__init__(
            model,
            lr=lr,
            warmup=warmup,
            weight_decay=weight_decay,
            schedule=schedule,
            rotate=rotate,
            cuda_graphs=cuda_graphs,
        )
        if loss not in ("mae", "mse"):
            raise ValueError(f'loss must be "mae" or "mse", got {loss!r}.')
        self.loss_name = loss
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(0.0))
        self.register_buffer("std", torch.tensor(1.0))
        self.errors = nn.ModuleDict(
            {
                stage: nn.ModuleDict(
                    {"mae": MeanAbsoluteError(), "rmse": MeanSquaredError(squared=False)}
                )
                for stage in STAGES
            }
        )

    def setup(self, stage: str) -> None:
        super().setup(stage)
        data = getattr(self.trainer, "datamodule", None)
        if stage == "fit" and hasattr(data, "target_scale") and not self.keeps_normalisation:
            mean, std = data.target_scale()  # type: ignore[union-attr]
            if isinstance(mean, Tensor):
                raise ValueError(
                    f"The data has {len(mean)} targets, and RegressionTask standardises one: take "
                    f"MaskedRegressionTask with num_targets={len(mean)}."
                )
            self.mean.fill_(mean)
            self.std.fill_(std if std > 0 else 1.0)

    def check_batch(self, batch: Any) -> None:
        check_graph(batch if "pos" in batch else with_positions(batch))

    def predict_outputs(self, batch: Any) -> dict[str, Tensor]:
        standard = scalars_of(self(batch))
        check_outputs(standard, batch, self.model)
        return {"y": self.mean + self.std * standard}

    def graph_losses(self, batch: Any) -> Tensor:
        return self._errors(batch).flatten(1).mean(1)

    def loss(self, batch: Any) -> Tensor:
        return mean_over("graph", self._errors(batch), batch).mean()

    def _errors(self, batch: Any) -> Tensor:
        """[graphs, targets] of standardised targets."""
        standard = scalars_of(self(batch))
        check_outputs(standard, batch, self.model)
        true = ((batch.y - self.mean) / self.std).view_as(standard)
        error = l1_loss if self.loss_name == "mae" else mse_loss
        return error(standard, true, reduction="none")

    def metrics(self, batch: Any, stage: str) -> Mapping[str, Metric | Tensor]:
        predicted = self.predict_outputs(batch)["y"]
        errors = cast(Mapping[str, Metric], self.errors[stage])
        for error in errors.values():
            error.update(predicted, batch.y.view_as(predicted))
        return dict(errors.items())

    def predict_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        predicted = self.predict_outputs(batch)["y"]
        true = {"true": batch.y.view_as(predicted)} if "y" in batch else {}
        return {"predicted": predicted, **true}
