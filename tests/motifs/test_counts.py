"""Counts equal enumeration: of all maps, of all subsets, on the graphs of networkx's atlas."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from math import comb

import networkx as nx
import pytest
import torch
from torch import Tensor

from geqlib.motifs import tables
from geqlib.motifs.cliques import clique_counts
from geqlib.motifs.counts import count_motifs
from geqlib.motifs.graphs import simple_graphs
from geqlib.motifs.homomorphisms import Counter, count_homomorphisms
from geqlib.motifs.orbits import ORBIT_PAIRS, orbit_adjacencies
from geqlib.motifs.patterns import Pattern, as_pattern, automorphisms, rootings
from tests.motifs.brute_force import Counts, edges_of, homomorphisms, orbits

ATLAS = [nx.convert_node_labels_to_integers(g) for g in nx.graph_atlas_g()]
SMALL = [as_pattern(g) for g in ATLAS if 1 <= len(g) <= 4]
ROOTED = [q for p in SMALL for roots in (0, 1, 2) if roots <= p.nodes for q in rootings(p, roots)]
SAMPLE = [ATLAS[k] for k in (0, 1, 7, 18, 50, 120, 180, 700, 1100)]


def joined(graphs: Sequence[nx.Graph]) -> Counter:
    """A counter of all graphs as one batch."""
    sizes = [len(graph) for graph in graphs]
    starts = [0, *accumulate(sizes)]
    edges = [edges_of(graph) + start for graph, start in zip(graphs, starts, strict=False)]
    batch = torch.arange(len(graphs)).repeat_interleave(torch.tensor(sizes))
    return Counter(simple_graphs(torch.cat(edges, 1), sum(sizes), batch, len(graphs)))


def by_graph(counter: Counter, result: Tensor | tuple[Tensor, Tensor]) -> list[Counts]:
    """As enumeration gives it."""
    batch = counter.graphs.batch.tolist()
    first = [batch.index(graph) if graph in batch else 0 for graph in range(len(counter.size))]
    counts: list[Counts] = [{} for _ in first]
    if isinstance(result, tuple):
        for (i, j), value in zip(result[0].T.tolist(), result[1].tolist(), strict=True):
            counts[batch[i]][i - first[batch[i]], j - first[batch[i]]] = value
    elif len(result) == len(first) != len(batch):
        counts = [{(): value} for value in result.tolist()]
    else:
        for i, value in enumerate(result.tolist()):
            counts[batch[i]][(i - first[batch[i]],)] = value
    return [{key: value for key, value in one.items() if value} for one in counts]


@pytest.mark.parametrize("kind", ["hom", "sub", "induced"])
def test_a_batch_equals_enumeration(kind: str) -> None:
    counter = joined(SAMPLE)
    for pattern in ROOTED[::3]:
        got = by_graph(counter, count_motifs(counter, pattern, kind))  # type: ignore[arg-type]
        for graph, counts in zip(SAMPLE, got, strict=True):
            assert counts == _expected(pattern, graph, kind), (pattern, graph.edges)


def _expected(pattern: Pattern, graph: nx.Graph, kind: str) -> Counts:
    if pattern.nodes > len(graph) and kind != "hom":
        return {}
    maps = homomorphisms(pattern, graph, injective=kind != "hom", induced=kind == "induced")
    same = 1 if kind == "hom" else automorphisms(pattern)
    return {key: value // same for key, value in maps.items()}


@pytest.mark.slow
def test_rooted_patterns_of_five_nodes() -> None:
    graphs = [nx.gnp_random_graph(n, 0.55, seed=n) for n in (4, 5, 6)]
    counter = joined(graphs)
    for pattern in (as_pattern(g) for g in ATLAS if len(g) == 5):
        for roots in (0, 1, 2):
            for rooted in rootings(pattern, roots):
                got = by_graph(counter, count_motifs(counter, rooted, "hom"))
                assert got == [homomorphisms(rooted, graph) for graph in graphs], rooted


@pytest.mark.slow
def test_all_graphs_of_up_to_seven_nodes() -> None:
    """Around nodes and in pairs by enumeration, and cycles by networkx."""
    counter = joined(ATLAS)
    names = ("C3", "C4", "diamond", "paw", "K4")
    for name in names:
        for kind in ("sub", "induced"):
            for roots in (0, 1, 2):
                pattern = rootings(as_pattern(name), roots)[0]
                got = by_graph(counter, count_motifs(counter, pattern, kind))
                for graph, counts in zip(ATLAS[::7], got[::7], strict=True):
                    assert counts == _expected(pattern, graph, kind), (pattern, graph.edges)
    cycles = [list(map(len, nx.simple_cycles(graph))) for graph in ATLAS]
    for size in range(3, 8):
        got = count_motifs(counter, as_pattern(f"C{size}"))
        assert isinstance(got, Tensor)
        assert got.tolist() == [lengths.count(size) for lengths in cycles]


def test_cycles_of_networkx() -> None:
    graphs = [nx.petersen_graph(), nx.hypercube_graph(3), nx.complete_graph(5), nx.path_graph(9)]
    counter = joined(graphs)
    cycles = [list(map(len, nx.simple_cycles(graph))) for graph in graphs]
    for size in range(3, 9):
        got = count_motifs(counter, as_pattern(f"C{size}"))
        assert isinstance(got, Tensor)
        assert got.tolist() == [lengths.count(size) for lengths in cycles], size


def test_connected_counts_of_a_union_add_and_others_multiply() -> None:
    one, two = nx.gnp_random_graph(6, 0.6, seed=1), nx.gnp_random_graph(5, 0.7, seed=2)
    single, union = joined([one, two]), joined([nx.disjoint_union(one, two)])
    for pattern in (as_pattern("C4"), as_pattern("K4"), as_pattern("P5")):
        assert union.of_graphs(pattern).item() == single.of_graphs(pattern).sum().item()
    edge, both = as_pattern("K2"), Pattern(5, ((0, 1), (2, 3), (3, 4), (2, 4)))
    expected = single.of_graphs(edge) * single.of_graphs(as_pattern("K3"))
    assert torch.equal(single.of_graphs(both), expected)


def test_labels() -> None:
    """Homomorphisms of a labelled pattern are those that keep its labels."""
    graph, labels = nx.gnp_random_graph(7, 0.6, seed=3), torch.tensor([0, 1, 0, 2, 1, 1, 0])
    edges = edges_of(graph)
    pattern = Pattern(4, ((0, 1), (1, 2), (2, 3), (0, 2)), (1,), (0, 1, 1, 0))
    expected = [0] * 7
    for image, value in homomorphisms(Pattern(4, pattern.edges, (0, 1, 2, 3)), graph).items():
        if [int(labels[node]) for node in image] == list(pattern.labels):
            expected[image[1]] += value
    got = count_homomorphisms(pattern, edges, 7, labels=labels)
    assert isinstance(got, Tensor) and got.tolist() == expected and sum(expected)
    with pytest.raises(ValueError, match="graphs have none: name the tensor"):
        count_homomorphisms(pattern, edges, 7)


def test_labelled_subgraphs_merge_equal_labels_only() -> None:
    labels = torch.tensor([9, 1, 1, 2, 2])
    counter = Counter(simple_graphs(edges_of(nx.star_graph(4)), 5, labels=labels))
    for ends, expected in (((1, 1), 1), ((1, 2), 4)):
        got = count_motifs(counter, Pattern(3, ((0, 1), (1, 2)), labels=(ends[0], 9, ends[1])))
        assert isinstance(got, Tensor) and got.item() == expected


def test_rows_are_joined_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    patterns = [as_pattern(name) for name in ("K4", "C6", "diamond")]
    graph = nx.gnp_random_graph(7, 0.6, seed=0)
    whole = [joined([graph]).table(pattern.rooted(0, 1)).value for pattern in patterns]
    monkeypatch.setattr(tables, "ROWS_AT_ONCE", 7)
    for pattern, expected in zip(patterns, whole, strict=True):
        assert torch.equal(joined([graph]).table(pattern.rooted(0, 1)).value, expected)


@pytest.mark.parametrize("size", [6, 8])
def test_cliques_of_large_graphs(size: int) -> None:
    """A row of so many nodes out of 2000 is no integer of 64 bits."""
    graph = nx.path_graph(2000)
    graph.add_edges_from(nx.complete_graph(9).edges)
    got = count_motifs(joined([graph]), as_pattern(f"K{size}"))
    assert isinstance(got, Tensor) and got.item() == comb(9, size)


@pytest.mark.parametrize("size", [3, 5])
def test_the_cost_of_cliques_is_named(size: int) -> None:
    graph = nx.complete_graph(40)
    counter = Counter(joined([graph]).graphs, most_steps=2e3)
    with pytest.raises(ValueError, match=r"graphs of 3 nodes .* 2\.0e\+03 are allowed: count"):
        counter.of_graphs(as_pattern(f"K{size}"))
    star = Counter(joined([nx.star_graph(3000)]).graphs, most_steps=1e4)
    assert star.of_graphs(as_pattern(f"K{size}")).tolist() == [0]


@pytest.mark.parametrize("motif", ["diamond", "Q5", "K4"])
def test_no_list_is_longer_than_that_of_wedges(motif: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A star has 100^3 triples of leaves, and none of them is in a diamond."""
    edges = {"diamond": "0-2,0-3,1-2,1-3,2-3", "Q5": "0-2,0-3,1-2,1-3,2-3,0-1", "K4": "K4"}
    joins, ranges = [], tables.ragged_ranges
    monkeypatch.setattr(
        tables, "ragged_ranges", lambda low, n, total: joins.append(total) or ranges(low, n, total)
    )
    counter = joined([nx.star_graph(100)])
    assert not len(counter.table(as_pattern(edges[motif]).rooted(0, 1)))
    assert 0 < max(joins) <= 100 * 100 + 100


