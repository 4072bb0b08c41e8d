"""The partial order against walk counts of dense matrices, graph by graph."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
import torch
from torch import Tensor

from geqlib.pard.order import BlockOrder, partial_order

GRAPHS = [
    nx.star_graph(4), nx.empty_graph(0), nx.convert_node_labels_to_integers(nx.grid_2d_graph(3, 5)),
    nx.empty_graph(2), nx.gnp_random_graph(9, 0.4, seed=1), nx.barbell_graph(4, 2),
]  # fmt: skip


def batched(graphs: list[nx.Graph]) -> tuple[Tensor, Tensor]:
    """edge_index and batch."""
    whole = nx.disjoint_union_all(graphs)
    edges = torch.tensor(list(whole.to_directed().edges()), dtype=torch.long).view(-1, 2).T
    sizes = torch.tensor([len(graph) for graph in graphs])
    return edges, torch.arange(len(graphs)).repeat_interleave(sizes)


def slow_order(graph: nx.Graph, hops: int) -> tuple[list[int], list[int]]:
    """Block of each node, and degree of each block."""
    A = nx.to_numpy_array(graph, dtype=int)
    remaining, rounds = list(range(len(A))), []
    while remaining:
        inside = A[np.ix_(remaining, remaining)]
        weights, x = [() for _ in remaining], np.ones(len(remaining), int)
        for _ in range(hops):
            x = x + inside @ x
            weights = [(*weight, count) for weight, count in zip(weights, x.tolist(), strict=True)]
        taken = [i for i, w in zip(remaining, weights, strict=True) if w == min(weights)]
        degrees = {int(inside[remaining.index(i)].sum()) for i in taken}
        rounds.append((taken, degrees))
        remaining = [i for i in remaining if i not in taken]
    block = [0] * len(A)
    for number, (taken, degrees) in enumerate(reversed(rounds)):
        assert len(degrees) == 1 or hops == 0
        for i in taken:
            block[i] = number
    return block, [max(degrees) if hops else 0 for _, degrees in reversed(rounds)]


def order_of(graphs: list[nx.Graph], hops: int) -> BlockOrder:
    edges, batch = batched(graphs)
    return partial_order(edges, len(batch), batch, len(graphs), hops=hops)


@pytest.mark.parametrize("hops", [0, 1, 2, 3])
def test_equals_dense_counts(hops: int) -> None:
    order = order_of(GRAPHS, hops)
    slow = [slow_order(graph, hops) for graph in GRAPHS]
    assert order.block.tolist() == [b for block, _ in slow for b in block]
    assert order.degree.tolist() == [d for _, degree in slow for d in degree]
    graphs = [k for k, (_, degree) in enumerate(slow) for _ in degree]
    assert order.graph.tolist() == graphs
    sizes = [block.count(b) for block, degree in slow for b in range(len(degree))]
    assert order.size.tolist() == sizes


@pytest.mark.parametrize("hops", [1, 3])
def test_relabelling_moves_blocks_along(hops: int) -> None:
    for seed in range(5):
        graph = nx.gnp_random_graph(12, 0.3, seed=seed)
        name = np.random.default_rng(seed).permutation(12)
        other = nx.empty_graph(12)
        other.add_edges_from((name[i], name[j]) for i, j in graph.edges())
        one, two = (order_of([g], hops) for g in (graph, other))
        assert torch.equal(one.block, two.block[torch.from_numpy(name)])
        assert torch.equal(one.size, two.size) and torch.equal(one.degree, two.degree)


def test_the_core_of_a_lollipop_comes_first() -> None:
    order = order_of([nx.lollipop_graph(4, 2)], 1)
    # the two last nodes of the clique are what remains once the others are deleted
    assert order.block[4:].tolist() == [1, 2] and not order.block[:4].any()
    assert order.degree.tolist() == [3, 1, 1]


def test_more_hops_split_blocks() -> None:
    """The ends of a tree are one block by degrees, and two by walks of two steps."""
    tree = nx.Graph([(0, 1), (1, 2), (2, 3), (2, 4), (2, 5)])
    one, two = (order_of([tree], hops) for hops in (1, 2))
    assert one.block[0] == one.block[3] and two.block[0] != two.block[3]


ERRORS = {
    "hops": ([[0, 1], [1, 0]], -1, "hops must be at least 0"),
    "directed": ([[0], [1]], 1, "both directions of every edge"),
    "loop": ([[0], [0]], 1, "no loops"),
    "twice": ([[0, 0, 1, 1], [1, 1, 0, 0]], 1, "once each"),
    "outside": ([[0, 3], [3, 0]], 1, "outside 0 to 1"),
    "overflow": ([[0, 1], [1, 0]], 64, "do not fit 64 bits"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name: str) -> None:
    edges, hops, message = ERRORS[name]
    with pytest.raises(ValueError, match=message):
        partial_order(torch.tensor(edges), 2, hops=hops)
