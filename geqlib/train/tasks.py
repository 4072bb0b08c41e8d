"""Tasks on whole graphs and their nodes: classes, targets, several targets at once, bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    l1_loss,
    mse_loss,
)
from torchmetrics import MeanAbsoluteError, MeanSquaredError, Metric
from torchmetrics.classification import MulticlassAccuracy

from geqlib.graph import check_graph
from geqlib.train.label_checks import check_classes
from geqlib.train.means import mean_over
from geqlib.train.schedule import Schedule
from geqlib.train.task import Task, with_positions

NODE_TASKS = ("shortest_path", "eccentricity", "laplacian")
STAGES = ("val", "test", "fold")  # that have metrics; see `Task.validation_step`
GRAPH_TASKS = ("connected", "diameter", "spectral_radius")


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
        rotate: bool = False,
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

    def loss(self, batch: Any) -> Tensor:
        logits = self.predict_outputs(batch)["logits"]
        errors = cross_entropy(
            logits, batch.y, label_smoothing=self.label_smoothing, reduction="none"
        )
        return mean_over("graph", errors, batch)

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
    }
    outputs: ClassVar = {"y": "graph:scalar"}
    labels: ClassVar = ("y",)
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
        rotate: bool = False,
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

    def loss(self, batch: Any) -> Tensor:
        standard = scalars_of(self(batch))
        check_outputs(standard, batch, self.model)
        true = ((batch.y - self.mean) / self.std).view_as(standard)
        errors = (l1_loss if self.loss_name == "mae" else mse_loss)(
            standard, true, reduction="none"
        )
        return mean_over("graph", errors, batch).mean()

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


class MultitaskTask(Task):
    """Targets `y_node` and `y_graph` of a batch, by the mean of their squared errors.

    The score is that of the PNA benchmark (Corso et al., NeurIPS 2020): the mean over targets of
    log10(mean squared error). Test sets are measured separately, by the attribute `sizes` of their
    batches: `test/log_mse_15-19` for the mean, `test/diameter_15-19` for one of the targets.

    Args:
        model: returns (outputs of nodes [N, targets], outputs of graphs [graphs, targets]).
        node_tasks, graph_tasks: names of the targets.
        lr, warmup, weight_decay, schedule, cuda_graphs: see `Task`.

    Example:
        >>> from geqlib.models import MonoidGNN
        >>> task = MultitaskTask(MonoidGNN(2, "max", out_node=3, out_graph=3), lr=1e-3)
    """

    inputs: ClassVar = {"x": "scalar", "edge_index": "edge_index", "batch": "batch"}
    outputs: ClassVar = {"node": "scalar", "graph": "graph:scalar"}
    labels: ClassVar = ("y_node", "y_graph")

    def __init__(
        self,
        model: nn.Module,
        *,
        node_tasks: Sequence[str] = NODE_TASKS,
        graph_tasks: Sequence[str] = GRAPH_TASKS,
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
        self.tasks = {"node": tuple(node_tasks), "graph": tuple(graph_tasks)}
        self.errors = nn.ModuleDict()

    def check_batch(self, batch: Any) -> None:
        check_graph(with_positions(batch))

    def predict_outputs(self, batch: Any) -> dict[str, Tensor]:
        return dict(zip(("node", "graph"), self(batch), strict=True))

    def loss(self, batch: Any) -> Tensor:
        outputs = self.predict_outputs(batch)
        errors = [
            mean_over(level, mse_loss(y, batch[f"y_{level}"], reduction="none"), batch)
            for level, y in outputs.items()
        ]
        return torch.cat(errors).mean()

    def metrics(self, batch: Any, stage: str) -> Mapping[str, Metric | Tensor]:
        """Nothing per batch: logarithms are taken at the end of the epoch."""
        part = "val" if stage == "val" else batch.sizes
        if part not in self.errors:
            errors = {
                level: MeanSquaredError(num_outputs=len(names))
                for level, names in self.tasks.items()
            }
            self.errors[part] = nn.ModuleDict(errors).to(self.device)
        for level, y in self.predict_outputs(batch).items():
            cast(Any, self.errors[part])[level].update(y, batch[f"y_{level}"])
        return {}

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.log_metrics(batch, "test")

    def predict_step(
        self, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> dict[str, Tensor]:
        outputs = self.predict_outputs(batch)
        true = {f"true_{k}": batch[f"y_{k}"] for k in outputs if f"y_{k}" in batch}
        return outputs | true | {"batch": batch.batch}

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        self._log_errors("val/{}", self.errors.pop("val"))

    def on_test_epoch_end(self) -> None:
        super().on_test_epoch_end()
        for sizes in list(self.errors):
            self._log_errors(f"test/{{}}_{sizes}", self.errors.pop(sizes))

    def _log_errors(self, name: str, errors: Any) -> None:
        logs = torch.cat([torch.log10(errors[level].compute()).flatten() for level in self.tasks])
        targets = [*self.tasks["node"], *self.tasks["graph"]]
        self.log_dict({name.format(k): log for k, log in zip(targets, logs, strict=True)})
        self.log(name.format("log_mse"), logs.mean(), prog_bar=name.startswith("val"))


class BitsTask(Task):
    """Bits of each set's answer, by cross-entropy; an answer is right if all of its bits are.

    The accuracy is that of whole answers. On the test split it is measured separately for each
    size of sets, as `test/accuracy_SIZE`.

    Args:
        model: returns logits [sets, bits].
        lr, warmup, weight_decay, schedule, cuda_graphs: see `Task`.

    Example:
        >>> from geqlib.models import SetNetwork
        >>> task = BitsTask(SetNetwork(16, "max"), lr=1e-3)
    """

    inputs: ClassVar = {"x": "index", "batch": "batch"}
    outputs: ClassVar = {"logits": "graph:scalar"}
    labels: ClassVar = ("y",)
    shown: ClassVar = ("accuracy",)

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

    def check_batch(self, batch: Any) -> None:
        """The model checks its numbers itself."""
        if "y" in batch and not bool(batch.y.isfinite().all()):
            row = int((~batch.y.isfinite()).nonzero()[0, 0])
            raise ValueError(
                f"y is NaN or infinite at row {row}: correct or drop that set, or use `geqlib "
                "predict`, which needs no labels."
            )

    def predict_outputs(self, batch: Any) -> dict[str, Tensor]:
        return {"logits": self(batch)}

    def loss(self, batch: Any) -> Tensor:
        errors = binary_cross_entropy_with_logits(self(batch), batch.y, reduction="none")
        return mean_over("graph", errors, batch).mean()

    def metrics(self, batch: Any, stage: str) -> Mapping[str, Metric | Tensor]:
        logits = self(batch)
        accuracy = right_answers(logits, batch.y).to(batch.y.dtype).mean()
        if stage == "test":
            return {f"accuracy_{len(batch.x) // batch.num_graphs}": accuracy}
        return {"accuracy": accuracy, "loss": binary_cross_entropy_with_logits(logits, batch.y)}

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.log_metrics(batch, "test")

    def predict_step(
        self, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> dict[str, Tensor]:
        return {"logits": self(batch), **({"true": batch.y} if "y" in batch else {})}


def right_answers(logits: Tensor, y: Tensor) -> Tensor:
    """[sets] whether every bit is right."""
    return ((logits > 0) == (y > 0.5)).all(-1)


def check_outputs(
    outputs: Tensor, batch: Any, model: nn.Module, classes: int | None = None
) -> None:
    """Refuse outputs of a model that the labels `y` of a batch cannot be compared with.

    Args:
        outputs: [graphs, targets], or [graphs, classes] logits.
        batch: with `y`, or without for predictions.
        model: that made them.
        classes: of the task; None for numbers.

    Raises:
        ValueError: naming what to set.
    """
    shape, name = tuple(outputs.shape), type(model).__name__
    if classes is not None and (outputs.dim() != 2 or outputs.size(1) != classes):
        raise ValueError(
            f"{name} returns {shape}, but the task has {classes} classes, and needs as many "
            "outputs of each graph: set those of the model (out_scalars, out_graph or "
            "out_channels), or `classes` of the task."
        )
    if "y" not in batch:
        return
    same = outputs.numel() == batch.y.numel() if classes is None else len(outputs) == len(batch.y)
    if not same:
        raise ValueError(
            f"{name} returns {shape}, but the labels y are {tuple(batch.y.shape)}: set its outputs "
            "(out_scalars, out_graph or out_channels) to the number of targets of each graph, and "
            'its level to "graph" if it has one.'
        )


def scalars_of(output: Any) -> Tensor:
    """The scalars of a model that returns them alone, or as (scalars, vectors)."""
    return output[0] if isinstance(output, tuple) else output
