"""Targets of the PNA multitask benchmark: three for each node, three for the graph.

Source: Corso et al. (NeurIPS 2020, arXiv 2004.05718), section 4, with the conventions of the
published generator where a graph is not connected.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse.csgraph import shortest_path

NODE_TASKS = ("shortest path", "eccentricity", "Laplacian features")
GRAPH_TASKS = ("connected", "diameter", "spectral radius")


def node_labels(adjacency: np.ndarray, source: int, values: np.ndarray) -> np.ndarray:
    """[n, 3]: steps from the source, eccentricity, and the Laplacian D - A applied to `values`.

    Nodes out of reach are at distance 0 from the source, and do not count in eccentricities.

    Args:
        adjacency: [n, n] boolean, symmetric, without loops.
        source: a node.
        values: [n].

    Example:
        >>> path = np.eye(3, k=1, dtype=bool) | np.eye(3, k=-1, dtype=bool)
        >>> node_labels(path, 0, np.array([1.0, 0.0, 0.0])).T.tolist()
        [[0.0, 1.0, 2.0], [2.0, 1.0, 2.0], [1.0, -1.0, 0.0]]
    """
    steps = _distances(adjacency)
    laplacian = np.diag(adjacency.sum(0)) - adjacency
    return np.stack([steps[source], steps.max(0), laplacian @ values], axis=1)


def graph_labels(adjacency: np.ndarray) -> np.ndarray:
    """[3]: whether the graph is connected, its diameter, and its spectral radius.

    The diameter is the largest finite distance. The published generator tests connectedness by
    powers of two of the adjacency matrix, for which bipartite graphs are not connected: so here.

    Args:
        adjacency: [n, n] boolean, symmetric, without loops.

    Example:
        >>> triangle = ~np.eye(3, dtype=bool)
        >>> [round(float(x), 6) for x in graph_labels(triangle)]
        [1.0, 1.0, 2.0]
    """
    steps = _distances(adjacency)
    joined = (steps > 0).sum() == adjacency.size - len(adjacency)
    odd = steps[0] % 2
    bipartite = not (adjacency & (odd[:, None] == odd)).any()
    radius = np.abs(np.linalg.eigvalsh(adjacency.astype(float))).max()
    return np.array([joined and not bipartite, steps.max(), radius], dtype=float)


def _distances(adjacency: np.ndarray) -> np.ndarray:
    """[n, n] steps between nodes; 0 if there is no way."""
    # Floyd and Warshall's method, its choice for small graphs, fails on transposed arrays
    steps = shortest_path(adjacency.astype(float, order="C"), method="D", unweighted=True)
    return np.where(np.isinf(steps), 0, steps)
