"""Canonical labellings against brute force: certificates decide isomorphism, orbits are orbits."""

from __future__ import annotations

import os
from itertools import combinations, permutations

import networkx as nx
import numpy as np
import pytest

from geqlib.data.graphs.expressivity import PlainGraph, graph_pairs, plain
from geqlib.frames.canonical_labelling import Labelling, canonical_labelling

Array = np.ndarray
needs_mirror = pytest.mark.skipif(
    os.environ.get("GEQLIB_DATA") is None, reason="GEQLIB_DATA names no folder of published files"
)
TRIANGLE, RING, PATH = nx.complete_graph(3), nx.cycle_graph(6), nx.path_graph(4)
DISCONNECTED = {
    "isolated": nx.empty_graph(5),
    "equal triangles": nx.disjoint_union(TRIANGLE, TRIANGLE),
    "three equal paths": nx.disjoint_union_all([PATH, PATH, PATH]),
    "ring and isolated": nx.disjoint_union(RING, nx.empty_graph(2)),
    "equal and other": nx.disjoint_union_all([RING, TRIANGLE, RING, PATH, nx.empty_graph(1)]),
    "two Petersen graphs": nx.disjoint_union(nx.petersen_graph(), nx.petersen_graph()),
}


def labelled(graph: PlainGraph) -> Labelling:
    return canonical_labelling(graph.edge_index, len(graph.kind), graph.kind)


def matrix(edge_index: Array, order: Array, colour: Array | None = None) -> Array:
    """Edge colours (1 if there are none) with rows and columns in an order."""
    actual = np.zeros((len(order), len(order)), np.int64)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    actual[place[edge_index[0]], place[edge_index[1]]] = 1 if colour is None else colour
    return actual


def orbits(edge_index: Array, kind: Array) -> list[int]:
    """The first node of each orbit, by trying all permutations."""
    n, whole = len(kind), matrix(edge_index, np.arange(len(kind)))
    moves = [np.array(p, dtype=np.int64) for p in permutations(range(n))]
    fits = [p for p in moves if (whole[p][:, p] == whole).all() and (kind[p] == kind).all()]
    return [min(int(p[v]) for p in fits) for v in range(n)]


@pytest.mark.parametrize("name", DISCONNECTED)
def test_components_are_exchanged(name: str) -> None:
    """Equal ones in any order give one labelled graph, and their nodes one orbit."""
    rng, graph = np.random.default_rng(0), plain(DISCONNECTED[name])
    actual = labelled(graph)
    wanted = matrix(graph.edge_index, actual.order)
    assert sorted(actual.order) == list(range(len(graph.kind)))
    for _ in range(5):
        copy = graph.relabelled(rng)
        other = labelled(copy)
        assert other.certificate == actual.certificate
        np.testing.assert_array_equal(matrix(copy.edge_index, other.order), wanted)
        assert len(set(other.orbit.tolist())) == len(set(actual.orbit.tolist()))


def test_orbits_of_equal_components() -> None:
    actual = labelled(plain(DISCONNECTED["three equal paths"]))
    assert actual.orbit.tolist() == [0, 1, 1, 0] * 3
    assert set(labelled(plain(DISCONNECTED["two Petersen graphs"])).orbit.tolist()) == {0}


def test_the_same_parts_in_other_components() -> None:
    """Certificates of parts are joined in an order of their own, and do not run together."""
    pairs = (
        (nx.disjoint_union(RING, PATH), nx.disjoint_union(PATH, RING), True),
        (RING, nx.disjoint_union(TRIANGLE, TRIANGLE), False),
        (nx.empty_graph(3), nx.empty_graph(4), False),
        (nx.disjoint_union(nx.path_graph(2), nx.path_graph(3)), nx.path_graph(5), False),
    )
    for one, two, equal in pairs:
        assert (labelled(plain(one)).certificate == labelled(plain(two)).certificate) is equal


def test_kinds_keep_components_apart() -> None:
    """Two triangles of which one has another kind of node do not exchange."""
    graph = PlainGraph(plain(DISCONNECTED["equal triangles"]).edge_index, np.array([0] * 5 + [1]))
    assert labelled(graph).orbit.tolist() == [0, 0, 0, 3, 3, 5]


def test_orbits_equal_brute_force() -> None:
    graphs = [g for g in nx.graph_atlas_g() if 2 <= len(g) <= 5]
    for graph in graphs:
        known = plain(graph)
        kinds = (known.kind, np.arange(len(known.kind)) % 2)
        for kind in kinds:
            actual = canonical_labelling(known.edge_index, len(kind), kind)
            assert actual.orbit.tolist() == orbits(known.edge_index, kind), graph.edges


def test_certificates_decide_isomorphism() -> None:
    """All 156 graphs of six nodes differ, and a copy of each does not."""
    rng, graphs = np.random.default_rng(1), [g for g in nx.graph_atlas_g() if len(g) == 6]
    first = [labelled(plain(g)).certificate for g in graphs]
    assert len(set(first)) == len(graphs) == 156
    assert first == [labelled(plain(g).relabelled(rng)).certificate for g in graphs]


def test_directed_edges_with_colours() -> None:
    rng = np.random.default_rng(2)
    graphs = [(rng.integers(0, 4, (2, 6)), rng.integers(0, 2, 6)) for _ in range(60)]
    actual = [canonical_labelling(e, 4, None, c).certificate for e, c in graphs]
    built = [nx.MultiDiGraph() for _ in graphs]
    for graph, (ends, colour) in zip(built, graphs, strict=True):
        graph.add_nodes_from(range(4))
        graph.add_edges_from([(*e, {"c": int(k)}) for e, k in zip(ends.T, colour, strict=True)])
    match = nx.algorithms.isomorphism.categorical_multiedge_match("c", 0)
    for (i, one), (j, two) in combinations(enumerate(built), 2):
        assert nx.is_isomorphic(one, two, edge_match=match) is (actual[i] == actual[j])


def test_regular_graphs_that_refinement_leaves_whole() -> None:
    """One colour for all nodes: only the search tells these apart."""
    circulants = [nx.circulant_graph(16, [1, k]) for k in (2, 3, 4, 5, 6)]
    actual = [labelled(plain(g)).certificate for g in circulants]
    for (i, one), (j, two) in combinations(enumerate(circulants), 2):
        assert nx.is_isomorphic(one, two) is (actual[i] == actual[j])


def test_empty_graph_and_limit() -> None:
    assert len(canonical_labelling(np.zeros((2, 0), np.int64), 0).order) == 0
    with pytest.raises(ValueError, match="a graph with 10 nodes takes too long: raise `limit`"):
        canonical_labelling(plain(nx.petersen_graph()).edge_index, 10, limit=2)


@pytest.mark.slow
@needs_mirror
@pytest.mark.parametrize(("name", "step"), [("EXP", 3), ("graph8c", 1)])
def test_relabelled_copies_of_published_graphs(name, step) -> None:
    """benchmarks/accuracy/separation.py does all of them, and compares the labelled graphs."""
    rng, pairs = np.random.default_rng(0), graph_pairs(name)
    for graph in pairs.graphs[::step]:
        copy = graph.relabelled(rng)
        assert labelled(graph).certificate == labelled(copy).certificate
    for i, j in pairs.pairs[:: 2 * step]:
        assert labelled(pairs.graphs[i]).certificate != labelled(pairs.graphs[j]).certificate
