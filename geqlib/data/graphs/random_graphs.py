"""Random graphs on which generative models of graphs are compared."""

from __future__ import annotations

import networkx as nx
import numpy as np
from scipy.spatial import Delaunay

PLANAR_NODES = 64
COMMUNITIES, COMMUNITY_NODES = (2, 5), (20, 40)
INSIDE, BETWEEN = 0.3, 0.005
SIDES = (3, 8)  # of a small grid, in nodes


def planar_graph(rng: np.random.Generator, nodes: int = PLANAR_NODES) -> nx.Graph:
    """The Delaunay triangulation of uniform points in the unit square (Martinkus et al., SPECTRE,
    ICML 2022).

    Raises:
        ValueError: fewer than three nodes.

    Example:
        >>> nx.is_planar(planar_graph(np.random.default_rng(0)))
        True
    """
    if nodes < 3:
        raise ValueError(f"A triangulation needs at least 3 nodes, got {nodes}.")
    graph = nx.empty_graph(nodes)
    for corners in Delaunay(rng.random((nodes, 2))).simplices.tolist():
        nx.add_cycle(graph, corners)
    return graph


def small_grid_graph(rng: np.random.Generator) -> nx.Graph:
    """A grid of two dimensions, of 3 to 8 nodes a side: what a processor can train on, where those
    of GDSS have up to 361 nodes.

    Example:
        >>> 9 <= len(small_grid_graph(np.random.default_rng(0))) <= 64
        True
    """
    sides = rng.integers(*SIDES, size=2, endpoint=True).tolist()
    return nx.convert_node_labels_to_integers(nx.grid_2d_graph(*sides))


def block_model_graph(rng: np.random.Generator) -> nx.Graph:
    """A stochastic block model: 2 to 5 communities of 20 to 40 nodes, edges within one with
    probability 0.3, between two with 0.005 (Martinkus et al., SPECTRE, ICML 2022).

    Example:
        >>> 40 <= len(block_model_graph(np.random.default_rng(0))) <= 200
        True
    """
    number = rng.integers(COMMUNITIES[0], COMMUNITIES[1], endpoint=True)
    sizes = rng.integers(COMMUNITY_NODES[0], COMMUNITY_NODES[1], size=number, endpoint=True)
    community = np.repeat(np.arange(number), sizes)
    alike = community[:, None] == community
    joined = np.triu(rng.random(alike.shape) < np.where(alike, INSIDE, BETWEEN), 1)
    graph = nx.empty_graph(len(community))
    graph.add_edges_from(zip(*(ends.tolist() for ends in joined.nonzero()), strict=True))
    return graph