def test_rows_in_memory_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """All pairs of leaves of a star, whose roots are connected."""
    monkeypatch.setattr(tables, "ROWS_AT_ONCE", 100)
    monkeypatch.setattr(tables, "MOST_ROWS", 500)
    counter, pattern = joined([nx.star_graph(30)]), as_pattern("P3").rooted(0, 2)
    with pytest.raises(ValueError, match=r"more than 5e\+02 rows of 2 nodes in memory"):
        counter.of_pairs(pattern)
    assert joined([nx.star_graph(15)]).of_pairs(pattern)[0].shape == (2, 15 * 15 + 1)


def test_cliques_are_binomials() -> None:
    counts = clique_counts(edges_of(nx.complete_graph(7)), 7, 7)
    assert [int(c.sum()) for c in counts] == [comb(7, size) for size in range(2, 8)]


@pytest.mark.parametrize("seed", range(4))
def test_orbit_adjacencies_equal_enumeration(seed: int) -> None:
    nodes, density = ((8, 0.4), (7, 0.7), (9, 0.55), (6, 1.0))[seed]
    graph = nx.gnp_random_graph(nodes, density, seed=seed)
    pairs, counts = orbit_adjacencies(simple_graphs(edges_of(graph), nodes))
    got = {
        (u, v, *place): counts[row, k].item()
        for row, (u, v) in enumerate(pairs.T.tolist())
        for k, place in enumerate(ORBIT_PAIRS)
        if counts[row, k]
    }
    assert got == orbits(graph)


