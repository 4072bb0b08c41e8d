"""Graphs of networkx as a data module: what arrives, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import lightning as L
import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.utils import from_networkx as of_one

from geqlib.data import GraphData, from_networkx
from geqlib.models import SPEN
from geqlib.train import GraphClassificationTask


def whole(graphs: list[Any], classes: Any, **options: Any) -> Any:
    """All graphs in one batch, in the order given."""
    classes = [0] * len(graphs) if classes is None else classes
    data = from_networkx(graphs, classes, num_folds=2, validation=0.0, **options)
    data.setup()
    order = np.argsort(np.concatenate([data.numbers["train"], data.numbers["test"]]))
    parts = [data.splits[k].subset(range(len(data.splits[k]))) for k in ("train", "test")]
    actual = [part[i] for part in parts for i in range(len(part))]
    return [actual[i] for i in order], data


def molecule() -> nx.Graph:
    graph = nx.Graph(label="active")
    graph.add_node("c", element="C", charge=0.5, place=[0.0, 1.0])
    graph.add_node("o", element="O", charge=-1, place=np.array([2.0, 3.0]))
    graph.add_node("h", element="H", charge=True, place=(4.0, 5.0))
    graph.add_edge("o", "c", order=2, kind="double")
    graph.add_edge("c", "h", order=1, kind="single")
    return graph


def test_attributes_of_all_kinds() -> None:
    graphs = [molecule() for _ in range(4)]
    graphs[1].graph["label"] = graphs[3].graph["label"] = "dead"
    names = {"nodes": ["element", "charge", "place"], "edges": ["order", "kind"]}
    actual, data = whole(graphs, "label", **names)
    assert data.classes == ["active", "dead"] and [int(g.y) for g in actual] == [0, 1, 0, 1]
    # carbon, hydrogen, oxygen, charge, place
    rows = [[1, 0, 0, 0.5, 0, 1], [0, 0, 1, -1, 2, 3], [0, 1, 0, 1, 4, 5]]
    assert actual[0].x.tolist() == rows
    assert actual[0].edge_index.tolist() == [[0, 0, 1, 2], [1, 2, 0, 0]]
    assert actual[0].edge_attr.tolist() == [[2, 1, 0], [1, 0, 1], [2, 1, 0], [1, 0, 1]]


@pytest.mark.slow
@given(st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=25, deadline=None)
def test_the_same_edges_as_torch_geometric(seed: int, directed: bool) -> None:
    rng = np.random.default_rng(seed)
    graphs = []
    for nodes in rng.integers(1, 7, size=4):
        graph = nx.gnp_random_graph(int(nodes), 0.5, seed=int(rng.integers(100)), directed=directed)
        names = rng.permutation(100)[:nodes]
        graph = nx.relabel_nodes(graph, dict(enumerate(map(str, names))))
        nx.set_node_attributes(graph, {n: float(rng.normal()) for n in graph}, "height")
        graphs.append(graph)
    actual, _ = whole(graphs, [0, 1, 0, 1], nodes=["height"])
    for graph, batch in zip(graphs, actual, strict=True):
        expected = of_one(graph, group_node_attrs=["height"])
        assert torch.equal(batch.edge_index, expected.edge_index)
        assert torch.equal(batch.x, expected.x.float())


def test_parallel_edges_and_loops_stay() -> None:
    graph = nx.MultiDiGraph([(0, 1), (0, 1), (1, 1)])
    actual, _ = whole([graph] * 4, [0, 1, 0, 1])
    assert actual[0].edge_index.tolist() == [[0, 0, 1], [1, 1, 1]]


def test_graphs_without_edges_have_attributes() -> None:
    graphs = [nx.path_graph(2), nx.empty_graph(2)] * 2
    for graph in graphs:
        nx.set_edge_attributes(graph, [1.0, 2.0], "pair")
    actual, _ = whole(graphs, [0, 1, 0, 1], edges=["pair"])
    assert [tuple(g.edge_attr.shape) for g in actual] == [(2, 2), (0, 2)] * 2
    actual, _ = whole([nx.empty_graph(1)] * 4, [0, 1, 0, 1], edges=["pair"])
    assert tuple(actual[0].edge_attr.shape) == (0, 1)


@pytest.mark.parametrize(
    ("classes", "names", "numbers"),
    [
        ([3, 1, 3, 1], [1, 3], [1, 0, 1, 0]),
        (["b", "a", "b", "a"], ["a", "b"], [1, 0, 1, 0]),
        ([True, False, True, False], [False, True], [1, 0, 1, 0]),
        (np.array([0, 1, 0, 1]), [0, 1], [0, 1, 0, 1]),
        (torch.tensor([0, 1, 0, 1]).tolist(), [0, 1], [0, 1, 0, 1]),
    ],
)
def test_classes(classes: Any, names: list[Any], numbers: list[int]) -> None:
    actual, data = whole([nx.path_graph(2)] * 4, classes)
    assert data.classes == names and [int(g.y) for g in actual] == numbers


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.filterwarnings("ignore:.*number of training batches")
def test_training_on_own_graphs(tmp_path) -> None:
    torch.manual_seed(0)
    graphs = [nx.cycle_graph(n) for n in range(3, 11)] + [nx.path_graph(n) for n in range(3, 11)]
    data = from_networkx(graphs, ["ring"] * 8 + ["tree"] * 8, num_folds=4, validation=0.0, hops=1)
    data.setup()
    width = data.splits["train"][0].x.size(1)
    task = GraphClassificationTask(SPEN(width, 2, channels=8, layers=1), 2, lr=1e-2)
    options: dict[str, Any] = {"logger": False, "enable_checkpointing": False}
    options |= {"enable_progress_bar": False, "enable_model_summary": False}
    trainer = L.Trainer(max_epochs=20, accelerator="cpu", default_root_dir=tmp_path, **options)
    trainer.fit(task, data)
    assert trainer.callback_metrics["train/loss"] < 0.3  # log 2 = 0.69 for guessing


def unequal() -> list[nx.Graph]:
    graphs = [nx.path_graph(2), nx.path_graph(2)]
    nx.set_node_attributes(graphs[0], [1.0, 2.0], "place")
    nx.set_node_attributes(graphs[1], 1.0, "place")
    return graphs


def mixed(*values: Any) -> list[nx.Graph]:
    graphs = [nx.empty_graph(1) for _ in values]
    for graph, value in zip(graphs, values, strict=True):
        graph.add_node(0, mass=value)
    return graphs


PAIR = [nx.path_graph(2)] * 2
ERRORS: dict[str, tuple[Callable[[], Any], str]] = {
    "nothing": (lambda: from_networkx([], []), "There are no graphs: give at least one"),
    "arrays": (
        lambda: from_networkx([nx.path_graph(2), [(0, 1)]], [0, 1]),
        "graphs[1] is a list: give networkx graphs",
    ),
    "counts": (lambda: from_networkx(PAIR, [0]), "There are 2 graphs, but 1 classes."),
    "name": (lambda: from_networkx(PAIR, "label"), "graphs[0].graph has no 'label'"),
    "none": (lambda: from_networkx(PAIR, [0, None]), "The class of graphs[1] is None: give each"),
    "real": (lambda: from_networkx(PAIR, [0.0, 0.5]), "The class of graphs[1] is 0.5: give each"),
    "kinds": (lambda: from_networkx(PAIR, [0, "b"]), "Classes must be of one kind"),
    "missing": (
        lambda: from_networkx(PAIR, [0, 1], edges=["length"]),
        "graph 0 has edges without 'length'",
    ),
    "lengths": (
        lambda: from_networkx(unequal(), [0, 1], nodes=["place"]),
        "graph 1: node 'place' has 1 numbers, but 2 before",
    ),
    "nan": (
        lambda: from_networkx(mixed(1.0, float("nan")), [0, 1], nodes=["mass"]),
        "graph 1: node 'mass' is nan: correct or drop that graph.",
    ),
    "object": (
        lambda: from_networkx(mixed(1.0, {"a": 1}), [0, 1], nodes=["mass"]),
        "graph 1: node 'mass' is {'a': 1}, which is no number.",
    ),
    "text": (
        lambda: from_networkx(mixed("light", 2.0), [0, 1], nodes=["mass"]),
        "graph 1: node 'mass' is 2.0, and text elsewhere.",
    ),
    "option": (lambda: from_networkx(PAIR, [0, 1], num_folds=2, fold=2), "fold is 2: choose one"),
}


@pytest.mark.parametrize("error", ERRORS)
def test_errors_say_what_and_how_to_fix(error: str) -> None:
    call, message = ERRORS[error]
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


def test_it_is_the_class_method() -> None:
    assert from_networkx.__func__ is GraphData.from_networkx.__func__
