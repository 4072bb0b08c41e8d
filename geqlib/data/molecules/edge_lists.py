"""Neighbours of many structures, found once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from geqlib.data.molecules.structures import Structures, ragged_rows
from geqlib.graph.neighbors import Neighbors, neighbor_list

CHUNK = 20_000  # atoms whose neighbours are searched at once


@dataclass(frozen=True)
class EdgeLists:
    """Neighbours within structures, as `Neighbors`, but numbered within each structure.

    Args:
        edge_index: [2, E] atoms of the structure.
        cell_shift: [E, 3], or None if no structure is periodic.
        reverse: [E] edges of the structure.
        ptr: [G + 1] where the edges of each structure start and end.
    """

    edge_index: Tensor
    cell_shift: Tensor | None
    reverse: Tensor
    ptr: Tensor

    def select(self, chosen: Tensor, nodes: Tensor) -> Neighbors:
        """The edges of the `chosen` structures as those of one batch.

        Args:
            chosen: [K] structures.
            nodes: [K + 1] where their atoms start and end in the batch.
        """
        rows, ptr = ragged_rows(self.ptr, chosen)
        counts = ptr.diff()
        shift = self.cell_shift
        shift = torch.zeros(len(rows), 3, dtype=torch.long) if shift is None else shift[rows]
        return Neighbors(
            edge_index=self.edge_index[:, rows] + nodes[:-1].repeat_interleave(counts),
            cell_shift=shift.long(),
            reverse=self.reverse[rows] + ptr[:-1].repeat_interleave(counts),
        )


def find_neighbors(structures: Structures, cutoff: float | None) -> Neighbors:
    """Neighbours of structures as those of one batch; all pairs of each if `cutoff` is None."""
    if cutoff is None and structures.pbc.any():
        raise ValueError("Periodic structures have infinitely many pairs: give a cutoff.")
    if cutoff is None:
        return _all_pairs(structures.ptr)
    return neighbor_list(
        structures.pos,
        cutoff,
        cell=structures.cell,
        pbc=structures.pbc,
        batch=structures.batch,
    )


def edge_lists(structures: Structures, cutoff: float | None) -> EdgeLists:
    """Neighbours of structures, found for some thousand atoms at a time.

    Args:
        structures: at least one.
        cutoff: in angstrom; None for all pairs.
    """
    block = torch.div(structures.ptr[:-1], CHUNK, rounding_mode="floor")
    sizes = torch.unique_consecutive(block, return_counts=True)[1]
    chunks = torch.arange(len(structures)).split(sizes.tolist())
    periodic = bool(structures.pbc.any())
    parts = [_local(structures.select(chunk), cutoff, periodic) for chunk in _progress(chunks)]
    shifts = [part.cell_shift for part in parts if part.cell_shift is not None]
    counts = torch.cat([part.ptr.diff() for part in parts])
    return EdgeLists(
        edge_index=torch.cat([part.edge_index for part in parts], 1),
        cell_shift=torch.cat(shifts) if periodic else None,
        reverse=torch.cat([part.reverse for part in parts]),
        ptr=torch.cat([counts.new_zeros(1), counts.cumsum(0)]),
    )


def _local(structures: Structures, cutoff: float | None, periodic: bool) -> EdgeLists:
    near = find_neighbors(structures, cutoff)
    graph = structures.batch[near.edge_index[1]]
    counts = torch.bincount(graph, minlength=len(structures))
    ptr = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    return EdgeLists(
        # half the room of int64
        edge_index=(near.edge_index - structures.ptr[graph]).int(),
        cell_shift=near.cell_shift.int() if periodic else None,
        reverse=(near.reverse - ptr[graph]).int(),
        ptr=ptr,
    )


def _all_pairs(nodes: Tensor) -> Neighbors:
    """All ordered pairs of different atoms of each structure, sorted as `neighbor_list` does."""
    count = nodes.diff()
    edges = count * (count - 1)
    first = (edges.cumsum(0) - edges).repeat_interleave(edges)
    place = torch.arange(int(edges.sum())) - first
    others = (count - 1).repeat_interleave(edges)
    target, source = place // others, place % others
    source = source + (source >= target)
    back = source * others + target - (target > source).long()
    start = nodes[:-1].repeat_interleave(edges)
    return Neighbors(
        edge_index=torch.stack([source, target]) + start,
        cell_shift=torch.zeros(len(place), 3, dtype=torch.long),
        reverse=back + first,
    )


def _progress(chunks: Sequence[Tensor]) -> Iterable[Tensor]:
    console = Console(stderr=True)
    return track(chunks, "neighbours", console=console, disable=not console.is_terminal)
