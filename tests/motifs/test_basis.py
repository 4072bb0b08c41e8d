"""Patterns, the sums that motifs are made of, and the dimension of the WL test that sees them."""

from __future__ import annotations

from itertools import combinations, permutations
from time import process_time
from typing import Any

import networkx as nx
import numpy as np
import pytest

from geqlib.motifs.basis import hom_basis, treewidth, wl_dimension
from geqlib.motifs.graphs import simple_graphs
from geqlib.motifs.homomorphisms import Counter
from geqlib.motifs.patterns import Pattern, as_pattern, automorphisms, ordered_form
from geqlib.motifs.polynomials import missing_polynomials, pair_polynomials, polynomials, shrinks
from tests.motifs.brute_force import edges_of, homomorphisms

# (size of the spasm, WL dimension)
TABLE = {
    "C3": (1, 2), "C4": (3, 2), "C5": (3, 2), "C6": (10, 2), "C7": (12, 2), "C8": (35, 3),
    "P3": (2, 1), "P4": (4, 2), "P5": (8, 2), "P6": (15, 2), "P7": (30, 2), "K4": (1, 3),
    "star3": (3, 1), "diamond": (2, 2), "paw": (2, 2),
}  # fmt: skip
ATLAS = [nx.convert_node_labels_to_integers(g) for g in nx.graph_atlas_g()[1:]]


@pytest.mark.parametrize("name", TABLE)
def test_spasm_and_dimension(name: str) -> None:
    pattern = as_pattern(name)
    assert (len(hom_basis(pattern)), wl_dimension(pattern)) == TABLE[name]


@pytest.mark.parametrize("name", ["P3", "C4", "paw", "star3", "C5"])
def test_induced_patterns_need_one_less_than_their_nodes(name: str) -> None:
    """The complete graph is always among the patterns."""
    pattern = as_pattern(name)
    basis = hom_basis(pattern, "induced")
    assert max(map(treewidth, basis)) == pattern.nodes - 1 == wl_dimension(pattern, "induced")


def test_tree_width_equals_elimination_of_all_orders() -> None:
    def width(graph: nx.Graph, order: tuple[int, ...]) -> int:
        graph, largest = graph.copy(), 0
        for node in order:
            around = list(graph[node])
            largest = max(largest, len(around))
            graph.add_edges_from((a, b) for a in around for b in around if a != b)
            graph.remove_node(node)
        return largest

    for graph in [g for g in ATLAS if len(g) == 5][::2] + [g for g in ATLAS if len(g) == 6][::30]:
        expected = min(width(graph, order) for order in permutations(graph))
        assert treewidth(as_pattern(graph)) == expected, graph.edges


def test_canonical_forms_are_isomorphism_classes() -> None:
    graphs = [g for g in ATLAS if len(g) == 6]
    assert len({ordered_form(as_pattern(g)) for g in graphs}) == len(graphs) == 156
    for graph in graphs[::5]:
        pattern = as_pattern(graph)
        for order in list(permutations(range(6)))[::77]:
            moved = Pattern(6, tuple((order[i], order[j]) for i, j in pattern.edges))
            assert ordered_form(moved) == ordered_form(pattern)


def test_automorphisms_equal_enumeration() -> None:
    for graph in [g for g in ATLAS if len(g) == 5]:
        pattern = as_pattern(graph)
        assert automorphisms(pattern) == homomorphisms(pattern, graph, injective=True)[()]


def test_polynomials_that_ppgn_misses() -> None:
    assert [len(missing_polynomials(degree)) for degree in range(1, 7)] == [0, 0, 0, 0, 1, 11]
    (q5,) = missing_polynomials(5)
    assert nx.is_isomorphic(nx.Graph(q5.edges), nx.Graph(as_pattern("diamond").edges))
    assert tuple(sorted(q5.roots)) not in q5.edges
    roots = [len(p.roots) for p in missing_polynomials(6)]
    assert [roots.count(k) for k in (0, 1, 2)] == [1, 1, 9]
    assert len({ordered_form(p) for p in polynomials(6)}) == len(polynomials(6))


def test_patterns_that_shrink_have_tree_width_two() -> None:
    """With the roots joined, PPGN reaches exactly the patterns of tree-width at most 2."""
    for degree in range(1, 6):
        for pattern in polynomials(degree):
            assert shrinks(pattern) == (treewidth(pattern) <= 2), pattern


def test_polynomials_at_pairs() -> None:
    graph = nx.gnp_random_graph(6, 0.8, seed=0)
    graphs = simple_graphs(edges_of(graph), 6)
    row, column = (part.reshape(-1) for part in _grid(6))
    values = pair_polynomials(graphs, 6, row, column)
    for k, pattern in enumerate((*missing_polynomials(5), *missing_polynomials(6))):
        counts = homomorphisms(pattern, graph)
        for i, j, value in zip(row.tolist(), column.tolist(), values[:, k].tolist(), strict=True):
            key = ((), (i,), (i, j))[len(pattern.roots)]
            alone = len(pattern.roots) == 1 and i != j
            assert value == (0 if alone else counts.get(key, 0)), pattern


def _grid(n: int) -> Any:
    import torch

    return torch.meshgrid(torch.arange(n), torch.arange(n), indexing="ij")


