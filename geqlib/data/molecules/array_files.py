"""Structures in files of named arrays: NumPy's .npz, and HDF5."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.cell import Cell

from geqlib.data.molecules.frame_text import CELLS
from geqlib.extras import extra_module
from geqlib.files.atomic import reading

NPZ, HDF5 = (".npz",), (".h5", ".hdf5")
# how these are called: MD17, MD22; revised MD17; ASE; SPICE; ANI; QM7-X
NUMBERS = ("z", "Z", "nuclear_charges", "numbers", "atomic_numbers", "species", "atNUM")
POSITIONS = ("R", "coords", "positions", "pos", "conformations", "coordinates", "atXYZ")
CELL_NAMES = (*CELLS, "cells", "lattice", "lattices", "boxes")  # in lower case, without _
PERIODIC = ("pbc", "periodic")
VECTORS, LENGTHS = ((3, 3), (9,)), ((3,), (6,))
# of structures, also where their entries are equal in number to the atoms
TENSORS = ("stress", "virial", "polarisab", "polarizab", "quadrupole")
MOMENTS = ("dipole",)
GRADIENT, FORCES = "gradient", "forces"

Arrays = Mapping[str, np.ndarray]


def array_structures(path: Path) -> Iterator[Atoms]:
    """The structures of a file; its other arrays are in their `info`, or `arrays` if per atom.

    A .npz file, or a group of an HDF5 file, holds conformations of one molecule, atomic numbers
    [N], or of several, [K, N], in which 0 fills up; and positions [K, N, 3] or [N, 3]. The files of
    MD17, revised MD17, MD22, SPICE and ANI do. Of NAME_gradient there is NAME_forces, too, its
    negative.

    With an array `cell`, `lattice` or `box`, [3, 3] or [K, 3, 3] of vectors in rows, structures
    repeat along all vectors that are not 0, or where `pbc`, one value, [3], [K] or [K, 3], says
    so. Three numbers are the lengths of the vectors, six these and the angles in degrees.

    All other arrays of numbers are labels, [K, ...] of structures or [K, N, ...] of atoms. Dipoles
    and tensors such as the stress are of structures, also where these have three atoms.

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
    return header[2].kind in "iufb"


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
                numeric = [name for name in names if group[name].dtype.kind in "iufb"]
                yield group.name, {name: group[name][()] for name in numeric}
        if not count:
            raise ValueError(
                f"no group has atomic numbers ({', '.join(NUMBERS)}) and positions "
                f"({', '.join(POSITIONS)})"
            )


def _conformations(arrays: Arrays) -> Iterator[Atoms]:
    z, pos, labels = _geometry(arrays)
    cells = _cells(arrays, len(pos))
    pbc = _periodic(arrays, cells, len(pos))
    for k in range(len(pos)):
        atoms = z[k] > 0
        info: dict[str, Any] = {}
        per_atom: dict[str, np.ndarray] = {}
        for name, values in labels.items():
            value = values[k]
            if value.shape[:1] == atoms.shape and not _is_of_structure(name, value.shape):
                per_atom[name] = value[atoms]
            else:
                info[name] = value.item() if value.size == 1 else value
        structure = Atoms(z[k][atoms], pos[k][atoms], cell=cells[k], pbc=pbc[k], info=info)
        for name, values in per_atom.items():
            structure.set_array(name, values)
        yield structure


def _is_of_structure(name: str, shape: tuple[int, ...]) -> bool:
    """Whether a label with an entry for each atom is one of the structure by name and shape."""
    lower = name.lower()
    tensor = any(part in lower for part in TENSORS) and shape in ((3, 3), (6,), (9,))
    return tensor or (any(part in lower for part in MOMENTS) and shape == (3,)) or shape == (1,)


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
        if name in (z_name, pos_name) or _simple(name) in (*CELL_NAMES, *PERIODIC):
            continue
        if values.shape[:1] == (count,):
            labels[name] = values
        elif count == 1:
            labels[name] = values[None]
    for name in [name for name in labels if name.endswith(GRADIENT)]:
        labels.setdefault(name.removesuffix(GRADIENT) + FORCES, -labels[name])
    return np.broadcast_to(z, (count, size)), pos, labels


def _cells(arrays: Arrays, count: int) -> np.ndarray:
    """[K, 3, 3] vectors in rows, zeros without a cell."""
    name = _only(arrays, CELL_NAMES, "cell")
    if name is None:
        return np.zeros((count, 3, 3))
    cells = np.asarray(arrays[name], dtype=np.float64)
    vectors = cells.shape == (3, 3) and (count != 3 or not (cells > 0).all())
    if vectors or cells.shape in ((9,), *LENGTHS):
        cells = np.broadcast_to(cells, (count, *cells.shape))
    elif cells.shape == (3, 3):
        raise ValueError(
            f"{name} is (3, 3) for three structures, one cell or the lengths of three: write it as "
            "[3, 3, 3]"
        )
    if cells.shape[:1] == (count,) and cells.shape[1:] in VECTORS:
        return cells.reshape(count, 3, 3)
    if cells.shape[:1] == (count,) and cells.shape[1:] in LENGTHS:
        return np.stack([Cell.new(cell).array for cell in cells])
    raise ValueError(
        f"{name} is {cells.shape}, which is no cell: write vectors in rows, [3, 3] or "
        f"[{count}, 3, 3], or give the array another name if it is none"
    )


def _periodic(arrays: Arrays, cells: np.ndarray, count: int) -> np.ndarray:
    """[K, 3] whether structures repeat along each vector."""
    name = _only(arrays, PERIODIC, "periodicity")
    if name is None:
        return np.asarray(cells.any(2))
    values = arrays[name]
    if not np.isin(values, (0, 1)).all():
        raise ValueError(f"{name} has other values than true and false, 1 and 0")
    if values.shape == (3,) and count == 3 and len(set(values.tolist())) > 1:
        raise ValueError(
            f"{name} is (3,) for three structures, of vectors or of structures: write it as [3, 3]"
        )
    if values.shape in ((count,), (count, 1)) and count > 1:
        values = values.reshape(count, 1)
    if values.shape not in ((), (1,), (1, 1), (3,), (count, 1), (count, 3)):
        raise ValueError(f"{name} is {values.shape}, not one value, [3], [{count}] or [{count}, 3]")
    return np.broadcast_to(values, (count, 3)).astype(bool)


def _only(arrays: Arrays, names: tuple[str, ...], what: str) -> str | None:
    """The one array that has a name of these, whatever its case."""
    present = [name for name in arrays if _simple(name) in names]
    if len(present) > 1:
        raise ValueError(f"its {what} is in {' and '.join(sorted(present))}: keep one")
    return present[0] if present else None


def _simple(name: str) -> str:
    return name.lower().replace("_", "")


def _named(arrays: Arrays, names: tuple[str, ...], what: str) -> tuple[str, np.ndarray]:
    present = [name for name in names if name in arrays]
    if len(present) != 1:
        raise ValueError(
            f"it has {', '.join(sorted(arrays)) or 'no arrays'}: {what} are called one of "
            f"{', '.join(names)}"
        )
    return present[0], arrays[present[0]]
