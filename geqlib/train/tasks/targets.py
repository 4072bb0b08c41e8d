"""Tasks on several targets, some of which may be missing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch_geometric.data import Data
from torchmetrics import Metric

from geqlib.graph import check_graph
from geqlib.train.steps.schedule import Schedule
from geqlib.train.tasks.label_checks import check_any_label
from geqlib.train.tasks.means import labelled_means
from geqlib.train.tasks.outputs import STAGES, scalars_of
from geqlib.train.tasks.target_metrics import TargetAccuracy, TargetErrors, TargetRanking
from geqlib.train.tasks.task import Task, with_positions

Level = Literal["graph", "node"]
INPUTS = {
    "pos": "point",
    "vec": "vector",
    "z": "scalar",
    "x": "scalar",
    "edge_index": "edge_index",
    "edge_attr": "edge_scalar",
    "batch": "batch",
}


class TargetsTask(Task):
    """What tasks on `y` [graphs, targets], or [N, targets] of nodes, have in common.

    NaN in `y` says that nothing is known: loss and metrics leave it out. Where the data module has
    names of its `targets`, metrics of several targets are logged for each of them, too.
    """

    inputs: ClassVar = INPUTS
    labels: ClassVar = ("y",)
    labels_may_miss: ClassVar = ("y",)
    measures: nn.ModuleDict

    def __init__(
        self,
        model: nn.Module,
        num_targets: int,
        level: Level,
        *,
        lr: float,
        warmup: float,
        weight_decay: float,
        schedule: Schedule,
        rotate: bool | str,
        cuda_graphs: bool,
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
        if num_targets < 1:
            raise ValueError(f"num_targets must be at least 1, got {num_targets}.")
        if level not in ("graph", "node"):
            raise ValueError(f'level must be "graph" or "node", got {level!r}.')
        self.num_targets, self.level = int(num_targets), level

    def on_fit_start(self) -> None:
        super().on_fit_start()
        check_any_label(self.trainer, self.labels)

    def check_batch(self, batch: Any) -> None:
        fields = {name: value for name, value in batch.to_dict().items() if name != "y"}
        graph = Data(**fields)
        check_graph(graph if "pos" in graph else with_positions(graph))
        if "y" not in batch:
            if self._trainer is not None and self.trainer.predicting:
                return
            raise ValueError("The data has no targets `y`: name them in the data module.")
        expected = (self._entries(batch), self.num_targets)
        if batch.y.shape != expected:
            raise ValueError(
                f"y has shape {tuple(batch.y.shape)}, but the task expects {self.num_targets} "
                f"targets of each of {expected[0]} {self.level}s: set `num_targets` and `level` of "
                "the task to those of the data."
            )
        if batch.y.isinf().any():
            raise ValueError("y is infinite: correct it, or leave it out (NaN).")

    def outputs_of_model(self, batch: Any) -> Tensor:
        """[graphs or nodes, targets]."""
        output = scalars_of(self(batch))
        expected = (self._entries(batch), self.num_targets)
        if output.shape != expected:
            raise ValueError(
                f"The model returns {tuple(output.shape)}, but targets are {expected}: give it "
                f"{self.num_targets} outputs for each {self.level}."
            )
        return output

    def entry_losses(self, batch: Any) -> Tensor:
        """[graphs or nodes, targets] what each entry adds to the loss; 0 where nothing is known."""
        raise NotImplementedError(f"{type(self).__name__} must define entry_losses(batch).")

    def graph_losses(self, batch: Any) -> Tensor:
        of_graphs = torch.arange(batch.num_graphs, device=batch.y.device)
        graph = of_graphs if self.level == "graph" else batch.batch
        return labelled_means(self.entry_losses(batch), ~batch.y.isnan(), graph, batch.num_graphs)

    def loss(self, batch: Any) -> Tensor:
        return self.entry_losses(batch).sum() / (~batch.y.isnan()).sum().clamp(min=1)

    def _entries(self, batch: Any) -> int:
        return batch.num_graphs if self.level == "graph" else batch.num_nodes

    def names(self) -> list[str]:
        """Of the targets: those of the data module, else their numbers."""
        data = None if self._trainer is None else getattr(self.trainer, "datamodule", None)
        names: Any = getattr(data, "targets", None)
        listed = isinstance(names, list) and len(names) == self.num_targets
        return [str(name) for name in names] if listed else list(map(str, range(self.num_targets)))

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        self._log_targets("val")

    def on_test_epoch_end(self) -> None:
        super().on_test_epoch_end()
        self._log_targets("test")

    def predict_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        predicted = self.predict_outputs(batch)["y"]
        tensors = {"predicted": predicted}
        if "y" in batch:
            tensors["true"] = batch.y
        return tensors | ({"index": batch.index} if "index" in batch else {})

    def _log_targets(self, stage: str) -> None:
        if self.num_targets == 1:
            return
        for measure, metric in cast(Any, self.measures[stage]).items():
            metric.compute()
            for name, value in zip(self.names(), metric.each, strict=True):
                if not value.isnan():  # of a target that this part does not have
                    self.log(f"{stage}/{measure}_{name}", value)


class MaskedRegressionTask(TargetsTask):
    """Several targets, each standardised for the model, some of which may be missing.

    The model learns (y - mean) / std with the numbers of each target that the data module's
    `target_scale()` gives (0 and 1 if it has none); they are part of the checkpoint. Metrics of one
    target are `mae` and `rmse`, in its unit. Several targets may have different units: then there
    are `mae_NAME` and `rmse_NAME`, each in its own, and `std_mae` and `std_rmse`, which have none,
    the means over targets of these errors divided by std (as "std. MAE" of Gasteiger et al., arXiv
    2003.03123).

    Args:
        model: returns scalars [graphs, targets], or [N, targets], alone or as (scalars, vectors).
        num_targets: how many there are.
        level: whether targets belong to "graph" or "node".
        loss: "mae" or "mse", of standardised targets, each entry with the same weight.
        lr, warmup, weight_decay, schedule, rotate, cuda_graphs: see `Task`.

    Example:
        >>> from geqlib.models import MonoidGNN
        >>> net = MonoidGNN([119, 9, 11, 12, 9, 5, 8, 2, 2], "max", out_graph=3)
        >>> task = MaskedRegressionTask(net, 3, loss="mse")
    """

    shown: ClassVar = ("std_mae", "std_rmse", "mae", "rmse")

    def __init__(
        self,
        model: nn.Module,
        num_targets: int = 1,
        *,
        level: Level = "graph",
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
            num_targets,
            level,
            lr=lr,
            warmup=warmup,
            weight_decay=weight_decay,
            schedule=schedule,
            rotate=rotate,
            cuda_graphs=cuda_graphs,
        )
        if loss not in ("mae", "mse"):
            raise ValueError(f'loss must be "mae" or "mse", got {loss!r}.')
        # of this task, not of the class
        self.outputs = {"y": "graph:scalar" if level == "graph" else "scalar"}  # pyright: ignore[reportAttributeAccessIssue]
        self.monitor = "val/mae" if num_targets == 1 else "val/std_mae"
        self.loss_name = loss
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.zeros(self.num_targets))
        self.register_buffer("std", torch.ones(self.num_targets))
        self.measures = nn.ModuleDict(
            {
                stage: nn.ModuleDict({"mae": TargetErrors(1), "rmse": TargetErrors(2)})
                for stage in STAGES
            }
        )

    def setup(self, stage: str) -> None:
        super().setup(stage)
        data: Any = getattr(self.trainer, "datamodule", None)
        if stage == "fit" and hasattr(data, "target_scale") and not self.keeps_normalisation:
            mean, std = (torch.as_tensor(x).reshape(-1) for x in data.target_scale())
            if len(mean) != self.num_targets:
                raise ValueError(
                    f"The data has {len(mean)} targets, but the task {self.num_targets}: set "
                    "`num_targets` of the task, and the outputs of its model, to those of the data."
                )
            self.mean.copy_(mean)
            self.std.copy_(torch.where(std > 0, std, 1.0))

    def predict_outputs(self, batch: Any) -> dict[str, Tensor]:
        return {"y": self.mean + self.std * self.outputs_of_model(batch)}

    def entry_losses(self, batch: Any) -> Tensor:
        standard = (batch.y - self.mean) / self.std
        error = torch.where(batch.y.isnan(), 0.0, self.outputs_of_model(batch) - standard)
        return error.abs() if self.loss_name == "mae" else error.square()

    def metrics(self, batch: Any, stage: str) -> Mapping[str, Metric | Tensor]:
        predicted = self.predict_outputs(batch)["y"]
        measures = cast(Mapping[str, TargetErrors], self.measures[stage])
        single = self.num_targets == 1
        for measure in measures.values():
            measure.update(predicted, batch.y)
            measure.scale = 1.0 if single else self.std
        return {name if single else f"std_{name}": measures[name] for name in measures}


class MaskedClassificationTask(TargetsTask):
    """Several yes-or-no targets, 0 or 1, some of which may be missing, as in Tox21.

    Metrics: `auroc`, the mean over targets of the area under the receiver operating curve, of those
    that have both classes; `average_precision`, likewise; `accuracy` at the threshold 1/2, and
    `loss`, the cross-entropy.

    Args:
        model: returns logits [graphs, targets], or [N, targets], alone or as (scalars, vectors).
        num_targets: how many there are.
        level: whether targets belong to "graph" or "node".
        lr, warmup, weight_decay, schedule, rotate, cuda_graphs: see `Task`.

    Example:
        >>> from geqlib.models import MonoidGNN
        >>> net = MonoidGNN([119, 9, 11, 12, 9, 5, 8, 2, 2], "max", out_graph=12)
        >>> task = MaskedClassificationTask(net, 12)
    """

    monitor = "val/loss"
    shown: ClassVar = ("auroc", "accuracy")

    def __init__(
        self,
        model: nn.Module,
        num_targets: int = 1,
        *,
        level: Level = "graph",
        lr: float = 2e-3,
        warmup: float = 0.05,
        weight_decay: float = 0.0,
        schedule: Schedule = "cosine",
        rotate: bool | str = False,
        cuda_graphs: bool = False,
    ) -> None:
        super().__init__(
            model,
            num_targets,
            level,
            lr=lr,
            warmup=warmup,
            weight_decay=weight_decay,
            schedule=schedule,
            rotate=rotate,
            cuda_graphs=cuda_graphs,
        )
        # of this task, not of the class
        self.outputs = {"y": "graph:scalar" if level == "graph" else "scalar"}  # pyright: ignore[reportAttributeAccessIssue]
        self.measures = nn.ModuleDict(
            {
                stage: nn.ModuleDict(
                    {
                        "auroc": TargetRanking(),
                        "average_precision": TargetRanking("precision"),
                        "accuracy": TargetAccuracy(),
                    }
                )
                for stage in STAGES
            }
        )

    def check_batch(self, batch: Any) -> None:
        super().check_batch(batch)
        if "y" not in batch:
            return  # predictions need none
        values = batch.y[~batch.y.isnan()]
        wrong = (values != 0) & (values != 1)
        if wrong.any():
            raise ValueError(
                f"y has the value {float(values[wrong][0]):g}: classes are 0, 1, or NaN where they "
                "are unknown. MaskedRegressionTask learns other numbers."
            )

    def predict_outputs(self, batch: Any) -> dict[str, Tensor]:
        """Logits."""
        return {"y": self.outputs_of_model(batch)}

    def entry_losses(self, batch: Any) -> Tensor:
        return cross_entropies(self.outputs_of_model(batch), batch.y)

    def metrics(self, batch: Any, stage: str) -> Mapping[str, Metric | Tensor]:
        logits = self.outputs_of_model(batch)
        measures = cast(Mapping[str, Metric], self.measures[stage])
        for measure in measures.values():
            measure.update(logits, batch.y)
        return {**measures, "loss": masked_cross_entropy(logits, batch.y)}


def masked_cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Of yes-or-no targets, the mean over those that are not NaN; 0 if there are none.

    Example:
        >>> masked_cross_entropy(torch.zeros(1, 2), torch.tensor([[1.0, torch.nan]]))
        tensor(0.6931)
    """
    return cross_entropies(logits, y).sum() / (~y.isnan()).sum().clamp(min=1)


def cross_entropies(logits: Tensor, y: Tensor) -> Tensor:
    """Of yes-or-no targets, each; 0 where they are NaN."""
    each = binary_cross_entropy_with_logits(logits, y.nan_to_num(), reduction="none")
    return torch.where(y.isnan(), 0.0, each)