@pytest.mark.slow
def test_orbit_adjacencies_of_the_atlas() -> None:
    for graph in ATLAS[1::3]:
        pairs, counts = orbit_adjacencies(simple_graphs(edges_of(graph), len(graph)))
        got = {
            (u, v, *place): counts[row, k].item()
            for row, (u, v) in enumerate(pairs.T.tolist())
            for k, place in enumerate(ORBIT_PAIRS)
            if counts[row, k]
        }
        assert got == orbits(graph)


def test_empty_graphs() -> None:
    counter = joined([nx.empty_graph(0), nx.empty_graph(3), nx.empty_graph(1)])
    assert counter.of_graphs(as_pattern("K1")).tolist() == [0, 3, 1]
    assert counter.of_graphs(as_pattern("C4")).tolist() == [0, 0, 0]
    assert counter.of_nodes(as_pattern("P3").rooted(1)).tolist() == [0, 0, 0, 0]
    assert counter.of_pairs(as_pattern("P3").rooted(0, 2))[0].shape == (2, 0)
    assert orbit_adjacencies(counter.graphs).counts.shape == (0, 28)
    nothing = simple_graphs(torch.zeros(2, 0).long(), 0, torch.zeros(0).long(), 0)
    assert Counter(nothing).of_graphs(as_pattern("C5")).shape == (0,)
    assert orbit_adjacencies(nothing).pair_index.shape == (2, 0)


