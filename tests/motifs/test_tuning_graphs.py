"""Pairs by which recipes are chosen: not isomorphic, 1-WL sees none, and none is a pair of BREC."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest

from geqlib.data.graphs.expressivity import GraphPairs, colour_refinement, graph_pairs, plain
from geqlib.motifs.tuning_graphs import PAIRS, cfi_bases, cfi_graph, tuning_graphs
from geqlib.train.exact_pairs import exactly_separated


@pytest.mark.slow
def test_pairs() -> None:
    pairs = graph_pairs("tuning")
    assert list(pairs.parts.values()) == [PAIRS] * 4 and len(pairs.pairs) == 4 * PAIRS
    colours = colour_refinement(pairs.graphs)
    assert all(colours[one] == colours[two] for one, two in pairs.pairs)
    exact = exactly_separated(pairs, range(len(pairs.pairs)), "folklore 2-WL, Q5, cliques")
    assert all(exact.values())  # so that none is a pair of isomorphic graphs
    weaker = exactly_separated(pairs, range(2 * PAIRS, 3 * PAIRS), "folklore 2-WL")
    assert not any(weaker.values())  # strongly regular


def test_they_are_the_same_every_time() -> None:
    one, two = tuning_graphs(), tuning_graphs()
    assert all(
        np.array_equal(nx.to_numpy_array(a), nx.to_numpy_array(b))
        for part in one
        for pair, other in zip(one[part], two[part], strict=True)
        for a, b in zip(pair, other, strict=True)
    )


def test_strongly_regular_graphs_are_those_of_latin_squares() -> None:
    for pair in tuning_graphs()["strongly regular"]:
        for graph in pair:
            n = round(len(graph) ** 0.5)
            A = nx.to_numpy_array(graph)
            expected = 3 * (n - 1) * np.eye(n * n) + n * A + 6 * (1 - A - np.eye(n * n))
            assert np.array_equal(A @ A, expected)


def test_cfi_graphs_of_small_graphs() -> None:
    """Folklore 2-WL sees the twist of a base of tree-width 2, and not of one of tree-width 3."""
    bases = cfi_bases()
    assert len(bases) == PAIRS and min(map(len, bases)) > 7
    for base, seen in ((nx.cycle_graph(3), True), (nx.complete_graph(4), False)):
        one, two = cfi_graph(base), cfi_graph(base, twisted=True)
        assert len(one) == len(two) == sum(2 ** (d - 1) for _, d in base.degree)
        assert not nx.is_isomorphic(one, two)
        pairs = GraphPairs((plain(one), plain(two)), ((0, 1),), {"all": 1})
        assert exactly_separated(pairs, [0], "folklore 2-WL") == {0: seen}
