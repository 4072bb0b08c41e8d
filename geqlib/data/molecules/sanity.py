"""Is this a structure of atoms at all?"""

from __future__ import annotations

import numpy as np
from ase import Atoms
from scipy.spatial import KDTree

HEAVIEST = 118
SAME_PLACE = 1e-3
FLAT = 1e-6  # volume of a cell over that of a box with the same edges


def check_structure(z: np.ndarray, pos: np.ndarray, cell: np.ndarray, pbc: np.ndarray) -> None:
    """Raise a ValueError that says what is wrong with a structure, in angstrom.

    Looks for atoms that are no element or nowhere, cells without a volume, and two atoms closer
    than 1e-3 angstrom, images in neighbouring cells included.

    Args:
        z: [N] atomic numbers.
        pos: [N, 3].
        cell: [3, 3] vectors in rows.
        pbc: [3] whether the structure repeats along each of them.
    """
    _check_atoms(z, pos)
    _check_cell(cell, pbc)
    _check_distances(pos, cell, pbc)


def is_isolated(atoms: Atoms, cell: np.ndarray, distance: float) -> bool:
    """Whether this is one atom that says so, or has no image of itself within a distance.

    Args:
        atoms: marked by config_type=IsolatedAtom, or not.
        cell: [3, 3] its vectors, in the unit of the distance.
        distance: how far images must at least be away.
    """
    if len(atoms) != 1:
        return False
    if atoms.info.get("config_type") == "IsolatedAtom" or not atoms.pbc.any():
        return True
    heights = 1 / np.linalg.norm(np.linalg.pinv(cell[atoms.pbc]), axis=0)
    return bool((heights > distance).all())


def _check_atoms(z: np.ndarray, pos: np.ndarray) -> None:
    strange = np.flatnonzero((z < 1) | (z > HEAVIEST))
    if len(strange):
        raise ValueError(f"atom {strange[0]} has the atomic number {z[strange[0]]}.")
    lost = np.flatnonzero(~np.isfinite(pos).all(1))
    if len(lost):
        raise ValueError(f"the position of atom {lost[0]} is NaN or infinite.")


def _check_cell(cell: np.ndarray, pbc: np.ndarray) -> None:
    if not np.isfinite(cell).all():
        raise ValueError("its cell is NaN or infinite.")
    vectors = cell[pbc]
    edges = np.linalg.norm(vectors, axis=1).prod()
    volume = np.sqrt(max(np.linalg.det(vectors @ vectors.T), 0.0))
    if pbc.any() and not volume > FLAT * edges:
        raise ValueError(
            f"it repeats along {vectors.tolist()}, which span no volume: mend Lattice, or write "
            'pbc="F F F".'
        )


def _check_distances(pos: np.ndarray, cell: np.ndarray, pbc: np.ndarray) -> None:
    points, atom = pos, np.arange(len(pos))
    if pbc.any():
        points, atom = _with_images(pos, cell, pbc)
    pairs = KDTree(points).query_pairs(SAME_PLACE, output_type="ndarray")
    if len(pairs):
        first, second = sorted(atom[pairs[0]].tolist())
        raise ValueError(f"atoms {first} and {second} are at one place.")


def _with_images(
    pos: np.ndarray, cell: np.ndarray, pbc: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Atoms moved into the cell, and images of those at its walls; the atom of each point."""
    inverse = np.linalg.pinv(cell[pbc])
    turns = pos @ inverse
    points, atom = pos - np.floor(turns) @ cell[pbc], np.arange(len(pos))
    for column, vector in zip(inverse.T, cell[pbc], strict=True):
        wall = points @ column <= SAME_PLACE * np.linalg.norm(column)
        points = np.concatenate([points, points[wall] + vector])
        atom = np.concatenate([atom, atom[wall]])
    return points, atom
