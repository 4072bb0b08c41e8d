"""Graph classification: what is measured in every epoch, and on which graphs."""

from __future__ import annotations

from typing import Any

import lightning as L
import networkx as nx
import pytest
import torch

from geqlib.data import GraphData
from geqlib.models import SPEN, MessagePassingNet
from geqlib.train import GraphClassificationTask


def graphs(**options: Any) -> GraphData:
    """Rings and paths of 3 to 12 nodes, known by the number of their neighbours."""
    built = [shape(n) for n in range(3, 13) for shape in (nx.cycle_graph, nx.path_graph)]
    for graph in built:
        nx.set_node_attributes(graph, dict(graph.degree), "degree")
    inputs: dict[str, Any] = {"num_folds": 4, "validation": 0.2, "batch_size": 2} | options
    data = GraphData.from_networkx(built, [0, 1] * 10, nodes=["degree"], **inputs)
    data.setup()
    return data


def measured(task: GraphClassificationTask, data: GraphData) -> dict[str, float]:
    trainer = L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.validate(task, data, verbose=False)
    return {name: float(value) for name, value in trainer.logged_metrics.items()}


def accuracy(task: GraphClassificationTask, split: Any) -> float:
    """Graph by graph."""
    right = []
    for k in range(len(split)):
        batch = split.__getitems__([k])
        inputs = {"batch": batch.batch, "num_graphs": 1}
        right.append(task.model(batch.x, batch.edge_index, **inputs).argmax(1) == batch.y)
    return float(torch.cat(right).double().mean())


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.parametrize("hops", [None, 1])
def test_both_sets_are_measured(hops: int | None) -> None:
    torch.manual_seed(1)
    net = SPEN(1, 2, channels=4, layers=1).eval()
    data, task = graphs(hops=hops), GraphClassificationTask(net, 2).eval()
    actual = measured(task, data)
    assert {k: len(v) for k, v in data.splits.items()} == {"train": 12, "val": 3, "test": 5}
    assert actual["val/accuracy"] == pytest.approx(accuracy(task, data.splits["val"]))
    assert actual["val/test_accuracy"] == pytest.approx(accuracy(task, data.splits["test"]))
    alone = measured(task, graphs(hops=hops, validation=0.0))
    assert alone["val/accuracy"] == actual["val/test_accuracy"]
    assert "val/test_accuracy" not in alone


def test_wrong_graphs_are_named() -> None:
    data, task = graphs(), GraphClassificationTask(MessagePassingNet(1, 2, channels=4), 2)
    batch: Any = data.splits["train"].__getitems__([0, 1])
    task.check_batch(batch)
    batch.x[1] = float("nan")
    with pytest.raises(ValueError, match=r"x is NaN or infinite at row 1 \(graph 0 of"):
        task.check_batch(batch)
    batch.x[1] = 0.0
    batch.edge_index[0, 0] = 99
    with pytest.raises(ValueError, match="edge 0 is 99 -> "):
        task.check_batch(batch)
