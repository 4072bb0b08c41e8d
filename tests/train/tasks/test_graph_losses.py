"""The loss of each graph of a batch is the loss of a batch of that graph alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.data import Batch, Data

from geqlib.train import (
    InvarianceConstraint,
    LinkPredictionTask,
    MaskedClassificationTask,
    MaskedRegressionTask,
    NodeClassificationTask,
    Task,
)
from tests.train.every_task import parts

SIZES = (4, 2, 5)


class OfNodes(nn.Module):
    """Outputs of nodes that depend on their order."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(2, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)


class OfGraphs(OfNodes):
    def forward(self, x: Tensor, batch: Tensor) -> Tensor:  # type: ignore[override]
        y = self.linear(x)
        return y.new_zeros(int(batch.max()) + 1, y.size(1)).index_add(0, batch, y)


def graphs(y: str) -> list[Data]:
    """Of several sizes, with some labels of the first and none of the second."""
    torch.manual_seed(0)
    result = []
    for k, n in enumerate(SIZES):
        data = Data(x=torch.randn(n, 2), edge_index=torch.arange(n).repeat(2, 2))
        if y == "link":
            data.edge_label_index = torch.randint(n, (2, n + 1))
            data.edge_label = torch.randint(2, (n + 1,)).float()
        elif y == "class":
            data.y = torch.randint(3, (n,))
            data.y[: (1, n, 0)[k]] = -1
        else:
            data.y = torch.randint(2, (n if y == "node" else 1, 2)).float()
            data.y[:1, : (1, 2, 0)[k]] = torch.nan
            data.y[:, :] = torch.nan if k == 1 else data.y
        result.append(data)
    return result


TASKS: dict[str, tuple[str, Task]] = {
    "classes of nodes": ("class", NodeClassificationTask(OfNodes(3), 3)),
    "smoothed": ("class", NodeClassificationTask(OfNodes(3), 3, label_smoothing=0.2)),
    "links": ("link", LinkPredictionTask(OfNodes(3))),
    "targets": ("graph", MaskedRegressionTask(OfGraphs(2), 2)),
    "targets of nodes": ("node", MaskedRegressionTask(OfNodes(2), 2, level="node", loss="mse")),
    "bits": ("graph", MaskedClassificationTask(OfGraphs(2), 2)),
    "bits of nodes": ("node", MaskedClassificationTask(OfNodes(2), 2, level="node")),
}


@pytest.mark.parametrize("name", TASKS)
def test_labels_that_are_missing(name: str) -> None:
    labels, task = TASKS[name]
    data = graphs(labels)
    losses = task.graph_losses(Batch.from_data_list(data))
    expected = torch.stack([task.loss(Batch.from_data_list([one])) for one in data])
    torch.testing.assert_close(losses, expected)
    assert losses[0] > 0 and (labels == "link" or losses[1] == 0)


@pytest.mark.parametrize("name", TASKS)
def test_they_are_trained_under_a_constraint(name: str) -> None:
    labels, task = TASKS[name]
    constraint = InvarianceConstraint("S_n", 1e-6)
    penalty = constraint.penalty(task, Batch.from_data_list(graphs(labels)))
    assert penalty == 0 < constraint.dual


@pytest.mark.parametrize("name", ["energy", "properties", "multitask"])
def test_parts_of_a_loss(name: str, tmp_path: Path) -> None:
    task, data, _ = parts(name, tmp_path)
    data.prepare_data()
    data.setup("fit")

    def batch(numbers: list[int]) -> Any:
        b = data.splits["train"].__getitems__(numbers)  # type: ignore[attr-defined]
        for key in {"energy": ("forces",), "properties": ("q", "mu")}.get(name, ()):
            b[key] = b[key].clone()
            b[key][-1] = torch.nan  # of the last graph
        return b

    losses = task.graph_losses(batch([0, 2, 1]))
    assert losses is not None
    alone = task.loss(batch([1]))
    torch.testing.assert_close(losses[2], alone.to(losses.dtype), rtol=1e-4, atol=1e-6)
    assert not losses.requires_grad or name != "energy"
