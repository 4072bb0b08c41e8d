"""The edges of the line graph: pairs of bonds at one atom."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from geqlib.graph.checks import as_index
from geqlib.graph.padding import rounded_up
from geqlib.graph.plan import Plan
from geqlib.graph.segments import ragged_ranges, segment_index, segment_lengths, segment_ptr


@dataclass(frozen=True)
class AnglePlan(Plan):
    """The angles of a graph: pairs of edges with a common target.

    Args:
        edge: [S] edges that may be in angles, sorted by their targets.
        first, second: [A] for each angle the numbers of its two edges in `edge`, which have the
            same target; every pair of different edges comes in both orders.
        weight: [A] 1, or 0 for padding; None without padding.

    Example:
        >>> plan = angle_plan(torch.tensor([[1, 2, 0], [0, 0, 2]]), 3)
        >>> plan.edge.tolist(), plan.first.tolist(), plan.second.tolist()
        ([0, 1, 2], [0, 1], [1, 0])
    """

    edge: Tensor
    first: Tensor
    second: Tensor
    weight: Tensor | None = None

    def rounded(self) -> AnglePlan:
        """With further edges, which are in no angle, and further angles, of weight 0."""
        edges, angles = self.edge.size(0), self.first.size(0)
        if not edges:  # no edge that padding could repeat
            return self
        more = rounded_up(angles) - angles
        real = torch.ones_like(self.first) if self.weight is None else self.weight
        return replace(
            self,
            edge=torch.cat([self.edge, self.edge[:1].expand(rounded_up(edges) - edges)]),
            first=pad(self.first, (0, more)),
            second=pad(self.second, (0, more)),
            weight=pad(real, (0, more)),
        )


torch.export.register_dataclass(AnglePlan)


def short_edges(
    pos: Tensor,
    edge_index: Tensor,
    cutoff: float,
    *,
    cell: Tensor | None = None,
    cell_shift: Tensor | None = None,
    batch: Tensor | None = None,
) -> Tensor:
    """[E] whether each edge is at most `cutoff` long.

    Args:
        pos: [N, 3].
        edge_index: [2, E].
        cutoff: in the units of the positions.
        cell, cell_shift, batch: [G, 3, 3], [E, 3], [N] of periodic structures, as of
            `geqlib.models.Potential`.

    Example:
        >>> edges = torch.tensor([[0, 2], [1, 1]])
        >>> short_edges(torch.tensor([[0.0, 0, 0], [0, 0, 1], [0, 0, 3]]), edges, 1.5).tolist()
        [True, False]
    """
    source, target = as_index(edge_index)
    offset = pos.index_select(0, source) - pos.index_select(0, target)
    if cell is not None and cell_shift is not None:
        graph = torch.zeros_like(target) if batch is None else as_index(batch, "batch")[target]
        across = torch.einsum("ed,edk->ek", cell_shift.to(cell.dtype), cell[graph])
        offset = offset + across.to(offset.dtype)
    return offset.square().sum(1) <= cutoff**2


def angle_plan(edge_index: Tensor, num_nodes: int, near: Tensor | None = None) -> AnglePlan:
    """The angles of a graph, made on the device of `edge_index` with one host synchronisation.

    Args:
        edge_index: [2, E] source and target, in any order.
        num_nodes: N.
        near: [E] whether an edge may be in angles; all may by default.

    Raises:
        ValueError: if an index is no integer, or targets are out of range.

    Example:
        >>> near = torch.tensor([True, False, True])
        >>> angle_plan(torch.tensor([[1, 2, 3], [0, 0, 0]]), 4, near).edge.tolist()
        [0, 2]
    """
    _, target = as_index(edge_index)
    outside = ((target < 0) | (target >= num_nodes)).any()
    if near is not None:  # the others go behind the last node
        target = torch.where(near, target, num_nodes)
    count = segment_lengths(target.clamp(0, num_nodes), num_nodes + 1)[:num_nodes]
    sizes = torch.stack([count.sum(), (count * (count - 1)).sum(), outside.long()])
    edges, angles, wrong = sizes.tolist()
    if wrong:
        raise ValueError(
            f"edge_index has targets outside of 0 to {num_nodes - 1}: correct it, or the number "
            "of nodes."
        )
    edge = torch.argsort(target, stable=True)[:edges]
    node = segment_index(count, edges)
    others = count[node] - 1
    first = segment_index(others, angles)
    second = ragged_ranges(segment_ptr(count)[:-1][node], others, angles)
    return AnglePlan(edge, first, second + (second >= first).long())
