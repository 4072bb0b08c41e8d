"""Widths that do not fit each other: one sentence that names the option."""

from __future__ import annotations

import pytest
import torch
from torch_geometric.data import Batch, Data

from geqlib.models import SPEN, MonoidGNN
from geqlib.train import ClassificationTask, GraphClassificationTask, RegressionTask
from geqlib.train.runs.parser_messages import innermost


def graphs(y: torch.Tensor | None = None) -> Batch:
    """Two triangles with two features a node and three an edge."""
    ring = torch.tensor([[0, 1, 2], [1, 2, 0]])
    one = Data(x=torch.randn(3, 2), edge_index=ring, edge_attr=torch.randn(3, 3))
    batch = Batch.from_data_list([one, one])
    if y is not None:
        batch.y = y
    return batch


CLASSES = torch.tensor([0, 1])


@pytest.mark.parametrize(
    ("task", "y", "said"),
    [
        (
            GraphClassificationTask(SPEN(2, 2, channels=4, layers=1), 2),
            CLASSES,
            "set edge_dim of the model, which is 0, to 3",
        ),
        (
            GraphClassificationTask(SPEN(5, 2, channels=4, layers=1, edge_dim=3), 2),
            CLASSES,
            "set in_channels of the model",
        ),
        (
            ClassificationTask(MonoidGNN(2, "max", out_graph=2), 2),
            CLASSES,
            "set edge_dim of the network to the width of edge_attr",
        ),
        (
            ClassificationTask(MonoidGNN(2, "max", out_graph=2, edge_dim=4), 2),
            CLASSES,
            "edge_attr has shape (6, 3), but edge_dim is 4",
        ),
        (
            ClassificationTask(MonoidGNN(7, "max", out_graph=2, edge_dim=3), 2),
            CLASSES,
            "x has shape (6, 2), but in_channels is 7",
        ),
        (
            ClassificationTask(MonoidGNN(2, "max", out_graph=5, edge_dim=3), 2),
            CLASSES,
            "MonoidGNN returns (2, 5), but the task has 2 classes",
        ),
        (
            ClassificationTask(MonoidGNN(2, "max", out_node=2, edge_dim=3), 2),
            CLASSES,
            "MonoidGNN returns (6, 2), but the labels y are (2,)",
        ),
        (
            RegressionTask(MonoidGNN(2, "max", out_graph=3, edge_dim=3)),
            torch.zeros(2),
            "MonoidGNN returns (2, 3), but the labels y are (2,)",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_widths(task, y, said):
    for step in (task.loss, lambda batch: task.metrics(batch, "val")):
        with pytest.raises(ValueError) as error:
            step(graphs(y))
        assert said in str(error.value)


def test_what_fits():
    task = ClassificationTask(MonoidGNN(2, "max", out_graph=2, edge_dim=3), 2)
    assert task.loss(graphs(CLASSES)).isfinite()
    assert task.predict_outputs(graphs())["logits"].shape == (2, 2)
    task = RegressionTask(MonoidGNN(2, "max", out_graph=1, edge_dim=3))
    assert task.loss(graphs(torch.zeros(2))).isfinite()
    assert task.loss(graphs(torch.zeros(2, 1))).isfinite()


def test_reports_of_the_parser_that_say_something_else_stay():
    assert innermost("something else") == "something else"
