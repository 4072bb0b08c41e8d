"""The pairs of the benchmark are what it says, and exact features separate what theory says."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest

from benchmarks.accuracy.brec_exact import compared
from benchmarks.accuracy.expressivity_exact import SETS, chang, joined, of_one_part
from geqlib.data.download import find_file
from geqlib.data.graphs.expressivity import GraphPairs, PlainGraph, colour_refinement

FILES = {"SR": "expressivity/sr/sr16622.g6", "EXP": "expressivity/EXP/GRAPHSAT.txt.xz"}


def skip_without_file(name: str) -> None:
    if name in FILES and find_file(FILES[name]) is None:
        pytest.skip(f"{FILES[name]} is not in GEQLIB_DATA")


def graph_of(one: PlainGraph) -> nx.Graph:
    graph = nx.empty_graph(len(one.kind))
    graph.add_edges_from(one.edge_index.T.tolist())
    return graph


def some(pairs: GraphPairs, count: int) -> GraphPairs:
    """A few pairs of a set of one part, from all over it."""
    (part,) = pairs.parts
    numbers = np.linspace(0, len(pairs.pairs) - 1, count).astype(int)
    return GraphPairs(pairs.graphs, tuple(pairs.pairs[k] for k in numbers), {part: count})


def test_the_graphs_of_chang() -> None:
    """Strongly regular with equal parameters, no two isomorphic, and only one of them, the line
    graph of K8, has cliques of seven nodes."""
    graphs = [graph_of(one) for one in chang().graphs]
    for graph in graphs:
        square = nx.to_numpy_array(graph) @ nx.to_numpy_array(graph)
        adjacency, identity = nx.to_numpy_array(graph), np.eye(28)
        expected = 12 * identity + 6 * adjacency + 4 * (1 - identity - adjacency)
        assert np.array_equal(square, expected)
    sizes = [sorted(map(len, nx.find_cliques(graph))) for graph in graphs]
    assert sizes[0][-1] == 7 and max(one[-1] for one in sizes[1:]) < 7
    assert len(set(map(tuple, sizes))) == 4


def test_pairs_of_joined_sets_keep_their_graphs() -> None:
    sets = [of_one_part("CSL"), chang()]
    pairs = joined(sets)
    assert pairs.parts == {"CSL": 45, "sr281264": 6}
    for one, first in zip(sets, (0, 45), strict=True):
        for k, (i, j) in enumerate(one.pairs):
            assert pairs.graphs[pairs.pairs[first + k][0]] is one.graphs[i]
            assert pairs.graphs[pairs.pairs[first + k][1]] is one.graphs[j]


@pytest.mark.parametrize("name", [name for name in SETS if name != "graph8c"])
def test_1_wl_separates_no_pair(name: str) -> None:
    skip_without_file(name)
    pairs = SETS[name]()
    colours = colour_refinement(pairs.graphs)
    assert all(colours[i] == colours[j] for i, j in pairs.pairs)


def test_what_theory_says_of_some_pairs() -> None:
    """Folklore 2-WL separates no strongly regular graphs of equal parameters, and all others."""
    skip_without_file("EXP")
    sets = [some(of_one_part(name), 3) for name in ("CSL", "EXP")]
    table = compared(joined([*sets, chang()]), ["CSL", "EXP", "sr281264"])
    assert all(row.number("copies") == 0 for row in table.rows)
    counts = {
        row.labels[0]: [row.number(c) for c in ("CSL", "EXP", "sr281264")] for row in table.rows
    }
    assert counts["1-WL"] == [0, 0, 0]
    assert counts["folklore 2-WL"] == [3, 3, 0]
    assert counts["folklore 2-WL, Q5"] == counts["folklore 2-WL, degree 6"] == [3, 3, 6]
