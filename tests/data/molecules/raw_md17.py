"""A made-up simulation of four atoms in the raw layouts of MD17."""

from __future__ import annotations

from pathlib import Path

import numpy as np

Z = np.array([6, 8, 1, 1], dtype=np.uint8)


def arrays(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions, energies and forces in kcal/mol."""
    rng = np.random.default_rng(seed)
    pos = 1.5 * rng.normal(size=(count, 4, 3))
    energy = -406_757.5 - 0.001 * np.arange(count)
    return pos, energy, rng.normal(size=(count, 4, 3))


def revised(path: Path, count: int = 430) -> None:
    """As in the archive of revised MD17."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pos, energy, forces = arrays(count)
    np.savez(
        path,
        nuclear_charges=Z,
        coords=pos,
        energies=energy,
        forces=forces,
        old_indices=np.arange(count),
    )


def original(path: Path, count: int = 430) -> None:
    """As on the pages of sGDML: energies in a column, and objects that would need pickle."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pos, energy, forces = arrays(count)
    names = np.array([{"theory": "PBE"}], dtype=object)
    np.savez(path, z=Z, R=pos, E=energy[:, None], F=forces, name=names)
