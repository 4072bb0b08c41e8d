"""The mixture of random graphs of the PNA multitask benchmark.

Source: Corso, Cavalleri, Beaini, Lio, Velickovic, "Principal neighbourhood aggregation for graph
nets" (NeurIPS 2020, arXiv 2004.05718), section 4 and its published generator.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import networkx as nx
import numpy as np

KEPT = 0.9


def random_adjacency(n: int, rng: np.random.Generator) -> np.ndarray:
    """[n, n] adjacency of a graph from the mixture, edges toggled, no node without neighbours.

    A graph that leaves a node alone is drawn again, of the same kind. Nodes are in random order.

    Args:
        n: nodes, at least 2.
        rng: the only source of randomness.

    Raises:
        ValueError: for fewer than two nodes.

    Example:
        >>> a = random_adjacency(15, np.random.default_rng(0))
        >>> a.shape, bool((a == a.T).all()), bool(a.any(1).all()), bool(a.diagonal().any())
        ((15, 15), True, True, False)
    """
    if n < 2:
        raise ValueError(f"A graph of the mixture needs at least two nodes, got n = {n}.")
    kind = rng.choice(list(MIXTURE), p=list(MIXTURE.values()))
    while True:
        graph = KINDS[kind](n, rng)
        adjacency = toggled(nx.to_numpy_array(graph) > 0, rng)
        if adjacency.any(1).all():
            order = rng.permutation(n)
            return adjacency[order][:, order]


def toggled(adjacency: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Some edges removed and about as many added, for graphs in which no two are alike.

    An edge stays if u < 0.9, a pair becomes one if u < 0.1 edges / pairs (for graphs with more
    edges than other pairs the other way round), where u is the mean of two uniform numbers: so
    draws the published generator, and 98 % of the edges stay.
    """
    n = len(adjacency)
    edges = adjacency.sum() / 2
    others = n * (n - 1) / 2 - edges
    kept, added = KEPT, (1 - KEPT) * edges / max(others, 1)
    if edges > others:
        kept, added = KEPT + (1 - KEPT) * (edges - others) / edges, 1 - KEPT
    u = rng.uniform(size=(n, n))
    u = (u + u.T) / 2
    new = np.where(adjacency, u < kept, u < added)
    np.fill_diagonal(new, False)
    return new


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**32))


def _erdos_renyi(n: int, rng: np.random.Generator) -> nx.Graph:
    return nx.fast_gnp_random_graph(n, rng.uniform(), seed=_seed(rng))


def _barabasi_albert(n: int, rng: np.random.Generator) -> nx.Graph:
    return nx.barabasi_albert_graph(n, int(rng.integers(1, n)), seed=_seed(rng))


def _sides(n: int) -> tuple[int, int]:
    """The two factors of n that are closest to each other."""
    short = max(k for k in range(1, math.isqrt(n) + 1) if n % k == 0)
    return short, n // short


def _tree(n: int, rng: np.random.Generator) -> nx.Graph:
    while True:
        try:  # few draws at a time, because it makes all of them beforehand
            return nx.random_powerlaw_tree(n, seed=_seed(rng), tries=500)
        except nx.NetworkXError:
            continue


def _ladder(n: int, rng: np.random.Generator) -> nx.Graph:
    graph = nx.ladder_graph(n // 2)
    if n % 2:
        graph.add_edge(0, n - 1)
    return graph


def _caterpillar(n: int, rng: np.random.Generator) -> nx.Graph:
    spine = int(rng.integers(1, n))
    return _hung(spine, rng.integers(0, spine, n - spine))


def _lobster(n: int, rng: np.random.Generator) -> nx.Graph:
    spine = int(rng.integers(1, n))
    arms = int(rng.integers(spine + 1, n + 1))
    inner = rng.integers(0, spine, arms - spine)
    return _hung(spine, np.concatenate([inner, rng.integers(spine, arms, n - arms)]))


def _hung(spine: int, parents: np.ndarray) -> nx.Graph:
    """A path, to which further nodes are hung one by one."""
    graph = nx.path_graph(spine)
    graph.add_edges_from(enumerate(parents.tolist(), start=spine))
    return graph


MIXTURE = {
    "erdos_renyi": 0.2,
    "barabasi_albert": 0.2,
    "grid": 0.05,
    "caveman": 0.05,
    "tree": 0.15,
    "ladder": 0.05,
    "line": 0.05,
    "star": 0.05,
    "caterpillar": 0.1,
    "lobster": 0.1,
}
KINDS: dict[str, Callable[[int, np.random.Generator], nx.Graph]] = {
    "erdos_renyi": _erdos_renyi,
    "barabasi_albert": _barabasi_albert,
    "grid": lambda n, _: nx.grid_2d_graph(*_sides(n)),
    "caveman": lambda n, _: nx.caveman_graph(*_sides(n)),
    "tree": _tree,
    "ladder": _ladder,
    "line": lambda n, _: nx.path_graph(n),
    "star": lambda n, _: nx.star_graph(n - 1),
    "caterpillar": _caterpillar,
    "lobster": _lobster,
}
