"""Copies of pairs are relabelled, all different, and functions of the pair's number."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
import torch

from geqlib.data.graphs.expressivity import GraphPairs, PlainGraph, graph_pairs, plain
from geqlib.data.graphs.relabelled_pairs import different_copies, relabelled_pair

RING = nx.cycle_graph(7)
RINGS = nx.disjoint_union(nx.cycle_graph(3), nx.cycle_graph(4))
PAIRS = GraphPairs(tuple(map(plain, (RING, RINGS, nx.path_graph(7)))), ((0, 1), (2, 0)), {"all": 2})


def adjacency(data) -> bytes:
    n = data.num_nodes
    return torch.zeros(n, n).index_put(tuple(data.edge_index), torch.ones(())).numpy().tobytes()


def graph_of(data) -> nx.Graph:
    graph = nx.Graph(data.edge_index.T.tolist())
    graph.add_nodes_from(range(data.num_nodes))
    return graph


def test_copies_are_different_and_isomorphic() -> None:
    graphs, block = relabelled_pair(PAIRS, 0)
    assert len(graphs) == len(block) == 64
    for copies, original in ((graphs[0::2], RING), (graphs[1::2], RINGS)):
        assert len({adjacency(data) for data in copies}) == 32
        assert nx.utils.graphs_equal(graph_of(copies[0]), original)
        assert all(nx.is_isomorphic(graph_of(data), original) for data in copies)
    assert len({adjacency(data) for data in block}) == 64
    assert sum(nx.is_isomorphic(graph_of(block[0]), g) for g in (RING, RINGS)) == 1
    assert all(nx.is_isomorphic(graph_of(block[0]), graph_of(data)) for data in block)


def test_copies_depend_on_the_number_of_the_pair_alone() -> None:
    first, again, other = (relabelled_pair(PAIRS, number)[0] for number in (0, 0, 1))
    assert list(map(adjacency, first)) == list(map(adjacency, again))
    assert list(map(adjacency, first[0::2])) != list(map(adjacency, other[1::2]))


def test_blocks_are_of_either_graph() -> None:
    pairs = GraphPairs(PAIRS.graphs, ((0, 1),) * 8, {"all": 8})
    sides = [nx.is_connected(graph_of(relabelled_pair(pairs, k)[1][0])) for k in range(8)]
    assert len(set(sides)) == 2


def test_kinds_of_nodes_are_one_hot() -> None:
    path = plain(nx.path_graph(6))
    coloured = PlainGraph(path.edge_index, np.array([0, 2, 0, 0, 1, 1]))
    graphs, _ = relabelled_pair(GraphPairs((path, coloured), ((0, 1),), {"all": 1}), 0)
    assert graphs[0].x.tolist() == [[1, 0, 0]] * 6
    assert all(data.x.sum(0).tolist() == [3, 2, 1] for data in graphs[1::2])


def test_too_symmetric_a_graph() -> None:
    with pytest.raises(ValueError, match="4 nodes has 3 different relabellings, and 32 are needed"):
        different_copies(plain(nx.cycle_graph(4)), 32, np.random.default_rng(0))
    with pytest.raises(ValueError, match="no pair 45: the set has 45 pairs, numbered from 0"):
        relabelled_pair(graph_pairs("CSL"), 45)
