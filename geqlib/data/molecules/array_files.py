"""Structures in files of named arrays: NumPy's .npz, and HDF5."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from geqlib.extras import extra_module
from geqlib.files.atomic import reading

NPZ, HDF5 = (".npz",), (".h5", ".hdf5")
# how these are called: MD17, MD22; revised MD17; ASE; SPICE; ANI; QM7-X
NUMBERS = ("z", "Z", "nuclear_charges", "numbers", "atomic_numbers", "species", "atNUM")
POSITIONS = ("R", "coords", "positions", "pos", "conformations", "coordinates", "atXYZ")
CELLS = ("cell", "cells", "lattice")
GRADIENT, FORCES = "gradient", "forces"

Arrays = Mapping[str, np.ndarray]


def array_structures(path: Path) -> Iterator[Atoms]:
    """The structures of a file; its other arrays are in their `info`, or `arrays` if per atom.

    A .npz file, or a group of an HDF5 file, holds conformations of one molecule, atomic numbers
    [N], or of several, [K, N], in which 0 fills up; and positions [K, N, 3] or [N, 3]. The files of
    MD17, revised MD17, MD22, SPICE and ANI do. All other arrays of numbers are labels, [K, ...] of
    structures or [K, N, ...] of atoms. Of NAME_gradient there is NAME_forces, too, its negative.
    With an array `cell` [3, 3] or [K, 3, 3] structures repeat.

    Raises:
        ValueError: one sentence with file, group and array.
    """
    with reading(path, "does not hold structures", "write it with atomic numbers and positions"):
        groups = _npz(path) if path.suffix.lower() in NPZ else _hdf5(path)
        for name, arrays in groups:
            try:
                yield from _conformations(arrays)
            except ValueError as error:
                raise ValueError(f"in {name}: {error}" if name else str(error)) from error


def _npz(path: Path) -> Iterator[tuple[str, Arrays]]:
    with np.load(path, allow_pickle=False) as file:
        # text and objects are left out without being read
        yield "", {name: file[name] for name in file.files if _is_numeric(file, name)}


def _is_numeric(file: Any, name: str) -> bool:
    with file.zip.open(f"{name}.npy") as part:
        version = np.lib.format.read_magic(part)
        header = (
            np.lib.format.read_array_header_1_0(part)
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0(part)
        )
    return header[2].kind in "iuf"


def _hdf5(path: Path) -> Iterator[tuple[str, Arrays]]:
    h5py: Any = extra_module("h5py", "hdf5")
    with h5py.File(path, "r") as file:
        groups: list[Any] = [file]
        file.visititems(lambda _, part: groups.append(part) if hasattr(part, "keys") else None)
        count = 0
        for group in groups:
            names = [name for name in group if hasattr(group[name], "dtype")]
            if set(names) & set(NUMBERS) and set(names) & set(POSITIONS):
                count += 1
                numeric = [name for name in names if group[name].dtype.kind in "iuf"]
                yield group.name, {name: group[name][()] for name in numeric}
        if not count:
            raise ValueError(
                f"no group has atomic numbers ({', '.join(NUMBERS)}) and positions "
                f"({', '.join(POSITIONS)})"
            )


def _conformations(arrays: Arrays) -> Iterator[Atoms]:
    z, pos, labels = _geometry(arrays)
    for k in range(len(pos)):
        atoms = z[k] > 0
        info: dict[str, Any] = {}
        per_atom: dict[str, np.ndarray] = {}
        for name, values in labels.items():
            if values.shape[1:2] == atoms.shape:
                per_atom[name] = values[k][atoms]
            else:
                value = values[k]
                info[name] = value.item() if value.size == 1 else value
        cell = info.pop(next((c for c in CELLS if c in info), ""), None)
        structure = Atoms(z[k][atoms], pos[k][atoms], cell=cell, pbc=cell is not None, info=info)
        for name, values in per_atom.items():
            structure.set_array(name, values)
        yield structure


def _geometry(arrays: Arrays) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Atomic numbers [K, N], positions [K, N, 3] and the labels of each conformation."""
    z_name, z = _named(arrays, NUMBERS, "atomic numbers")
    pos_name, pos = _named(arrays, POSITIONS, "positions")
    pos = pos[None] if pos.ndim == 2 else pos
    if pos.ndim != 3 or pos.shape[2] != 3 or not len(pos):
        raise ValueError(f"{pos_name} is {pos.shape}, not [structures, atoms, 3]")
    count, size = pos.shape[:2]
    if z.shape not in ((size,), (count, size)) or z.dtype.kind not in "iu":
        raise ValueError(f"{z_name} is {z.dtype} {z.shape}, but {pos_name} {pos.shape}")
    labels = {}
    for name, values in arrays.items():
        if name in (z_name, pos_name):
            continue
        if name in CELLS and values.shape == (3, 3):
            values = np.broadcast_to(values, (count, 3, 3))
        if values.shape[:1] == (count,):
            labels[name] = values
        elif count == 1:
            labels[name] = values[None]
    for name in [name for name in labels if name.endswith(GRADIENT)]:
        labels.setdefault(name.removesuffix(GRADIENT) + FORCES, -labels[name])
    return np.broadcast_to(z, (count, size)), pos, labels


def _named(arrays: Arrays, names: tuple[str, ...], what: str) -> tuple[str, np.ndarray]:
    present = [name for name in names if name in arrays]
    if len(present) != 1:
        raise ValueError(
            f"it has {', '.join(sorted(arrays)) or 'no arrays'}: {what} are called one of "
            f"{', '.join(names)}"
        )
    return present[0], arrays[present[0]]
