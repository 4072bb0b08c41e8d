"""Tasks on generated data: several targets of graphs and nodes at once, bits of sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss
from torchmetrics import MeanSquaredError, Metric

from geqlib.graph import check_graph
from geqlib.train.steps.schedule import Schedule
from geqlib.train.tasks.means import labelled_means, mean_over
from geqlib.train.tasks.task import Task, with_positions

NODE_TASKS = ("shortest_path", "eccentricity", "laplacian")
GRAPH_TASKS = ("connected", "diameter", "spectral_radius")


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

    monitor = "val/log_mse"

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

    def graph_losses(self, batch: Any) -> Tensor:
        losses, graphs = [], batch.num_graphs
        numbers = {"node": batch.batch, "graph": torch.arange(graphs, device=batch.batch.device)}
        for level, y in self.predict_outputs(batch).items():
            errors = mse_loss(y, batch[f"y_{level}"], reduction="none")
            means = labelled_means(errors, torch.ones_like(y).bool(), numbers[level], graphs)
            losses.append(y.size(1) * means)
        return torch.stack(losses).sum(0) / sum(map(len, self.tasks.values()))

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
    monitor = "val/loss"
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

    def graph_losses(self, batch: Any) -> Tensor:
        errors = binary_cross_entropy_with_logits(self(batch), batch.y, reduction="none")
        return errors.mean(1)

    def loss(self, batch: Any) -> Tensor:
        return mean_over("graph", self.graph_losses(batch), batch)

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
