"""Lists of copies against sums of homomorphism counts, and against enumeration by networkx."""

from __future__ import annotations

from collections.abc import Iterator

import networkx as nx
import pytest
import torch
from torch import Tensor

from geqlib.motifs import copies, counts
from geqlib.motifs.copies import chain_order
from geqlib.motifs.copy_counts import count_copies
from geqlib.motifs.cores import core_edges
from geqlib.motifs.counts import count_motifs
from geqlib.motifs.graphs import simple_graphs
from geqlib.motifs.homomorphisms import Counter
from geqlib.motifs.patterns import Pattern, as_pattern, rootings
from tests.motifs.brute_force import edges_of

CHAINS = [f"{family}{size}" for family in "CP" for size in range(3, 9)]
BATCHES = {
    "sparse": [nx.gnm_random_graph(n, n + 2, seed=n) for n in (23, 1, 30, 12)],
    "dense": [nx.gnp_random_graph(n, 0.7, seed=n) for n in (9, 5, 2, 8)],
    "bipartite": [nx.complete_bipartite_graph(3, 5), nx.hypercube_graph(3)],
    "trees": [nx.star_graph(9), nx.path_graph(11), nx.balanced_tree(2, 3)],
    "empty": [nx.empty_graph(0), nx.empty_graph(3), nx.path_graph(2), nx.empty_graph(0)],
}


def joined(graphs: list[nx.Graph]) -> Counter:
    sizes = [len(graph) for graph in graphs]
    starts = [sum(sizes[:k]) for k in range(len(sizes))]
    edges = torch.cat([edges_of(g) + s for g, s in zip(graphs, starts, strict=True)], 1)
    batch = torch.repeat_interleave(torch.tensor(sizes))
    return Counter(simple_graphs(edges, sum(sizes), batch, len(graphs)))


def listed(counter: Counter, pattern: Pattern, kind: str = "sub") -> Tensor | tuple[Tensor, Tensor]:
    counter = counter.core(min(map(len, pattern.neighbours)))
    pairs = counter.path_lists(pattern.degree == pattern.nodes).pairs(pattern.nodes)
    assert pairs is not None
    return count_copies(pairs, pattern, counter.graphs, kind == "induced")


def planned(counter: Counter, pattern: Pattern, kind: str = "sub") -> Tensor | tuple:
    return counts._basis_sum(counter, pattern, kind)  # type: ignore[arg-type]


def assert_same(one: Tensor | tuple, two: Tensor | tuple) -> None:
    for a, b in zip(*((x,) if isinstance(x, Tensor) else x for x in (one, two)), strict=True):
        assert a.dtype == b.dtype == torch.long and torch.equal(a, b)


@pytest.mark.parametrize("batch", BATCHES)
def test_lists_equal_sums(batch: str) -> None:
    counter = joined(BATCHES[batch])
    for pattern in map(as_pattern, CHAINS):
        one, two = rootings(pattern, 1), rootings(pattern, 2)
        few = (pattern, *one, *two[:2]) if pattern.nodes < 6 else (one[-1],)
        for rooted in few:
            assert_same(listed(counter, rooted), planned(counter, rooted))


@pytest.mark.parametrize("batch", BATCHES)
def test_induced_copies(batch: str) -> None:
    counter = joined(BATCHES[batch])
    for pattern in map(as_pattern, ("C3", "C4", "C5", "P3", "P4", "P5")):
        for roots in (0, 1, 2):
            rooted = rootings(pattern, roots)[-1]
            assert_same(listed(counter, rooted, "induced"), planned(counter, rooted, "induced"))


def test_induced_cycles_of_eight_nodes() -> None:
    """Which sums are not supported for."""
    graphs = [nx.cycle_graph(8), nx.hypercube_graph(4), nx.gnm_random_graph(14, 17, seed=1)]
    expected = [sum(len(c) == 8 for c in nx.chordless_cycles(graph, 8)) for graph in graphs]
    got = count_motifs(joined(graphs), as_pattern("C8"), "induced")
    assert isinstance(got, Tensor) and got.tolist() == expected and sum(expected)


def test_any_order_of_the_nodes() -> None:
    counter = joined(BATCHES["sparse"])
    for text in ("0-3,3-1,1-4,4-2,2-0", "2-0,0-3,3-1", "3-1,1-0,0-2,2-4"):
        for rooted in rootings(as_pattern(text), 1) + rootings(as_pattern(text), 2):
            assert_same(listed(counter, rooted), planned(counter, rooted))


