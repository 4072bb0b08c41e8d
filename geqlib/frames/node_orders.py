"""Frames of S_n: orders of the nodes of every graph that no relabelling changes.

`sorted_copies` is the exact frame, group="S_n" of `FrameAveraging`: nodes are sorted by all that is
known of them, and equal ones by a canonical labelling of the graph. `laplacian_frame` is the frame
of Puny et al., "Frame averaging for invariant and equivariant network design" (ICLR 2022, arXiv
2110.03336), section 3.2: with the orthogonal projectors P_k on the eigenspaces of D - A, ascending,

    S_ik = sqrt((P_k)_ii),     F = {orders of the nodes in which the rows of S ascend}.

The published code groups eigenvalues by equality of floating-point numbers and rounds S to two
decimals. Here both are compared with a tolerance, in float64: a repeated eigenvalue is one
eigenspace, whichever basis LAPACK returns. That frame is exact, but large where many rows of S are
equal. `random_frame` is the whole group, sampled.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import permutations, product
from math import factorial, lgamma, log, prod

import numpy as np
import torch
from torch import Tensor

from geqlib.frames.canonical_labelling import canonical_labelling
from geqlib.frames.copies import FrameCopies
from geqlib.frames.point_frames import Frames
from geqlib.symmetry.types import Typed

Array = np.ndarray
TOLERANCE = 1e-7


def sorted_copies(plan: FrameCopies, seen: Typed, rounding: Tensor) -> FrameCopies:
    """The plan with the nodes of each copy in an order that no relabelling of the batch changes.

    Nodes are sorted by all tensors of nodes, as the copy shows them. If nodes with equal values
    remain, and the graph has edges, their order is a canonical labelling of the coloured graph, and
    nodes that its automorphisms exchange form classes.

    Args:
        plan: in the order of the batch.
        seen: name -> (g^-1 x in all copies, type).
        rounding: [B] differences of values that count as none.

    Raises:
        ValueError: NaN, or a canonical labelling that takes too long.
    """
    colour = _colours(plan, seen, rounding, "node")
    has_edges = any(type_.kind == "edge_index" for _, type_ in seen.values())
    orbit, order = colour, colour.argsort(stable=True)
    if has_edges and len(colour.unique()) < len(colour):
        order, orbit = _labelled(plan, colour, _colours(plan, seen, rounding, "edge"))
    position = torch.empty_like(order)
    position[order] = torch.arange(len(order), device=order.device)
    ends = position[plan.edge_index]
    edge_order = (ends[0] * len(position) + ends[1]).argsort(stable=True)
    return replace(
        plan,
        nodes=plan.nodes[order],
        orbit=orbit[order],
        edges=plan.edges[edge_order],
        edge_copy=plan.edge_copy[edge_order],
        edge_index=ends[:, edge_order],
    )


def _colours(plan: FrameCopies, seen: Typed, rounding: Tensor, level: str) -> Tensor:
    """Ranks of nodes, or edges, by their copy, then by all columns of their tensors."""
    copy = plan.of(level)[1]
    colour, limit = copy, rounding[plan.sample[copy]]
    for x, type_ in seen.values():
        if type_.level != level or type_.kind in ("batch", "edge_index"):
            continue
        values = columns(x.detach())
        if bool(values.isnan().any()):
            raise ValueError(f"{type_.where} has NaN, by which no node can be sorted: fix it.")
        for column in values.unbind(1):
            colour = tolerant_ranks(column, colour, limit)
    return colour


def tolerant_ranks(values: Tensor, group: Tensor, limit: Tensor) -> Tensor:
    """Ranks [n] by group and value; neighbours in that order whose gap is within `limit` share one.

    Example:
        >>> x, zero = torch.tensor([0.3, 0.1, 0.3 + 1e-9, 0.2]).double(), torch.zeros(4).long()
        >>> tolerant_ranks(x, zero, torch.full((4,), 1e-6)).tolist()
        [2, 0, 2, 1]
    """
    order = values.argsort(stable=True)
    order = order[group[order].argsort(stable=True)]
    value, member = values[order], group[order]
    new = (value.diff() > limit[order][1:]) | (member.diff() != 0)
    ranks = torch.empty_like(order)
    ranks[order] = torch.cat([order.new_zeros(min(len(order), 1)), new.long().cumsum(0)])
    return ranks


def joined_ranks(first: Tensor, second: Tensor) -> Tensor:
    """Ranks by the first key, then by the second."""
    pairs = first * (len(second) + 1) + second
    return pairs.unique(return_inverse=True)[1]


def columns(x: Tensor) -> Tensor:
    """[n, ...] as [n, columns], in float64."""
    return (x.flatten(1) if x.dim() > 1 else x[:, None]).double()


def _labelled(plan: FrameCopies, colour: Tensor, edge_colour: Tensor) -> tuple[Tensor, Tensor]:
    """Order and orbits [M] from canonical labellings, where colours are not enough."""
    count, device, colours = len(plan.sample), colour.device, colour.cpu().numpy()
    edges, kinds = plan.edge_index.cpu().numpy(), edge_colour.cpu().numpy()
    node_ends = np.searchsorted(plan.node_copy.cpu().numpy(), np.arange(count + 1))
    edge_ends = np.searchsorted(plan.edge_copy.cpu().numpy(), np.arange(count + 1))
    order, orbit = np.empty(len(colours), np.int64), np.empty(len(colours), np.int64)
    for k in range(count):
        a, b = node_ends[k], node_ends[k + 1]
        part = slice(edge_ends[k], edge_ends[k + 1])
        own = colours[a:b]
        if len(np.unique(own)) == b - a:
            order[a:b], orbit[a:b] = own.argsort() + a, np.arange(a, b)
            continue
        kind = kinds[part] - kinds[part].min(initial=len(kinds))  # equal for equal graphs
        labelling = canonical_labelling(edges[:, part] - a, b - a, own - own.min(), kind)
        order[a:b], orbit[a:b] = labelling.order + a, labelling.orbit + a
    return torch.from_numpy(order).to(device), torch.from_numpy(orbit).to(device)


@dataclass(frozen=True)
class LaplacianOrders:
    """Orders of a graph's nodes.

    Args:
        orders: [K, n] the node at each position.
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
    ranks = _lexicographic_ranks(_projections(edge_index, num_nodes))
    if colour is not None:
        ranks = np.unique(np.stack([np.asarray(colour), ranks]), axis=1, return_inverse=True)[1]
    ranks = ranks.reshape(-1)
    blocks = [np.flatnonzero(ranks == k) for k in range(ranks.max(initial=-1) + 1)]
    size = sum(lgamma(len(block) + 1) for block in blocks) / log(10)
    if size < 15 and prod(factorial(len(block)) for block in blocks) <= bound:
        parts = product(*(permutations(block) for block in blocks))
        whole = [np.concatenate([np.array(p, np.int64) for p in part]) for part in parts if part]
        orders = np.stack(whole) if whole else np.zeros((1, 0), np.int64)
        return LaplacianOrders(orders, True, size)
    rng = np.random.default_rng(0) if rng is None else rng
    sampled = [np.concatenate([rng.permutation(b) for b in blocks]) for _ in range(samples)]
    return LaplacianOrders(np.stack(sampled), False, size)


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