ERRORS = {
    "C2": "C2 is no simple graph",
    "C1000000000": "1 to 8 nodes, and this one has 1000000000",
    "K0": "K0 is no simple graph: the smallest is K1",
    "C9": "1 to 8 nodes, and this one has 9",
    "ring": "'ring' is no pattern: write C5",
    "0-0": "node 0 has a loop",
    "0-1,1-0": "an edge occurs twice",
    "0-1,4-5": "no edge has node 2: number the nodes of a pattern from 0",
    "1-2,2-3": "no edge has node 0",
}


@pytest.mark.parametrize("text", ERRORS)
def test_text_that_is_no_pattern(text: str) -> None:
    with pytest.raises(ValueError, match=ERRORS[text]):
        as_pattern(text)


@pytest.mark.parametrize("graph", [nx.DiGraph([(0, 1)]), nx.MultiGraph([(0, 1)])])
def test_graphs_that_are_no_patterns(graph: Any) -> None:
    with pytest.raises(ValueError, match="undirected simple graph"):
        as_pattern(graph)
    with pytest.raises(ValueError, match="has a loop"):
        as_pattern(nx.Graph([(0, 0)]))
    with pytest.raises(ValueError, match="at least one node, and this one has none: add a node"):
        as_pattern(nx.Graph())


@pytest.mark.parametrize("value", [5, None, [(0, 1)], 0.5])
def test_values_that_are_no_pattern(value: Any) -> None:
    with pytest.raises(ValueError, match="is no pattern: write C5"):
        as_pattern(value)


@pytest.mark.parametrize("edge", [(0, 1, 2), (0,), (0.0, 1.5)])
def test_edges_that_are_no_pairs(edge: Any) -> None:
    with pytest.raises(ValueError, match=r"The edge \(.*\) of a pattern is no pair of integers"):
        Pattern(3, (edge,))


def test_induced_sums_with_too_many_terms() -> None:
    """Refused before any is computed; fewer roots, or more edges, leave fewer."""
    path = as_pattern("P7")
    started = process_time()
    with pytest.raises(ValueError, match=r"7 nodes, 6 edges and 2 roots .* 32768 .* 16384 are"):
        hom_basis(path.rooted(0, 3), "induced")
    assert process_time() - started < 1
    # of all graphs on 4 nodes with one root, which is one of 11 up to isomorphism times 4 places
    assert len(hom_basis(as_pattern(nx.empty_graph(4)).rooted(0), "induced")) <= 44
    assert len(hom_basis(as_pattern("K7").rooted(0, 1), "induced")) == 1


def test_the_bound_on_induced_sums_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Classes of supergraphs of rooted and labelled patterns, level by level."""
    for pattern in (
        as_pattern(nx.empty_graph(4)),
        as_pattern("P4").rooted(0, 1),
        Pattern(4, ((0, 1),), (), (1, 1, 1, 2)),
        Pattern(5, (), (0,), ()),
    ):
        level, classes = {ordered_form(pattern)}, set()
        while level:
            classes |= level
            level = {
                ordered_form(Pattern(p.nodes, (*p.edges, pair), p.roots, p.labels))
                for p in level
                for pair in combinations(range(p.nodes), 2)
                if pair not in p.edges
            }
        monkeypatch.setattr("geqlib.motifs.basis.MOST_SUPERGRAPHS", len(classes) - 1)
        with pytest.raises(ValueError, match="graphs that contain it"):
            hom_basis(pattern, "induced")


def test_other_errors() -> None:
    with pytest.raises(ValueError, match="kind 'all' is unknown: choose hom, sub, induced"):
        hom_basis(as_pattern("C3"), "all")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at most 7 are supported"):
        hom_basis(as_pattern("C8"), "induced")
    with pytest.raises(ValueError, match="degree is 7"):
        polynomials(7)
    with pytest.raises(ValueError, match="not different nodes"):
        as_pattern("C3").rooted(0, 0)
    with pytest.raises(ValueError, match=r"a whole number of nodes, and not 2\.5"):
        Pattern(2.5, ())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="3 nodes and 1 labels: label all"):
        Pattern(3, (), labels=(1,))


def test_labels_that_are_no_integers() -> None:
    """Which would be equal to none of the graphs' own."""
    graph = nx.path_graph(2)
    nx.set_node_attributes(graph, {0: "C", 1: "N"}, "label")
    with pytest.raises(ValueError, match="the label 'C', and labels are integers"):
        as_pattern(graph)
    nx.set_node_attributes(graph, {0: 1.5, 1: 1}, "label")
    with pytest.raises(ValueError, match=r"the label 1\.5"):
        as_pattern(graph)


def test_labels_of_networkx() -> None:
    graph = nx.path_graph(3)
    nx.set_node_attributes(graph, {0: 5, 1: 6, 2: 5}, "label")
    assert as_pattern(graph).labels == (5, 6, 5)
    assert automorphisms(as_pattern(graph)) == 2
    counter = Counter(simple_graphs(edges_of(nx.path_graph(3)), 3))
    assert counter.of_graphs(as_pattern("P3")).item() == 6


def test_patterns_from_lists_are_keys() -> None:
    """And labels of numpy are integers."""
    pattern = Pattern(3, [[0, 1], [1, 2]], [0], list(np.arange(3)))  # type: ignore[arg-type]
    assert pattern == Pattern(3, ((0, 1), (1, 2)), (0,), (0, 1, 2))
    assert {pattern: 1} and type(pattern.labels[0]) is int


def test_digits_of_other_scripts_are_no_pattern() -> None:
    with pytest.raises(ValueError, match="is no pattern"):
        as_pattern("C\uff15")