EDGES = edges_of(nx.complete_graph(3))


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        (torch.tensor([[0, 1, 1], [1, 0, 1]]), "Node 1 has a loop"),
        (torch.tensor([[0, 1, 0], [1, 0, 1]]), "The edge 0 -> 1 occurs twice"),
        (torch.tensor([[0, 1, 2], [1, 0, 1]]), "The edge 2 -> 1 has no edge back"),
        (torch.tensor([[0, 5], [5, 0]]), "edge 0 is 0 -> 5"),
    ],
)
def test_graphs_that_are_not_simple(edges: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        simple_graphs(edges, 3)


def test_counts_that_are_not_exact_are_refused() -> None:
    counter = Counter(simple_graphs(edges_of(nx.star_graph(5000)), 5001))
    assert counter.of_graphs(as_pattern("star4")).item() == 5000**4 + 5000
    with pytest.raises(ValueError, match="2\\^53 or more"):
        counter.of_graphs(as_pattern("star5"))


def test_the_cost_is_named_before_the_count_begins() -> None:
    counter = Counter(simple_graphs(edges_of(nx.complete_graph(30)), 30), most_steps=1e6)
    with pytest.raises(ValueError, match=r"up to 2\.2e\+07 steps .* 1\.0e\+06 are allowed"):
        counter.of_nodes(as_pattern("K5").rooted(0))
    assert list(counter.tables) == list(Counter(counter.graphs).tables)


def test_no_part_of_a_sum_is_counted_if_another_costs_too_much(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of the patterns of an octagon some are cheap; its copies may not be listed instead."""
    monkeypatch.setattr("geqlib.motifs.counts._path_pairs", lambda *_: None)
    counter = Counter(simple_graphs(edges_of(nx.complete_graph(30)), 30), most_steps=5e4)
    with pytest.raises(ValueError, match=r"may need up to .* and 5\.0e\+04 are allowed"):
        count_motifs(counter, as_pattern("C8"))
    assert list(counter.tables) == list(Counter(counter.graphs).tables) and not counter.totals


def test_edges_between_graphs_of_a_batch() -> None:
    """Which would be counted in one of the two."""
    with pytest.raises(ValueError, match="The edge 0 -> 1 joins two graphs of the batch"):
        simple_graphs(EDGES, 3, torch.tensor([0, 1, 1]), 2)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ([0, 0], r"batch has shape \(2,\): expected \[3\]"),
        ([1, 1, 1], "names graph 1, but there are 1"),
        ([0, 0, -1], "names graph -1"),
    ],
)
def test_batches_that_do_not_fit(batch: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        simple_graphs(EDGES, 3, torch.tensor(batch), 1)


@pytest.mark.slow
def test_pairs_that_are_not_connected_are_bounded() -> None:
    """All pairs of nodes of a large graph would fill the memory, though each part is cheap."""
    pattern = as_pattern("0-1,2-3").rooted(0, 2)
    counter = Counter(simple_graphs(edges_of(nx.cycle_graph(12_000)), 12_000))
    with pytest.raises(ValueError, match=r"for each of 1\.4e\+08 pairs .* 1\.0e\+08 are allowed"):
        counter.of_pairs(pattern)
    pairs, value = Counter(simple_graphs(EDGES, 3)).of_pairs(pattern)
    assert pairs.shape == (2, 9) and (value == 4).all()


def test_numbers_of_roots() -> None:
    counter = Counter(simple_graphs(EDGES, 3))
    with pytest.raises(ValueError, match="0, 1 or 2 roots"):
        count_motifs(counter, as_pattern("K3").rooted(0, 1, 2))
    with pytest.raises(ValueError, match="has no roots"):
        counter.of_graphs(as_pattern("K3").rooted(0))