def test_patterns_that_are_no_chain() -> None:
    for text in ("K1", "K2", "star3", "paw", "K4", "0-1,1-2,2-0,3-4", "0-1,2-3"):
        assert chain_order(as_pattern(text)) == ()


@pytest.mark.parametrize("hub", [0, 7])
def test_nodes_of_large_degree_are_not_walked_through(hub: int) -> None:
    """A wheel has paths over its hub between all its nodes: cycles begin there."""
    size = 400
    wheel = nx.wheel_graph(size + 1)
    edges = (edges_of(wheel) + hub) % (size + 1)
    counter = Counter(simple_graphs(edges, size + 1))
    pairs = counter.path_lists(cyclic=True).pairs(8)
    assert pairs is not None and pairs.total < 100 * size
    for nodes in range(3, 9):
        got = count_motifs(counter, as_pattern(f"C{nodes}").rooted(0))
        assert isinstance(got, Tensor)
        assert got[hub].item() == size and got.sum().item() == nodes * size


def test_lists_that_are_too_long_are_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    counter = joined(BATCHES["dense"])
    pattern = as_pattern("C6").rooted(0)
    expected = listed(counter, pattern)

    def never(*arguments: object) -> None:
        raise AssertionError("copies are listed")

    monkeypatch.setattr(counts, "count_copies", never)
    with pytest.raises(AssertionError, match="copies are listed"):
        count_motifs(counter, pattern)
    with monkeypatch.context() as context:  # far more pairs of paths than rows of sums
        context.setattr(counts, "FEW_PAIRS", 0)
        context.setattr(counts, "ROWS_PER_PAIR", 1e6)
        assert_same(count_motifs(counter, pattern), expected)
    monkeypatch.setattr(copies, "MOST_PATHS", 10)
    assert_same(count_motifs(joined(BATCHES["dense"]), pattern), expected)


def test_copies_come_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    counter = joined(BATCHES["dense"])
    patterns = [rootings(as_pattern(name), roots)[0] for name in ("C7", "P6") for roots in range(3)]
    expected = [listed(counter, pattern) for pattern in patterns]
    monkeypatch.setattr(copies, "PAIRS_AT_ONCE", 20)
    for pattern, whole in zip(patterns, expected, strict=True):
        assert_same(listed(counter, pattern), whole)


def _cores() -> Iterator[tuple[nx.Graph, int]]:
    for seed in range(6):
        for degree in (2, 3, 4):
            yield nx.gnm_random_graph(30, 45, seed=seed), degree


def test_cores_equal_networkx() -> None:
    for graph, degree in _cores():
        core = nx.k_core(graph, degree)
        expected = sorted((i, j) for pair in core.edges for i, j in (pair, pair[::-1]))
        edges = edges_of(graph)
        edges = edges[:, (edges[0] * 30 + edges[1]).argsort()]
        assert core_edges(edges, 30, degree).T.tolist() == [list(pair) for pair in expected]


def test_counts_in_cores() -> None:
    """Of patterns whose copies lie there, against counts in the whole graphs."""
    counter = joined(BATCHES["sparse"] + BATCHES["dense"])
    assert counter.core(3).graphs.edge_index.size(1) < counter.graphs.edge_index.size(1)
    for name in ("K4", "diamond", "0-1,1-2,2-3,3-0,0-4,4-2", "0-1,1-2,2-0,2-3,3-4,4-2"):
        for kind in ("sub", "induced"):
            for roots in (0, 1, 2):
                rooted = rootings(as_pattern(name), roots)[-1]
                got = count_motifs(counter, rooted, kind)  # type: ignore[arg-type]
                assert_same(got, planned(counter, rooted, kind))


def test_long_paths_are_removed_in_part() -> None:
    """Enough for counts to be right, in a bounded number of rounds."""
    path = nx.path_graph(500)
    counter = Counter(simple_graphs(edges_of(path), 500))
    assert 0 < counter.core(2).graphs.edge_index.size(1) < counter.graphs.edge_index.size(1)
    got = count_motifs(counter, as_pattern("C4").rooted(0))
    assert isinstance(got, Tensor) and not got.any()
