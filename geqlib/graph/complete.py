"""All pairs of nodes of each graph."""

from __future__ import annotations

import torch
from torch import Tensor

from geqlib.graph.neighbors import Neighbors
from geqlib.graph.segments import ragged_ranges


def complete_graphs(ptr: Tensor) -> Neighbors:
    """All ordered pairs of different nodes of each graph, sorted as `neighbor_list` does.

    Args:
        ptr: [G + 1] where the nodes of each graph begin and end.

    Example:
        >>> complete_graphs(torch.tensor([0, 2, 3])).edge_index.tolist()
        [[1, 0], [0, 1]]
    """
    count = ptr.diff()
    edges = count * (count - 1)
    number, others = ragged_ranges(0, edges), (count - 1).repeat_interleave(edges)
    target, source = number // others, number % others
    source = source + (source >= target)
    back = source * others + target - (target > source).long()
    return Neighbors(
        edge_index=torch.stack([source, target]) + ptr[:-1].repeat_interleave(edges),
        cell_shift=torch.zeros(len(number), 3, dtype=torch.long, device=ptr.device),
        reverse=back + (edges.cumsum(0) - edges).repeat_interleave(edges),
    )
