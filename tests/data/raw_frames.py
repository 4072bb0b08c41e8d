"""Small extended XYZ files in place of those that a configuration names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write


def write_files(data: dict[str, Any], folder: Path) -> None:
    """Files of the `init_args` of a `MoleculeData`, below a folder."""
    rng = np.random.default_rng(0)
    for key in ("train", "test"):
        names = [data[key]] if isinstance(data.get(key), str) else []
        for name in names:
            _write(folder / name, [_shaken(rng) for _ in range(12)])
    if "reference_file" in data:
        _write(folder / data["reference_file"], [_labelled(Atoms(s), -1.0) for s in "HCNO"])


def _shaken(rng: np.random.Generator) -> Atoms:
    atoms = molecule("CH3CHO")
    atoms.rattle(0.05, rng=rng)
    return _labelled(atoms, -10.0 + rng.normal(), rng.normal(size=(len(atoms), 3)))


def _labelled(atoms: Atoms, energy: float, forces: np.ndarray | None = None) -> Atoms:
    forces = np.zeros((len(atoms), 3)) if forces is None else forces
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
    return atoms


def _write(path: Path, frames: list[Atoms]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, frames, format="extxyz")
