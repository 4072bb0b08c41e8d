"""Ego nets are networkx's, and none is ever cut without being asked to."""

from __future__ import annotations

import re
from itertools import pairwise

import networkx as nx
import numpy as np
import pytest
import torch

from geqlib.spen import ego_nets as search
from geqlib.spen.ego_nets import Neighbourhood, ego_nets

STAR = np.array([[0] * 29, range(1, 30)])


def random_edges(rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """Directed, with loops and repeats, often in parts; sometimes without nodes or edges."""
    nodes = int(rng.integers(0, 12))
    edges = int(rng.integers(0, 2 * nodes + 1)) if nodes else 0
    return rng.integers(0, max(nodes, 1), (2, edges)), nodes


def nets(edges: np.ndarray, nodes: int, **options) -> list[list[int]]:
    ptr, node = ego_nets(torch.as_tensor(edges), nodes, Neighbourhood(**options))
    return [node[a:b].tolist() for a, b in pairwise(ptr)]


def expected(edges: np.ndarray, nodes: int, hops: int, direction: str) -> list[list[int]]:
    graph = nx.MultiDiGraph(edges.T.tolist())
    graph.add_nodes_from(range(nodes))
    graph = graph.reverse() if direction == "in" else graph
    both = direction == "both"
    return [sorted(nx.ego_graph(graph, i, hops, undirected=both)) for i in range(nodes)]


@pytest.mark.slow
def test_1000_random_graphs(monkeypatch) -> None:
    rng = np.random.default_rng(0)
    for k in range(1000):
        edges, nodes = random_edges(rng)
        hops, direction = int(rng.integers(0, 5)), ("out", "in", "both")[k % 3]
        monkeypatch.setattr(search, "MOST_WORK", 5 if k % 2 else 2**23)  # several blocks, or one
        assert nets(edges, nodes, hops=hops, direction=direction) == expected(
            edges, nodes, hops, direction
        )


def test_shrinking_takes_the_largest_number_of_hops_that_fits() -> None:
    rng = np.random.default_rng(1)
    for _ in range(100):
        edges, nodes = random_edges(rng)
        most = int(rng.integers(1, 6))
        rings = [expected(edges, nodes, hops, "out") for hops in range(4)]
        wanted = [max((r[i] for r in rings if len(r[i]) <= most), key=len) for i in range(nodes)]
        assert nets(edges, nodes, hops=3, max_size=most, oversize="shrink") == wanted


def test_samples_hold_the_centre_and_nothing_strange() -> None:
    options = {"hops": 2, "direction": "both", "max_size": 5, "oversize": "sample"}
    actual = nets(STAR, 30, **options)
    assert [len(set(net)) for net in actual] == [5] * 30
    assert all(i in net for i, net in enumerate(actual))
    assert actual == nets(STAR, 30, **options) != nets(STAR, 30, seed=1, **options)
    small = nets(STAR[:, :3], 4, **options)
    assert small == [[0, 1, 2, 3]] * 4  # what fits is left alone


def test_samples_are_uniform() -> None:
    options = {"max_size": 11, "oversize": "sample"}
    counts = np.zeros(30)
    for seed in range(300):
        counts[nets(STAR, 30, seed=seed, **options)[0]] += 1
    assert counts[0] == 300
    share = 300 * 10 / 29  # binomial; six standard deviations
    assert np.abs(counts[1:] - share).max() < 6 * np.sqrt(share * (1 - 10 / 29))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_size": 7}, "ego net of node 0 has 30 nodes, and at most 7 fit: take fewer hops"),
        ({"hops": -1}, "hops must not be negative, got -1"),
        ({"max_size": 0}, "max_size must be at least 1, got 0"),
        ({"direction": "up"}, "direction 'up' is unknown: choose out, in, both"),
        ({"oversize": "cut"}, "oversize 'cut' is unknown: choose raise, shrink, sample"),
    ],
    ids=str,
)
def test_errors_say_what_is_wrong_and_how_to_fix_it(options: dict, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        nets(STAR, 30, **options)


def test_hubs_that_cannot_fit(monkeypatch) -> None:
    monkeypatch.setattr(search, "MOST_PAIRS", 400)
    with pytest.raises(ValueError, match="node 0 has 30 nodes, and at most 20 fit"):
        nets(STAR, 30)
    with pytest.raises(ValueError, match=r"more than 4\.0e\+02 ordered pairs .* node 0 has 20"):
        nets(STAR[:, :19], 20, direction="both")