def _lexicographic_ranks(s: Array) -> Array:
    """Ranks [n] of the rows of S by their columns, values within a tolerance being equal."""
    ranks = np.zeros(len(s), np.int64)
    for column in s.T:
        order = column.argsort(kind="stable")
        steps = np.diff(column[order], prepend=column[order[:1]]) > np.sqrt(TOLERANCE)
        position = np.empty_like(ranks)
        position[order] = steps.cumsum()
        ranks = np.unique(np.stack([ranks, position]), axis=1, return_inverse=True)[1].reshape(-1)
    return ranks


def laplacian_frame(*, bound: int = 1000, samples: int = 1) -> Callable[..., Frames]:
    """The Laplacian frame, for `FrameAveraging`.

    Averages are exact for graphs with at most `bound` orders; of larger frames `samples` orders are
    drawn, from numpy's generator seeded by torch's, and a warning says so. `laplacian_orders` says
    which it is for a graph.

    Example:
        >>> frame = laplacian_frame()
        >>> path = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
        >>> frame(x=torch.ones(3, 1), edge_index=path).nodes.tolist()
        [1, 0, 2, 1, 2, 0]
    """
    # not functions within functions, which cannot be pickled
    return partial(_order_frame, partial(_laplacian_or_warn, bound, samples))


def random_frame(*, samples: int = 1) -> Callable[..., Frames]:
    """Uniformly drawn orders: the whole group in expectation, and no symmetry in a single draw."""
    return partial(_order_frame, partial(_random_orders, samples))


def _laplacian_or_warn(
    bound: int, samples: int, edge_index: Array, nodes: int, rng: np.random.Generator
) -> Array:
    frame = laplacian_orders(edge_index, nodes, bound=bound, samples=samples, rng=rng)
    if not frame.exact:
        warnings.warn(
            f"A graph has more than bound={bound} Laplacian orders: its average is over samples of "
            'them, not exact. Raise bound, or take group="S_n", which is exact.',
            stacklevel=2,
        )
    return frame.orders


def _random_orders(samples: int, edge_index: Array, nodes: int, rng: np.random.Generator) -> Array:
    return np.stack([rng.permutation(nodes) for _ in range(samples)])


def _order_frame(
    orders: Callable[[Array, int, np.random.Generator], Array],
    *,
    x: Tensor,
    edge_index: Tensor,
    batch: Tensor | None = None,
    num_graphs: int | None = None,
    **others: Tensor,
) -> Frames:
    """The frame of a batch, from a function that returns orders [K, n] of a single graph."""
    number = np.zeros(len(x), np.int64) if batch is None else batch.cpu().numpy()
    count = 1 if batch is None else num_graphs or int(number.max(initial=-1)) + 1
    rng = np.random.default_rng(int(torch.randint(2**62, ())))
    edges = edge_index.cpu().numpy()
    graph_orders = []
    for nodes, own in zip(
        _segments(number, count), _segments(number[edges[0]], count), strict=True
    ):
        graph_orders.append(nodes[orders(np.searchsorted(nodes, edges[:, own]), len(nodes), rng)])
    copies = torch.tensor([len(part) for part in graph_orders], dtype=torch.long)
    sample = torch.arange(count).repeat_interleave(copies)
    nodes = np.concatenate([np.zeros(0, np.int64), *(part.ravel() for part in graph_orders)])
    device = x.device
    return Frames(
        x.new_zeros(len(sample), 0, 0, dtype=torch.float64),
        sample.to(device),
        (1 / copies.double())[sample].to(device),
        nodes=torch.from_numpy(nodes).to(device),
    )


def _segments(number: Array, count: int) -> list[Array]:
    """For each of `count` numbers, the indices that have it."""
    order = number.argsort(kind="stable")
    return np.split(order, np.searchsorted(number[order], np.arange(1, count))) if count else []
