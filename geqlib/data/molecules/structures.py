"""Many structures in a few arrays."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from geqlib.data.molecules.extxyz import Frame
from geqlib.data.molecules.labels import PER_ATOM


@dataclass(frozen=True)
class Structures:
    """Structures one after the other, in angstrom and eV.

    Args:
        z: [N] atomic numbers, in one byte each.
        pos: [N, 3].
        ptr: [G + 1] where the atoms of each structure start and end.
        cell: [G, 3, 3] vectors in rows, zeros without a cell.
        pbc: [G, 3] whether it repeats along each of them.
        index: [G] number of the frame in its source.
        labels: by name, [N, ...] for "forces" and "energies" and [G, ...] for all others.
    """

    z: Tensor
    pos: Tensor
    ptr: Tensor
    cell: Tensor
    pbc: Tensor
    index: Tensor
    labels: dict[str, Tensor]

    def __len__(self) -> int:
        return len(self.index)

    @property
    def batch(self) -> Tensor:
        """[N] structure of each atom."""
        return torch.arange(len(self)).repeat_interleave(self.ptr.diff())

    def select(self, chosen: Tensor) -> Structures:
        """Some of them, in the order of their positions `chosen`."""
        atoms, ptr = ragged_rows(self.ptr, chosen)
        return Structures(
            z=self.z[atoms],
            pos=self.pos[atoms],
            ptr=ptr,
            cell=self.cell[chosen],
            pbc=self.pbc[chosen],
            index=self.index[chosen],
            labels={k: v[atoms if k in PER_ATOM else chosen] for k, v in self.labels.items()},
        )

    def atoms(self, position: int) -> Atoms:
        """One of them for ASE; its labels are called REF_energy, REF_forces and so on."""
        one = self.select(torch.tensor([position]))
        atoms = Atoms(one.z.numpy(), one.pos.double().numpy(), cell=one.cell[0].double().numpy())
        atoms.pbc = one.pbc[0].numpy()
        atoms.info["index"] = int(one.index[0])
        for name, value in one.labels.items():
            if name in PER_ATOM:
                atoms.set_array(f"REF_{name}", value.double().numpy())
            else:
                atoms.info[f"REF_{name}"] = value[0].double().numpy()[()]
        return atoms


def pack(frames: Iterable[Frame], dtype: torch.dtype) -> Structures:
    """Frames as arrays: energies in float64, the rest in `dtype`."""
    columns: dict[str, list[np.ndarray]] = {}
    for frame in frames:
        row = {
            "z": frame.z.astype(np.uint8),
            "pos": frame.pos,
            "cell": frame.cell[None],
            "pbc": frame.pbc[None],
            "index": np.array([frame.number]),
            "size": np.array([len(frame.z)]),
        }
        labels = {k: v if k in PER_ATOM else v[None] for k, v in frame.labels.items()}
        for key, value in {**row, **labels}.items():
            columns.setdefault(key, []).append(value)
    if not columns:
        raise ValueError("There are no frames left to read.")
    whole = {key: torch.from_numpy(np.concatenate(parts)) for key, parts in columns.items()}
    for key, value in whole.items():
        if value.is_floating_point() and key not in ("energy", "energies"):
            whole[key] = value.to(dtype)
    size = whole.pop("size")
    ptr = torch.cat([size.new_zeros(1), size.cumsum(0)])
    names = ("z", "pos", "cell", "pbc", "index")
    return Structures(ptr=ptr, **{name: whole.pop(name) for name in names}, labels=whole)


def in_free_space(
    z: Tensor, pos: Tensor, size: Tensor, index: Tensor, labels: dict[str, Tensor]
) -> Structures:
    """Molecules without a cell, from arrays.

    Args:
        z: [N] atomic numbers.
        pos: [N, 3].
        size: [G] atoms of each molecule.
        index, labels: as of `Structures`.
    """
    count = len(size)
    return Structures(
        z=z.to(torch.uint8),
        pos=pos,
        ptr=torch.cat([size.new_zeros(1), size.cumsum(0)]),
        cell=pos.new_zeros(count, 3, 3),
        pbc=torch.zeros(count, 3, dtype=torch.bool),
        index=index,
        labels=labels,
    )


def ragged_rows(ptr: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of the chosen pieces of an array, in their order, and where each piece then starts.

    Args:
        ptr: [G + 1] where each piece starts and ends.
        chosen: [K] pieces.

    Example:
        >>> ragged_rows(torch.tensor([0, 2, 2, 5]), torch.tensor([2, 0]))
        (tensor([2, 3, 4, 0, 1]), tensor([0, 3, 5]))
    """
    counts = ptr[chosen + 1] - ptr[chosen]
    starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    rows = torch.arange(int(starts[-1]))
    return rows + (ptr[chosen] - starts[:-1]).repeat_interleave(counts), starts
