"""Which kernel rows a graph needs, and which edges each row serves."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from geqlib.graph.plan import Plan


@dataclass(frozen=True)
class EdgePlan(Plan):
    """Index tensors that position-orientation convolutions share: built once a batch.

    A kernel that depends on an edge's offset only through (R_o^T r) takes the same value on the
    reversed edge at the opposite orientation, so one *row* can serve both directions.

    Args:
        edge: [R] the edge that each row is evaluated on.
        source, target: [R] its nodes.
        paired: the first `paired` rows also serve the reversed edge, target -> source.
        num_nodes: nodes in the batch.

    Example:
        >>> from geqlib.graph import paired_plan
        >>> paired_plan(torch.tensor([[0, 1], [1, 0]]), 2).paired  # one row, two edges
        1
    """

    edge: Tensor
    source: Tensor
    target: Tensor
    paired: int
    num_nodes: int


torch.export.register_dataclass(EdgePlan)


def directed_plan(edge_index: Tensor, num_nodes: int) -> EdgePlan:
    """One row an edge: right for every graph, and for kernels without an antipodal symmetry.

    Example:
        >>> directed_plan(torch.tensor([[0, 1], [1, 0]]), 2).edge.tolist()
        [0, 1]
    """
    edge = torch.arange(edge_index.size(1), device=edge_index.device)
    return EdgePlan(edge, edge_index[0], edge_index[1], 0, num_nodes)


def paired_plan(edge_index: Tensor, num_nodes: int, reverse: Tensor | None = None) -> EdgePlan:
    """One row for each pair of opposite edges, and one for each edge without an opposite.

    Args:
        edge_index: [2, E] source and target.
        num_nodes: nodes in the batch.
        reverse: [E] index of each edge's reverse, or -1; by default `reverse_edges(edge_index)`.
            Give it where offsets are not differences of positions (periodic images), or where
            edge attributes differ by direction.

    Example:
        >>> plan = paired_plan(torch.tensor([[0, 1, 1], [1, 0, 2]]), 3)
        >>> plan.source.tolist(), plan.target.tolist(), plan.paired
        ([0, 1], [1, 2], 1)
    """
    reverse = reverse_edges(edge_index, num_nodes) if reverse is None else reverse
    edge = torch.arange(edge_index.size(1), device=edge_index.device)
    first, single = edge[edge < reverse], edge[(reverse < 0) | (reverse == edge)]
    rows = torch.cat([first, single])
    return EdgePlan(rows, edge_index[0, rows], edge_index[1, rows], len(first), num_nodes)


def reverse_edges(edge_index: Tensor, num_nodes: int, edge_attr: Tensor | None = None) -> Tensor:
    """[E] index of each edge's reverse, -1 where the graph has none.

    Repeated edges are matched in their order; a loop is its own reverse. With `edge_attr` only
    edges with the same attributes count as each other's reverse.

    Example:
        >>> reverse_edges(torch.tensor([[0, 1, 1], [1, 0, 2]]), 3).tolist()
        [1, 0, -1]
    """
    source, target = edge_index
    forward, backward = source * num_nodes + target, target * num_nodes + source
    if edge_attr is not None:
        kind = torch.unique(edge_attr.flatten(1), dim=0, return_inverse=True)[1]
        pair = torch.unique(torch.cat([forward, backward]), return_inverse=True)[1]
        forward, backward = (k + len(pair) * kind for k in pair.chunk(2))
    order_f, order_b = (torch.argsort(k, stable=True) for k in (forward, backward))
    keys, wanted = forward[order_f], backward[order_b]
    reverse = torch.full_like(source, -1)
    if len(keys) == 0:
        return reverse
    # the k-th copy of an edge is matched with the k-th copy of its reverse
    copy = torch.arange(len(keys), device=keys.device) - torch.searchsorted(wanted, wanted)
    place = torch.searchsorted(keys, wanted) + copy
    found = place.clamp(max=len(keys) - 1)
    match = (place < len(keys)) & (keys[found] == wanted)
    reverse[order_b] = torch.where(match, order_f[found], -1)
    return reverse
