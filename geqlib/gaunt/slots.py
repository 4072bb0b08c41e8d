"""The neighbours of every node in a row of equal length."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from geqlib.graph.edges import directed_plan, paired_plan


@dataclass(frozen=True)
class NeighborSlots:
    """Index tensors that turn sums over neighbours into matrix products: built once a batch.

    Every node has K slots, as many as the largest number of neighbours; spare ones are empty. What
    depends on the length of an edge alone is evaluated once for both of its directions.

    Args:
        edge: [R] the edge that each row is evaluated on.
        source, target: [R] its nodes.
        row: [N, K] row of each slot, 0 where it is empty.
        neighbor: [N, K] node of each slot, 0 where it is empty.
        sign: [N, K] 1, or -1 where the slot's edge runs against that of its row, or 0 if empty.
        filled: [E] the slots that are not empty, n K + k, in ascending order.
    """

    edge: Tensor
    source: Tensor
    target: Tensor
    row: Tensor
    neighbor: Tensor
    sign: Tensor
    filled: Tensor

    def to(self, *args: Any, **kwargs: Any) -> NeighborSlots:
        """The same plan on another device."""
        moved = {f.name: getattr(self, f.name).to(*args, **kwargs) for f in fields(self)}
        return replace(self, **moved)

    def spread(self, x: Tensor) -> Tensor:
        """Values of rows [R, F] in all their slots, [N, K, F]; empty slots repeat the first."""
        return x.index_select(0, self.row.flatten()).unflatten(0, self.row.shape)

    def each(self, x: Tensor) -> Tensor:
        """Values of slots [N, K, ...] without the empty ones, [E, ...], node by node."""
        return x.flatten(0, 1).index_select(0, self.filled)

    def owners(self) -> Tensor:
        """[E] the node of each slot that is not empty, ascending."""
        node = torch.arange(self.row.size(0), device=self.row.device)
        return self.each(node[:, None].expand(self.row.shape))


torch.export.register_dataclass(NeighborSlots)


def neighbor_slots(
    edge_index: Tensor, num_nodes: int, *, reverse: Tensor | None = None, paired: bool = True
) -> NeighborSlots:
    """Slots of a graph, and rows for its edges.

    Args:
        edge_index: [2, E] source and target.
        num_nodes: N.
        reverse: [E] index of each edge's reverse, or -1, where it is known; needed for edges
            between periodic images, which `edge_index` does not tell apart.
        paired: whether opposite edges share a row.

    Example:
        >>> slots = neighbor_slots(torch.tensor([[0, 1, 2], [1, 0, 1]]), 3)
        >>> slots.neighbor.tolist(), slots.sign.tolist()
        ([[1, 0], [0, 2], [0, 0]], [[-1, 0], [1, 1], [0, 0]])
    """
    plan = directed_plan(edge_index, num_nodes)
    if paired:
        plan = paired_plan(edge_index, num_nodes, reverse)
    both = slice(0, plan.paired)
    rows = torch.arange(len(plan.edge), device=edge_index.device)
    row = torch.cat([rows, rows[both]])
    source = torch.cat([plan.source, plan.target[both]])
    target = torch.cat([plan.target, plan.source[both]])
    sign = torch.where(torch.arange(len(row), device=rows.device) < len(rows), 1, -1)
    order = torch.argsort(target * num_nodes + source, stable=True)
    count = torch.bincount(target, minlength=num_nodes)
    first = torch.cumsum(count, 0) - count
    width = int(count.max()) if len(row) else 0
    target = target[order]
    place = target * width + torch.arange(len(order), device=rows.device) - first[target]

    def by_slot(values: Tensor) -> Tensor:
        empty = values.new_zeros(num_nodes * width)
        return empty.index_copy(0, place, values[order]).view(num_nodes, width)

    row, source, sign = (by_slot(values) for values in (row, source, sign))
    return NeighborSlots(plan.edge, plan.source, plan.target, row, source, sign, place)
