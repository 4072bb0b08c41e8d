"""Structures in other formats than extended XYZ: what ASE reads, arrays, and what to convert."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ase.db
from ase import Atoms
from ase.io import iread

from geqlib.data.molecules.array_files import HDF5, NPZ, array_structures

PACKED = (".gz", ".bz2", ".xz")  # which the reader of extended XYZ unpacks
DATABASES = (".db", ".json")
# of formats that hold structures and can hold no code
FORMATS = (*DATABASES, ".traj", ".cif", ".vasp", ".poscar", ".pdb", ".gen", ".res", ".xsf", ".cfg")
VASP = ("POSCAR", "CONTCAR", "XDATCAR", "OUTCAR", "vasprun.xml")
ARCHIVES = {".zip": "unzip", ".zst": "zstd -d", ".tar": "tar xf", ".tgz": "tar xf", ".7z": "7z x"}
ARRAYS = (".npy", ".lmdb", ".pt", ".pth", ".pkl", ".pickle", ".mat")


def needs_ase(path: Path) -> bool:
    """Whether a file is in another format than extended XYZ, compressed or not.

    Raises:
        ValueError: if neither reader can read it, with the command that converts it.
    """
    ending = path.suffix.lower()
    inner = Path(path.stem).suffix.lower() if ending in PACKED else ending
    if command := ARCHIVES.get(inner):
        raise ValueError(
            f"{path} is an archive: unpack it by `{command} {path}`, and name the file."
        )
    if inner in ARRAYS:
        raise ValueError(_conversion(path, inner))
    other = inner in (*FORMATS, *NPZ, *HDF5) or path.name.startswith(VASP)
    if other and ending in PACKED:
        raise ValueError(
            f"{path} is compressed, and only extended XYZ files may be: unpack it by "
            f"`{ {'.gz': 'gunzip', '.bz2': 'bunzip2', '.xz': 'unxz'}[ending] } {path}`."
        )
    return other


def check_size(path: Path) -> None:
    """Refuse a file of 0 bytes, which a program leaves that was stopped before it wrote anything.

    Raises:
        ValueError: naming the file.
    """
    if path.is_file() and not path.stat().st_size:
        raise ValueError(f"{path} is empty: expected structures.")


def ase_structures(path: Path) -> Iterator[Atoms]:
    """The structures of a file; values that a database keeps with them are in their `info`.

    Raises:
        ValueError: if it is empty, or ASE cannot read it, with the command that converts it.
    """
    check_size(path)
    if path.suffix.lower() in (*NPZ, *HDF5):
        yield from array_structures(path)
        return
    try:
        yield from _rows(path) if path.suffix.lower() in DATABASES else iread(path, index=":")
    except Exception as error:  # whatever its parsers stumble on
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{path} cannot be read by ASE ({type(error).__name__}: {reason}): correct it, or "
            f"convert it where it can be read, by `ase convert {path} {_name(path)}`."
        ) from error


def _rows(path: Path) -> Iterator[Atoms]:
    database: Any = ase.db.connect(path)
    with database:
        for row in database.select():
            atoms = row.toatoms(add_additional_information=True)
            for part in ("data", "key_value_pairs"):
                atoms.info |= atoms.info.pop(part, None) or {}
            yield atoms


def _conversion(path: Path, ending: str) -> str:
    if ending == ".npy":
        return (
            f"{path} holds one array: save all of them with their names, by "
            f"numpy.savez('{path.stem}.npz', z=numbers, R=positions, E=energies, F=forces)."
        )
    return (
        f"{path} is no file of structures that ASE reads: write its structures by "
        f"`ase.io.write({_name(path)!r}, frames)` with the program that reads it."
    )


def _name(path: Path) -> str:
    return f"{path.name.split('.')[0]}.extxyz"
