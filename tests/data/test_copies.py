"""Copies across splits are counted and said in one sentence before training."""

from __future__ import annotations

import warnings

import networkx as nx
import numpy as np
import pytest

from geqlib.data import OwnGraphData
from geqlib.data.copies import copies_of_training
from geqlib.data.packed import PackedGraphs

SIZES = range(3, 23)


def data(graphs: list[nx.Graph]) -> OwnGraphData:
    for graph in graphs:
        graph.graph["y"] = "ring" if nx.is_regular(graph) else "path"
    own = OwnGraphData.from_graphs(graphs, target="y", val=0.2, test=0.2, batch_size=8)
    own.setup()
    return own


def shapes(copies: int) -> list[nx.Graph]:
    return [
        make(n) for n in SIZES for make in (nx.cycle_graph, nx.path_graph) for _ in range(copies)
    ]


def test_the_number_is_that_of_graphs_with_equal_edges() -> None:
    own = data(shapes(2))
    edges = {
        name: [str(split[k].edge_index.tolist()) for k in range(len(split))]
        for name, split in own.splits.items()
    }
    expected = [(n, sum(e in edges["train"] for e in edges[n])) for n in ("val", "test")]
    assert copies_of_training(own.splits) == expected and min(n for _, n in expected) > 4
    (_, val), (_, test) = expected
    with pytest.warns(
        UserWarning, match=f"^{val} of 16 in val and {test} of 16 in test equal graphs"
    ):
        own.train_dataloader()


def test_different_graphs_are_no_copies() -> None:
    own = data(shapes(1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        own.train_dataloader()
    assert copies_of_training(own.splits) == []


def test_labels_and_numbers_in_the_file_do_not_count_but_every_input_does() -> None:
    def graphs(pos: list[float], x: float, y: float) -> PackedGraphs:
        arrays = {"nodes": [2], "pos": pos, "x": [x, x], "y": [y], "index": [int(y)]}
        fields = {"pos": "node", "x": "node", "y": "graph", "index": "graph"}
        return PackedGraphs(arrays, fields)

    train = graphs([0.0, 1.0], 1.0, 3.0)
    for other, count in (
        (graphs([0.0, 1.0], 1.0, 4.0), 1),
        (graphs([0.0, 1.0], 2.0, 3.0), 0),
        (graphs([0.0, np.nextafter(np.float32(1), np.float32(2))], 1.0, 3.0), 0),
    ):
        assert sum(n for _, n in copies_of_training({"train": train, "test": other})) == count
