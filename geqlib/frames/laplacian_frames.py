"""Orders of nodes from eigenspaces of the graph Laplacian.

Source: Puny et al., "Frame averaging for invariant and equivariant network design" (ICLR 2022,
arXiv 2110.03336), section 3.2. With the orthogonal projectors P_k on the eigenspaces of D - A,
ascending, S_ik = sqrt((P_k)_ii) does not depend on a basis; the frame is all orders in which the
rows of S ascend.

The published code groups eigenvalues by equality of floating-point numbers and rounds S to two
decimals. Here both are compared with a tolerance, in float64: a repeated eigenvalue is one
eigenspace, whichever basis LAPACK returns. The frame is exact, but large where many rows are equal:
see `geqlib.frames.canonical_labelling` for one that needs a single order.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations, product
from math import factorial, lgamma, log, prod

import numpy as np

Array = np.ndarray
TOLERANCE = 1e-7


@dataclass(frozen=True)
class LaplacianOrders:
    """Orders of a graph's nodes.

    Args:
        orders: [K, n] the node at each place.
        exact: whether they are the whole frame; else they are drawn from it.
        log10_size: of the whole frame.
    """

    orders: Array
    exact: bool
    log10_size: float


def laplacian_orders(
    edge_index: Array,
    num_nodes: int,
    colour: Array | None = None,
    *,
    bound: int = 1000,
    samples: int = 1,
    rng: np.random.Generator | None = None,
) -> LaplacianOrders:
    """The Laplacian frame of an undirected graph: all of it up to `bound` orders, else a sample.

    Args:
        edge_index: [2, E], both directions.
        num_nodes: n.
        colour: [n] integers by which nodes are ordered before all else.
        bound: largest frame that is enumerated.
        samples: how many orders are drawn, uniformly and independently, from larger ones.
        rng: of the draws; one seeded with 0 by default.

    Raises:
        ValueError: a graph whose edges do not all go both ways.

    Example:
        >>> path = np.array([[0, 1, 1, 2], [1, 0, 2, 1]])
        >>> laplacian_orders(path, 3).orders.tolist()
        [[1, 0, 2], [1, 2, 0]]
    """
    ranks = _row_ranks(_projections(edge_index, num_nodes))
    if colour is not None:
        ranks = np.unique(np.stack([np.asarray(colour), ranks]), axis=1, return_inverse=True)[1]
    ranks = ranks.reshape(-1)
    blocks = [np.flatnonzero(ranks == k) for k in range(ranks.max(initial=-1) + 1)]
    size = sum(lgamma(len(block) + 1) for block in blocks) / log(10)
    if size < 15 and prod(factorial(len(block)) for block in blocks) <= bound:
        parts = product(*(permutations(block) for block in blocks))
        whole = [np.concatenate([np.array(p, np.int64) for p in part]) for part in parts if part]
        found = np.stack(whole) if whole else np.zeros((1, 0), np.int64)
        return LaplacianOrders(found, True, size)
    rng = np.random.default_rng(0) if rng is None else rng
    drawn = [np.concatenate([rng.permutation(b) for b in blocks]) for _ in range(samples)]
    return LaplacianOrders(np.stack(drawn), False, size)


def _projections(edge_index: Array, n: int) -> Array:
    """S [n, eigenspaces]."""
    adjacency = np.zeros((n, n))
    np.add.at(adjacency, (edge_index[0], edge_index[1]), 1.0)
    if not np.array_equal(adjacency, adjacency.T):
        raise ValueError("the Laplacian frame needs undirected graphs: add the reversed edges.")
    values, vectors = np.linalg.eigh(np.diag(adjacency.sum(1)) - adjacency)
    limit = TOLERANCE * max(values.max(initial=0.0), 1.0)
    starts = np.flatnonzero(np.diff(values, prepend=-np.inf) > limit)
    return np.sqrt(np.add.reduceat(vectors**2, starts, axis=1)) if n else np.zeros((0, 0))


def _row_ranks(rows: Array) -> Array:
    """Ranks [n] of rows by their columns, values within a tolerance being equal."""
    ranks = np.zeros(len(rows), np.int64)
    for column in rows.T:
        order = column.argsort(kind="stable")
        steps = np.diff(column[order], prepend=column[order[:1]]) > np.sqrt(TOLERANCE)
        place = np.empty_like(ranks)
        place[order] = steps.cumsum()
        ranks = np.unique(np.stack([ranks, place]), axis=1, return_inverse=True)[1].reshape(-1)
    return ranks
