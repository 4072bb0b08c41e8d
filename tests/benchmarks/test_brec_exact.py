"""Exact features separate what they must, and never a graph from its copy."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest

from benchmarks.accuracy.brec_exact import PARTS
from geqlib.data.graphs.expressivity import BREC_PARTS, GraphPairs, PlainGraph, plain
from geqlib.motifs.exact import FEATURES, ComparedGraphs, outcome
from geqlib.train.exact_pairs import pair_and_copies


def four(one: PlainGraph, two: PlainGraph, rng: np.random.Generator) -> ComparedGraphs:
    return pair_and_copies(GraphPairs((one, two), ((0, 1),), {"all": 1}), 0, rng)


def rook() -> nx.Graph:
    return nx.line_graph(nx.complete_bipartite_graph(4, 4))


def shrikhande() -> nx.Graph:
    steps = [(0, 1), (1, 0), (1, 1), (0, 3), (3, 0), (3, 3)]
    return nx.Graph(
        ((a, b), ((a + s) % 4, (b + t) % 4)) for a in range(4) for b in range(4) for s, t in steps
    )


# the row of a feature -> whether it separates the pair
HEXAGON = nx.cycle_graph(6), nx.disjoint_union(nx.cycle_graph(3), nx.cycle_graph(3))
EXPECTED = {
    "1-WL": (False, False),
    "graphlet degrees, 1-WL": (True, True),
    "28 orbit adjacencies, 1-WL": (True, True),
    "cliques": (True, True),
    "folklore 2-WL": (True, False),
    "folklore 2-WL, Q5": (True, True),
    "folklore 2-WL, degree 6": (True, True),
    "folklore 2-WL, Q5, cliques": (True, True),
}


@pytest.mark.parametrize("name", FEATURES)
def test_pairs_of_known_power(name: str) -> None:
    for pair, expected in zip((HEXAGON, (rook(), shrikhande())), EXPECTED[name], strict=True):
        batch = four(plain(pair[0]), plain(pair[1]), np.random.default_rng(0))
        assert FEATURES[name](batch) is expected


@pytest.mark.parametrize("name", FEATURES)
def test_isomorphic_graphs_are_the_same(name: str) -> None:
    for seed in range(3):
        graph = plain(nx.gnp_random_graph(7, 0.5, seed=seed))
        rng = np.random.default_rng(seed)
        assert FEATURES[name](four(graph, graph.relabelled(rng), rng)) is False


@pytest.mark.parametrize("name", [name for name in FEATURES if name != "cliques"])
def test_kinds_of_nodes_are_seen(name: str) -> None:
    """Two rings that differ in the kinds of their nodes alone."""
    ring = plain(nx.cycle_graph(6))
    one, two = (PlainGraph(ring.edge_index, np.array(k)) for k in ([0, 1] * 3, [0, 0, 0, 1, 1, 1]))
    assert FEATURES[name](four(one, two, np.random.default_rng(0))) is True
    rng = np.random.default_rng(1)
    assert FEATURES[name](four(one, one.relabelled(rng), rng)) is False


def test_a_feature_that_depends_on_the_order_is_void() -> None:
    one, two = np.array([1, 2]), np.array([2, 1])
    assert outcome([one, one, two, one]) is None


def test_parts_are_those_of_brec() -> None:
    assert sum(PARTS.values()) == sum(BREC_PARTS.values()) == 400
