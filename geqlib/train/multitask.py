"""Several targets of nodes and of graphs at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch_geometric.data import Data
from torchmetrics import MeanSquaredError

from geqlib.graph.checks import check_graph
from geqlib.train.task import Task

NODE_TASKS = ("shortest_path", "eccentricity", "laplacian")
GRAPH_TASKS = ("connected", "diameter", "spectral_radius")


class MultitaskTask(Task):
    """Targets `y_node` and `y_graph` of a batch, by the mean of their squared errors.

    The score is that of the PNA benchmark: the mean over targets of log10(mean squared error).
    Test sets are measured apart by what the batches say in `sizes`: `test/log_mse_15-19` for the
    mean, `test/diameter_15-19` for one of the targets.

    Args:
        model: returns (outputs of nodes [N, targets], outputs of graphs [graphs, targets]).
        node_tasks, graph_tasks: names of the targets.
        lr, warmup, weight_decay: see `Task`.

    Example:
        >>> from geqlib.models import MonoidGNN
        >>> task = MultitaskTask(MonoidGNN(2, "max", out_node=3, out_graph=3), lr=1e-3)
    """

    inputs: ClassVar = {"x": "scalar", "edge_index": "edge_index", "batch": "batch"}
    outputs: ClassVar = {"node": "scalar", "graph": "graph:scalar"}

    def __init__(
        self,
        model: nn.Module,
        *,
        node_tasks: Sequence[str] = NODE_TASKS,
        graph_tasks: Sequence[str] = GRAPH_TASKS,
        lr: float = 2e-3,
        warmup: float = 0.05,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(model, lr=lr, warmup=warmup, weight_decay=weight_decay, rotate=False)
        self.tasks = {"node": tuple(node_tasks), "graph": tuple(graph_tasks)}
        self.errors = nn.ModuleDict()

    def check_batch(self, batch: Any) -> None:
        check_graph(Data(**batch.to_dict(), pos=batch.x.new_zeros(len(batch.x), 3)))

    def predict_outputs(self, batch: Any) -> dict[str, Tensor]:
        return dict(zip(("node", "graph"), self(batch), strict=True))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        found = self.predict_outputs(batch)
        losses = [mse_loss(found[rows], batch[f"y_{rows}"], reduction="none") for rows in found]
        loss = torch.cat([x.mean(0) for x in losses]).mean()
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=batch.num_graphs)
        return self.with_auxiliary(loss)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._measure(batch, "val")

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._measure(batch, batch.sizes)

    def predict_step(
        self, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> dict[str, Tensor]:
        found = self.predict_outputs(batch)
        true = {f"true_{rows}": batch[f"y_{rows}"] for rows in found}
        return found | true | {"batch": batch.batch}

    def on_validation_epoch_end(self) -> None:
        self._log("val/{}", self.errors.pop("val"))

    def on_test_epoch_end(self) -> None:
        for sizes in list(self.errors):
            self._log(f"test/{{}}_{sizes}", self.errors.pop(sizes))

    def _measure(self, batch: Any, part: str) -> None:
        if part not in self.errors:
            errors = {
                rows: MeanSquaredError(num_outputs=len(names)) for rows, names in self.tasks.items()
            }
            self.errors[part] = nn.ModuleDict(errors).to(self.device)
        for rows, found in self.predict_outputs(batch).items():
            error = cast(MeanSquaredError, cast(nn.ModuleDict, self.errors[part])[rows])
            error.update(found, batch[f"y_{rows}"])

    def _log(self, name: str, errors: Any) -> None:
        logs = [torch.log10(errors[rows].compute()).flatten() for rows in self.tasks]
        found = dict(zip([*self.tasks["node"], *self.tasks["graph"]], torch.cat(logs), strict=True))
        self.log_dict({name.format(task): value for task, value in found.items()})
        self.log(name.format("log_mse"), torch.cat(logs).mean(), prog_bar=name.startswith("val"))
