"""Tasks on vectors at points: where points will be, and normals of surfaces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torchmetrics import CatMetric, MeanMetric, MeanSquaredError, Metric

from geqlib.graph.segments import segment_lengths
from geqlib.train.steps.schedule import Schedule
from geqlib.train.tasks.means import mean_over
from geqlib.train.tasks.task import Task

ROOT_FLOOR = 1e-4


class DisplacementTask(Task):
    """Later positions: y = pos + elapsed * velocity + the vector that the model predicts.

    `mse` is the squared error per coordinate, as in the n-body tables of the literature; `median`
    is the median over graphs of the same, because a few close encounters dominate the mean.

    Args:
        model: returns (scalars, vectors) with vectors [N, 1, dim], or vectors alone.
        loss: "mse", or "rmse": the mean over graphs of sqrt(mse of the graph + 1e-4). Chaotic
            graphs, whose error no model can remove, then weigh in proportion to their error, not
            to its square.
        elapsed: time from input to target, in units of the velocities `vec[:, 0]`: the model then
            predicts the deviation from free flight. 0 leaves all of the displacement to it.
        conjugate: train on both signs of `x`, drawn for each graph: for charges, because equal
            and opposite charges move alike.
        lr, warmup, weight_decay, schedule, rotate, cuda_graphs: see `Task`.

    Raises:
        ValueError: if the loss is another.

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
    labels: ClassVar = ("y",)
    shown: ClassVar = ("mse",)

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
        schedule: Schedule = "cosine",
        rotate: bool | str = True,
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
        if loss not in ("mse", "rmse"):
            raise ValueError(f'loss must be "mse" or "rmse", got {loss!r}.')
        self.loss_name, self.elapsed, self.conjugate = loss, elapsed, conjugate
        self.mse = nn.ModuleDict({stage: MeanSquaredError() for stage in ("val", "test")})
        self.median = nn.ModuleDict({stage: Median() for stage in ("val", "test")})

    def predict_outputs(self, batch: Any) -> dict[str, Tensor]:
        later = batch.pos + vectors_of(self(batch)).reshape(batch.pos.shape)
        return {"y": later + self.elapsed * batch.vec[:, 0] if self.elapsed else later}

    def augmented(self, batch: Any) -> Any:
        batch = self.rotated(batch)
        if self.conjugate:
            batch = batch.clone()
            sign = 2 * torch.randint(2, (batch.num_graphs, 1), device=batch.x.device) - 1
            batch.x = batch.x * sign.index_select(0, batch.batch)
        return batch

    def graph_losses(self, batch: Any) -> Tensor:
        errors = graph_errors(self.predict_outputs(batch)["y"], batch)
        return errors if self.loss_name == "mse" else (errors + ROOT_FLOOR).sqrt()

    def loss(self, batch: Any) -> Tensor:
        return mean_over("graph", self.graph_losses(batch), batch)

    def metrics(self, batch: Any, stage: str) -> Mapping[str, Metric | Tensor]:
        predicted = self.predict_outputs(batch)["y"]
        mse, median = (cast(Metric, metrics[stage]) for metrics in (self.mse, self.median))
        mse.update(predicted, batch.y)
        median.update(graph_errors(predicted, batch))
        return {"mse": mse, "median": median}

    def predict_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        tensors = {
            "pos": batch.pos,
            **({"true": batch.y} if "y" in batch else {}),
            "predicted": self.predict_outputs(batch)["y"],
            "batch": batch.batch,
        }
        return tensors | ({"path": batch.path} if "path" in batch else {})


class NormalsTask(Task):
    """The direction of the surface at each point, up to sign.

    Loss and `error` are the mean over points of 1 - (n . n')^2, the square of the sine of the angle
    between the normal and the direction of the predicted vector, as in Puny et al. (ICLR 2022,
    arXiv 2110.03336); 2 / 3 for a random direction. `degrees` is the mean of that angle.

    Args:
        model: returns (scalars, vectors) with vectors [N, 1, 3], or vectors alone.
        lr, warmup, weight_decay, schedule, rotate, cuda_graphs: see `Task`.

    Example:
        >>> from geqlib.models import DGCNN
        >>> task = NormalsTask(DGCNN(0, 1, level="node"), lr=1e-3)
    """

    inputs: ClassVar = {"pos": "point", "batch": "batch"}
    outputs: ClassVar = {"normal": "vector"}
    labels: ClassVar = ("normal",)
    stretches: ClassVar = False  # under which normals are no vectors
    monitor = "val/error"
    shown: ClassVar = ("error", "degrees")

    def __init__(
        self,
        model: nn.Module,
        *,
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
        self.means = nn.ModuleDict(
            {
                f"{stage}_{name}": MeanMetric(nan_strategy="disable")
                for stage in ("val", "test")
                for name in self.shown
            }
        )

    def predict_outputs(self, batch: Any) -> dict[str, Tensor]:
        return {"normal": normalize(vectors_of(self(batch)).reshape(batch.pos.shape), dim=1)}

    def loss(self, batch: Any) -> Tensor:
        errors = squared_sines(self.predict_outputs(batch)["normal"], batch.normal)
        return mean_over("node", errors, batch)

    def graph_losses(self, batch: Any) -> Tensor:
        errors = squared_sines(self.predict_outputs(batch)["normal"], batch.normal)
        return graph_means(errors, batch)

    def metrics(self, batch: Any, stage: str) -> Mapping[str, Metric | Tensor]:
        error = squared_sines(self.predict_outputs(batch)["normal"], batch.normal)
        degrees = torch.rad2deg(error.clamp(0, 1).sqrt().asin())
        means = {name: cast(Metric, self.means[f"{stage}_{name}"]) for name in self.shown}
        for mean, values in zip(means.values(), (error, degrees), strict=True):
            mean.update(values)
        return means

    def predict_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        tensors = {
            "pos": batch.pos,
            "predicted": self.predict_outputs(batch)["normal"],
            "batch": batch.batch,
        }
        return tensors | ({"true": batch.normal} if "normal" in batch else {})


class Median(CatMetric):
    """The median of all values of an epoch; NaN if one of them is."""

    def __init__(self) -> None:
        super().__init__(nan_strategy="disable")

    def compute(self) -> Tensor:
        return torch.median(cast(Tensor, super().compute()))


def graph_errors(predicted: Tensor, batch: Any) -> Tensor:
    """[graphs] mean squared error per coordinate of each graph; 0 for a graph without nodes."""
    return graph_means(((predicted - batch.y) ** 2).mean(-1), batch)


def graph_means(values: Tensor, batch: Any) -> Tensor:
    """[graphs] means of values [N] of nodes; 0 for a graph without nodes."""
    total = values.new_zeros(batch.num_graphs).index_add(0, batch.batch, values)
    count = segment_lengths(batch.batch, batch.num_graphs)
    return total / count.clamp(min=1)


def squared_sines(predicted: Tensor, true: Tensor) -> Tensor:
    """[N] of the angles between unit vectors [N, 3]; 1 where a prediction is 0."""
    return 1 - (predicted * true).sum(1).square()


def vectors_of(output: Any) -> Tensor:
    """The vectors of a model that returns them alone, or as (scalars, vectors)."""
    return output[1] if isinstance(output, tuple) else output
