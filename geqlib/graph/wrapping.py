"""Positions near their cell and the origin, with equal offsets: float32 keeps its digits."""

from __future__ import annotations

import torch
from torch import Tensor

from geqlib.graph.segments import segment_lengths

OUTSIDE = 30.0  # of the cell, in angstrom, where float32 has steps of 3e-6
NEAR = 100.0  # to the origin


def near_cell(
    pos: Tensor,
    edge_index: Tensor,
    *,
    cell: Tensor | None = None,
    cell_shift: Tensor | None = None,
    batch: Tensor | None = None,
    num_graphs: int | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Positions less whole cells, and the shifts of the edges that make up for them.

    In an unwrapped trajectory atoms drift away from their cell, and positions that are rounded to
    float32 there have no accurate differences: call this in float64 before they are rounded. Atoms
    at most 30 angstrom outside stay where they are; a graph that is then far from the origin is
    moved as a whole. The offset pos[source] - pos[target] + cell_shift @ cell stays the same, as do
    its derivatives by positions and cells.

    Args:
        pos: [N, 3] in float64.
        edge_index: [2, E].
        cell: [G, 3, 3] cell vectors in rows, zeros for molecules; None if there are no cells.
        cell_shift: [E, 3] integers; None if no edge leaves its cell.
        batch: [N] graph of each node, and num_graphs: their number.

    Returns:
        Positions [N, 3] and shifts [E, 3].

    Example:
        >>> pos = torch.tensor([[0.5, 0, 0], [4001, 0, 0]], dtype=torch.float64)
        >>> edges, shift = torch.tensor([[1], [0]]), torch.tensor([[-1000, 0, 0]])
        >>> cell = 4 * torch.eye(3, dtype=torch.float64)[None]
        >>> [part.tolist() for part in near_cell(pos, edges, cell=cell, cell_shift=shift)]
        [[[0.5, 0.0, 0.0], [1.0, 0.0, 0.0]], [[0, 0, 0]]]
    """
    graph = edge_index.new_zeros(len(pos)) if batch is None else batch
    if cell is not None and cell_shift is not None:
        # on the host, which waits for GPUs to decompose matrices in any case
        inverse = torch.linalg.pinv(cell.detach().cpu()).to(cell.device).index_select(0, graph)
        whole = torch.einsum("ni,nij->nj", pos.detach(), inverse).floor()
        cells = cell.index_select(0, graph)
        outside = torch.einsum("ni,nij->nj", whole, cells.detach()).norm(dim=1, keepdim=True)
        whole = torch.where(outside > OUTSIDE, whole, 0.0)
        pos = pos - torch.einsum("ni,nij->nj", whole, cells)
        source, target = edge_index
        change = whole.index_select(0, source) - whole.index_select(0, target)
        cell_shift = cell_shift + change.to(cell_shift.dtype)
    graphs = num_graphs or (len(cell) if cell is not None else 1)
    count = segment_lengths(graph, graphs).clamp(min=1)
    centre = pos.new_zeros(graphs, 3).index_add(0, graph, pos.detach()) / count[:, None]
    centre = torch.where(centre.abs() > NEAR, centre.round(), 0.0)
    return pos - centre.index_select(0, graph), cell_shift
