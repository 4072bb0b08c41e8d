"""Small extended XYZ files in place of those that a configuration names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from ase.units import Bohr


def write_files(data: dict[str, Any], folder: Path) -> None:
    """Files of the `init_args` of a `MoleculeData`, below a folder."""
    rng = np.random.default_rng(0)
    alone = [_labelled(Atoms(symbol), -1.0) for symbol in "HCNO"]
    for key in ("train", "test"):
        names = [data[key]] if isinstance(data.get(key), str) else []
        for name in names:
            frames = [_shaken(rng, data) for _ in range(12)]
            inside = key == "train" and data.get("isolated_atoms") == "references"
            _write(folder / name, frames + (alone if inside else []))
    if "reference_file" in data:
        _write(folder / data["reference_file"], alone)


def _shaken(rng: np.random.Generator, data: dict[str, Any]) -> Atoms:
    if data.get("dipole_key"):
        return _water(rng, data)
    atoms = molecule("CH3CHO")
    atoms.rattle(0.05, rng=rng)
    for key in ("stress_key", "virial_key"):
        if key in data:
            atoms.cell, atoms.pbc = (6.0, 6.5, 7.0), True
            noise = rng.normal(scale=0.01, size=(3, 3))
            atoms.info[data[key]] = noise + noise.T
    return _labelled(atoms, -10.0 + rng.normal(), rng.normal(size=(len(atoms), 3)))


def _water(rng: np.random.Generator, data: dict[str, Any]) -> Atoms:
    """With all labels under their keys, and a pbc that means nothing."""
    atoms = molecule("H2O")
    atoms.rattle(0.05, rng=rng)
    atoms.pbc = True
    atoms.info[data["dipole_key"]] = rng.normal(size=3)
    noise = rng.normal(size=(3, 3))
    atoms.info[data["polarisability_key"]] = (noise + noise.T).ravel()
    atoms.info["energy"] = rng.normal()
    return atoms


def _labelled(atoms: Atoms, energy: float, forces: np.ndarray | None = None) -> Atoms:
    forces = np.zeros((len(atoms), 3)) if forces is None else forces
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
    return atoms


def _write(path: Path, frames: list[Atoms]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in (".npz", ".hdf5"):
        _write_arrays(path, frames)
        return
    write(path, frames, format="extxyz")


def _write_arrays(path: Path, frames: list[Atoms]) -> None:
    """In the layouts of MD22 and of SPICE."""
    z, pos = frames[0].numbers, np.stack([atoms.positions for atoms in frames])
    energy = np.array([atoms.get_potential_energy() for atoms in frames])
    forces = np.stack([atoms.get_forces() for atoms in frames])
    if path.suffix == ".npz":
        np.savez(path, z=z, R=pos, E=energy[:, None], F=forces, name="own")
        return
    import h5py

    with h5py.File(path, "w") as file:
        group = file.create_group("own")
        group["atomic_numbers"], group["conformations"] = z, pos / Bohr
        group["dft_total_energy"], group["dft_total_gradient"] = energy, -forces
        group["smiles"] = [b"CC=O"]
