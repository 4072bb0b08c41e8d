"""Each fault of a graph is named, with its place; sound graphs pass."""

from __future__ import annotations

import math
import re

import pytest
import torch
from torch_geometric.data import Batch, Data

from geqlib.graph import check_graph


def graph(**changes):
    """Two triangles in one batch, with some entries replaced or, by None, left out."""
    edge_index = torch.tensor([[0, 1, 2, 3, 4, 5], [1, 2, 0, 4, 5, 3]])
    entries = {
        "pos": torch.randn(6, 3),
        "vec": torch.randn(6, 2, 3),
        "x": torch.randn(6, 4),
        "y": torch.randn(6, 3),
        "edge_index": edge_index,
        "edge_attr": torch.randn(6, 1),
        "batch": torch.tensor([0, 0, 0, 1, 1, 1]),
    }
    return Data(**{k: v for k, v in (entries | changes).items() if v is not None})


def spoilt(shape, place, value=math.nan):
    tensor = torch.zeros(shape)
    tensor[place] = value
    return tensor


GOOD = {
    "all": {},
    "plane": {"pos": torch.zeros(6, 2), "vec": None, "y": None},
    "positions alone": dict.fromkeys(("vec", "x", "y", "edge_index", "edge_attr", "batch")),
    "no edges": {"edge_index": torch.zeros(2, 0, dtype=torch.long), "edge_attr": torch.zeros(0, 1)},
    "loops and repeats": {"edge_index": torch.zeros(2, 6, dtype=torch.long)},
    "one node": {
        "pos": torch.zeros(1, 3),
        "edge_index": torch.zeros(2, 0, dtype=torch.long),
        "edge_attr": None,
        "batch": torch.zeros(1, dtype=torch.long),
    },
    "no nodes": {
        "pos": torch.zeros(0, 3),
        "edge_index": torch.zeros(2, 0, dtype=torch.long),
        "edge_attr": None,
        "batch": torch.zeros(0, dtype=torch.long),
    },
    "coincident nodes": {"pos": torch.zeros(6, 3)},
    "integers": {"x": torch.ones(6, dtype=torch.long), "y": torch.tensor([0, 1])},
    "atoms": {"z": torch.tensor([1, 118, 6, 7, 8, 9])},
    "cells": {"cell": torch.zeros(2, 3, 3), "cell_shift": torch.zeros(6, 3, dtype=torch.long)},
    "a last graph without nodes": {"cell": torch.eye(3).expand(3, 3, 3)},
    "labels of graphs": {"y": torch.tensor([[0.5], [1.0]])},
    "half precision": {"pos": torch.zeros(6, 3, dtype=torch.bfloat16)},
}
BAD = {
    "no positions": ({"pos": None}, "The graph has no positions: give it `pos`"),
    "four columns": (
        {"pos": torch.zeros(6, 4)},
        "pos has shape (6, 4): expected [nodes, 2 or 3].",
    ),
    "one axis": ({"pos": torch.zeros(6)}, "pos has shape (6,): expected [nodes, 2 or 3]."),
    "integer positions": (
        {"pos": torch.zeros(6, 3, dtype=torch.long)},
        "pos has dtype torch.int64: convert it with .float().",
    ),
    "NaN position": (
        {"pos": spoilt((6, 3), (4, 2))},
        "pos is NaN or infinite at row 4 (graph 1 of the batch): correct or drop that graph.",
    ),
    "infinite position": (
        {"pos": spoilt((6, 3), (1, 0), -math.inf)},
        "pos is NaN or infinite at row 1 (graph 0 of the batch)",
    ),
    "NaN without batch": (
        {"pos": spoilt((6, 3), (4, 2)), "batch": None},
        "pos is NaN or infinite at row 4: correct or drop that graph.",
    ),
    "NaN vector": (
        {"vec": spoilt((6, 2, 3), (3, 1, 0))},
        "vec is NaN or infinite at row 3 (graph 1",
    ),
    "NaN scalar": ({"x": spoilt((6, 4), (2, 0))}, "x is NaN or infinite at row 2 (graph 0"),
    "NaN in one axis": ({"x": spoilt((6,), 5)}, "x is NaN or infinite at row 5 (graph 1"),
    "infinite target": ({"y": spoilt((6, 3), (0, 0), math.inf)}, "y is NaN or infinite at row 0"),
    "NaN attribute": (
        {"edge_attr": spoilt((6, 1), (5, 0))},
        "edge_attr is NaN or infinite at row 5: correct",
    ),
    "edge out of range": (
        {"edge_index": torch.tensor([[0, 1, 2], [1, 6, 0]]), "edge_attr": None},
        "edge 1 is 1 -> 6, but there are only nodes 0 to 5: count nodes from 0.",
    ),
    "negative edge": (
        {"edge_index": torch.tensor([[0, 1, -1], [1, 2, 0]]), "edge_attr": None},
        "edge 2 is -1 -> 0, but there are only nodes 0 to 5",
    ),
    "overflown edge": (
        {"edge_index": torch.tensor([[0], [2**40]]), "edge_attr": None},
        "edge 0 is 0 -> 1099511627776",
    ),
    "transposed edges": (
        {"edge_index": torch.zeros(6, 2, dtype=torch.long)},
        "edge_index has shape (6, 2): expected [2, edges], sources above targets.",
    ),
    "flat edges": (
        {"edge_index": torch.zeros(2, dtype=torch.long)},
        "edge_index has shape (2,): expected [2, edges]",
    ),
    "floating edges": (
        {"edge_index": torch.zeros(2, 6)},
        "edge_index has dtype torch.float32: convert it with .long().",
    ),
    "too few attributes": (
        {"edge_attr": torch.zeros(5, 1)},
        "edge_attr has 5 rows, but there are 6 edges.",
    ),
    "too few shifts": (
        {"cell_shift": torch.zeros(7, 3, dtype=torch.long)},
        "cell_shift has 7 rows, but there are 6 edges.",
    ),
    "too few reverses": (
        {"reverse": torch.zeros(5, dtype=torch.long)},
        "reverse has 5 rows, but there are 6 edges.",
    ),
    "no such element": (
        {"z": torch.tensor([1, 1, 119, 1, 0, 1])},
        "z is 119 at row 2: atomic numbers go from 1 to 118.",
    ),
    "atomic number 0": (
        {"z": torch.tensor([1, 1, 1, 1, 0, 1])},
        "z is 0 at row 4: atomic numbers go from 1 to 118.",
    ),
    "floating atoms": (
        {"z": torch.ones(6)},
        "z has shape (6,) and dtype torch.float32: expected one atomic number per node, [6], as",
    ),
    "too few atoms": (
        {"z": torch.ones(5, dtype=torch.long)},
        "z has shape (5,) and dtype torch.int64: expected one atomic number per node, [6]",
    ),
    "one cell for two graphs": (
        {"cell": torch.eye(3)[None]},
        "cell has shape (1, 3, 3): expected [graphs, 3, 3], cell vectors in rows.",
    ),
    "cells stacked flat": (
        {"cell": torch.zeros(6, 3)},
        "cell has shape (6, 3): expected [graphs, 3, 3], cell vectors in rows.",
    ),
    "NaN cell": (
        {"cell": spoilt((2, 3, 3), (1, 0, 0))},
        "cell is NaN or infinite at row 1: correct",
    ),
    "short batch": (
        {"batch": torch.zeros(5, dtype=torch.long)},
        "batch has shape (5,), but there are 6 nodes: it numbers the graph of every node.",
    ),
    "batch as a column": (
        {"batch": torch.zeros(6, 1, dtype=torch.long)},
        "batch has shape (6, 1), but there are 6 nodes",
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_sound_graphs_pass(name):
    small = name in ("one node", "no nodes")
    rest = dict.fromkeys(("vec", "x", "y")) if small else {}
    check_graph(graph(**(rest | GOOD[name])))


@pytest.mark.parametrize("name", BAD)
def test_faults_are_named(name):
    changes, said = BAD[name]
    with pytest.raises(ValueError, match=re.escape(said)) as error:
        check_graph(graph(**changes))
    assert "\n" not in str(error.value)


def test_batches_of_torch_geometric():
    graphs = [Data(pos=torch.randn(n, 3)) for n in (2, 3, 1)]
    check_graph(Batch.from_data_list(graphs))
    graphs[1].pos[2, 0] = math.nan
    with pytest.raises(ValueError, match=r"at row 4 \(graph 1 of the batch\)"):
        check_graph(Batch.from_data_list(graphs))


def test_the_graph_is_left_as_it_is():
    data = graph()
    before = {key: value.clone() for key, value in data.to_dict().items()}
    check_graph(data)
    assert data.to_dict().keys() == before.keys()
    assert all(torch.equal(data[key], value) for key, value in before.items())
