"""Structures as a data set that hands out whole batches."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from ase import Atoms
from torch import Tensor
from torch.utils.data import Dataset
from torch_geometric.data import Batch

from geqlib.data.molecules.edge_lists import edge_lists, find_neighbors
from geqlib.data.molecules.frame_index import FrameIndex
from geqlib.data.molecules.structures import Structures, pack
from geqlib.graph.neighbors import Neighbors


class StructureDataset(Dataset):
    """Structures in memory; indexing with a list makes a whole batch at once.

    Args:
        structures: all of them.
        cutoff: of the neighbours, in angstrom; None for all pairs.
        keep_edges: whether to find all neighbours now and keep them, or each batch's anew.
    """

    def __init__(
        self, structures: Structures, cutoff: float | None, *, keep_edges: bool = True
    ) -> None:
        self.structures, self.cutoff = structures, cutoff
        self.periodic = bool(structures.pbc.any())
        kept = keep_edges and len(structures) > 0
        self.edges = edge_lists(structures, cutoff) if kept else None

    @property
    def index(self) -> Tensor:
        """[G] number of each frame in its source."""
        return self.structures.index

    def __len__(self) -> int:
        return len(self.structures)

    def __getitem__(self, position: int) -> Batch:
        return self.__getitems__([position])

    def __getitems__(self, positions: Sequence[int]) -> Batch:
        chosen = torch.as_tensor(positions, dtype=torch.long)
        part = self.structures.select(chosen)
        if self.edges is None:
            near = find_neighbors(part, self.cutoff)
        else:
            near = self.edges.select(chosen, part.ptr)
        return make_batch(part, near, periodic=self.periodic)

    def atoms(self, position: int) -> Atoms:
        """One of them for ASE."""
        return self.structures.atoms(position)


class StreamedDataset(Dataset):
    """Structures on disk, read when a batch asks for them: memory holds one batch.

    Args:
        frames: where they are.
        cutoff: of the neighbours, in angstrom.
    """

    def __init__(self, frames: FrameIndex, cutoff: float) -> None:
        self.frames, self.cutoff = frames, cutoff
        self.periodic = bool(frames.periodic.any())
        self.dtype = torch.get_default_dtype()

    @property
    def index(self) -> Tensor:
        """[G] number of each frame in its source."""
        return self.frames.index

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, position: int) -> Batch:
        return self.__getitems__([position])

    def __getitems__(self, positions: Sequence[int]) -> Batch:
        part = pack(self.frames.read(positions), self.dtype)
        return make_batch(part, find_neighbors(part, self.cutoff), periodic=self.periodic)

    def atoms(self, position: int) -> Atoms:
        """One of them for ASE."""
        return pack(self.frames.read([position]), self.dtype).atoms(0)


def make_batch(part: Structures, near: Neighbors, *, periodic: bool) -> Batch:
    """Structures and their neighbours as one batch.

    Args:
        part: the structures.
        near: their neighbours, numbered as in the batch.
        periodic: whether the batch has `cell_shift`.
    """
    batch = Batch(
        pos=part.pos,
        z=part.z.long(),
        edge_index=near.edge_index,
        reverse=near.reverse,
        cell=part.cell,
        pbc=part.pbc,
        index=part.index,
        batch=part.batch,
        ptr=part.ptr,
        **part.labels,
    )
    if periodic:
        batch.cell_shift = near.cell_shift.to(part.pos.dtype)
    return batch
