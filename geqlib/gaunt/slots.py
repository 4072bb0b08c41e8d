"""The neighbours of each node in a table of equal width, so that sums are matrix products."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from geqlib.graph.checks import as_edges
from geqlib.graph.edges import EdgePlan, out_of_range, pair_order, range_error
from geqlib.graph.padding import rounded_up
from geqlib.graph.plan import Plan
from geqlib.graph.segments import segment_lengths


@dataclass(frozen=True)
class NeighborSlots(Plan):
    """A table [N, K] of the neighbours of each node, padded to the largest number of neighbours.

    What depends on the length of an edge alone is evaluated once for both of its directions.

    Args:
        edge: [R] the edge on which each kernel is evaluated.
        source, target: [R] its nodes.
        row: [N, K] kernel of each neighbour, 0 in the padding.
        neighbor: [N, K] node of each neighbour, 0 in the padding.
        sign: [N, K] 1, or -1 where the edge runs against that of its kernel, or 0 in the padding.
        filled: [E] the entries that are not padding, n K + k, in ascending order.
    """

    edge: Tensor
    source: Tensor
    target: Tensor
    row: Tensor
    neighbor: Tensor
    sign: Tensor
    filled: Tensor

    def spread(self, x: Tensor) -> Tensor:
        """Values of kernels [R, F] for all neighbours, [N, K, F]; padding repeats the first."""
        return x.index_select(0, self.row.flatten()).unflatten(0, self.row.shape)

    def each(self, x: Tensor) -> Tensor:
        """Values of neighbours [N, K, ...] without padding, [E, ...], node by node."""
        return x.flatten(0, 1).index_select(0, self.filled)

    def rounded(self) -> NeighborSlots:
        """With further columns of padding, so that few widths occur."""
        width = self.row.size(1)
        wanted = rounded_up(width)
        row, neighbor, sign = (
            pad(table, (0, wanted - width)) for table in (self.row, self.neighbor, self.sign)
        )
        filled = self.filled // max(width, 1) * wanted + self.filled % max(width, 1)
        return replace(self, row=row, neighbor=neighbor, sign=sign, filled=filled)

    def owners(self) -> Tensor:
        """[E] the node whose neighbour each entry of `filled` is, ascending."""
        node = torch.arange(self.row.size(0), device=self.row.device)
        return self.each(node[:, None].expand(self.row.shape))


torch.export.register_dataclass(NeighborSlots)


def neighbor_slots(
    edge_index: Tensor, num_nodes: int, *, reverse: Tensor | None = None, paired: bool = True
) -> NeighborSlots:
    """The padded table of neighbours of a graph, and kernels for its edges.

    Made on the device of `edge_index`, with one host synchronisation, for the sizes.

    Args:
        edge_index: [2, E] source and target.
        num_nodes: N.
        reverse: [E] index of each edge's reverse, or -1, where it is known; needed for edges
            between periodic images, which `edge_index` does not distinguish.
        paired: whether opposite edges share a kernel.

    Raises:
        ValueError: for an edge_index that is not [2, E] integers, and for nodes out of range.

    Example:
        >>> slots = neighbor_slots(torch.tensor([[0, 1, 2], [1, 0, 1]]), 3)
        >>> slots.neighbor.tolist(), slots.sign.tolist()
        ([[1, 0], [0, 2], [0, 0]], [[-1, 0], [1, 1], [0, 0]])
    """
    ends = as_edges(edge_index)
    # targets out of range are counted before and behind the nodes, until the sizes are read
    count = segment_lengths(ends[1].clamp(-1, num_nodes) + 1, num_nodes + 2)[1:-1]
    most = count.amax()[None] if num_nodes else count.new_zeros(1)
    outside = out_of_range(ends, num_nodes)[None].long()
    if paired:
        edge, sizes = pair_order(ends, num_nodes, reverse)
        pairs, alone, width, wrong = torch.cat([sizes, most, outside]).tolist()
    else:
        edge = torch.arange(ends.size(1), device=ends.device)
        pairs, alone = 0, len(edge)
        width, wrong = torch.cat([most, outside]).tolist()
    if wrong:
        raise ValueError(range_error(num_nodes))
    edge = edge[: pairs + alone]
    plan = EdgePlan(edge, ends[0, edge], ends[1, edge], pairs, num_nodes)
    row, source, target = plan.messages()
    number = torch.arange(row.size(0), device=row.device)
    sign = torch.where(number < plan.edge.size(0), 1, -1)
    order = torch.argsort(target * num_nodes + source, stable=True)
    target = target[order]
    filled = target * width + number - (torch.cumsum(count, 0) - count)[target]

    def table(values: Tensor) -> Tensor:
        empty = values.new_zeros(num_nodes * width)
        return empty.index_copy(0, filled, values[order]).view(num_nodes, width)

    return NeighborSlots(
        plan.edge, plan.source, plan.target, table(row), table(source), table(sign), filled
    )
