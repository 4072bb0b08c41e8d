"""Errors of energies and forces by element, by configuration type, and of the worst structures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from geqlib.report.predictions import Arrays
from geqlib.report.tables import NONE, Table, number

MILLI = 1000.0
WORST = 6


@dataclass(frozen=True)
class StructureErrors:
    """Errors of a test set, NaN where there is no label.

    Args:
        structures: [G] ASE's `Atoms`.
        energy: [G] predicted minus true energies per atom, in meV.
        forces: [N, 3] predicted minus true components, in meV/angstrom.
        batch: [N] number of the structure of each atom.
    """

    structures: Sequence[Any]
    energy: np.ndarray
    forces: np.ndarray
    batch: np.ndarray

    @property
    def force_rmse(self) -> np.ndarray:
        """[G] root mean square over the components of each structure."""
        square = np.square(self.forces).mean(1)
        count = len(self.structures)
        atoms = np.bincount(self.batch, minlength=count)
        with np.errstate(invalid="ignore"):
            return np.sqrt(np.bincount(self.batch, square, count) / atoms)

    @property
    def worst(self) -> list[int]:
        """Indices of the structures with the largest errors, of forces, else of energies."""
        forces = self.force_rmse
        measure = np.abs(self.energy) if np.isnan(forces).all() else forces
        order = np.argsort(-np.where(np.isfinite(measure), measure, -np.inf), kind="stable")
        return [int(k) for k in order[:WORST] if np.isfinite(measure[k])]


def structure_errors(arrays: Arrays, structures: Sequence[Any]) -> StructureErrors:
    """Errors of predictions; infinite ones are NaN, as if there were no label."""
    batch = arrays["batch"]
    atoms = np.bincount(batch, minlength=len(structures))
    energy = MILLI * _difference(arrays, "energy", atoms.shape) / atoms
    return StructureErrors(
        structures, energy, MILLI * _difference(arrays, "forces", (len(batch), 3)), batch
    )


def _difference(arrays: Arrays, name: str, shape: tuple[int, ...]) -> np.ndarray:
    if not {name, f"{name}_true"} <= arrays.keys():
        return np.full(shape, np.nan)
    difference = arrays[name].astype(float) - arrays[f"{name}_true"]
    return np.where(np.isfinite(difference), difference, np.nan)


def errors_by_element(errors: StructureErrors) -> Table | None:
    """A row for each element: its atoms, and errors of the forces on them."""
    symbols = np.array([s for atoms in errors.structures for s in atoms.get_chemical_symbols()])
    labelled = ~np.isnan(errors.forces).any(1)
    rows = []
    for element in np.unique(symbols[labelled]):
        own = errors.forces[labelled & (symbols == element)]
        largest = np.linalg.norm(own, axis=1).max()
        rows.append((element, str(len(own)), *_measures(own), number(largest, 3)))
    header = ("element", "atoms", "force MAE", "force RMSE", "largest error")
    return Table(header, tuple(rows), ()) if rows else None


def errors_by_type(errors: StructureErrors) -> Table | None:
    """A row for each `config_type` of the data, if there are two or more."""
    types = np.array([_type(atoms) for atoms in errors.structures])
    if len(set(types)) < 2:
        return None
    rows = []
    for name in sorted(set(types)):
        own = types == name
        energies = errors.energy[own & ~np.isnan(errors.energy)]
        forces = errors.forces[own[errors.batch] & ~np.isnan(errors.forces).any(1)]
        rows.append((name, str(own.sum()), *_measures(energies), *_measures(forces)))
    header = ("type", "structures", "energy MAE", "energy RMSE", "force MAE", "force RMSE")
    return Table(header, tuple(rows), ())


def worst_structures(errors: StructureErrors) -> Table | None:
    """A row for each of the worst structures, the worst first."""
    rows = []
    for k in errors.worst:
        atoms = errors.structures[k]
        rows.append(
            (
                _frame(atoms, k),
                atoms.get_chemical_formula(),
                _type(atoms),
                _shown(errors.energy[k]),
                _shown(errors.force_rmse[k]),
                *_worst_atom(errors, k),
            )
        )
    if not rows:
        return None
    header = ("frame", "formula", "type", "energy", "force RMSE", "largest", "at atom")
    named = any(row[2] != NONE for row in rows)
    columns = [k for k in range(len(header)) if named or header[k] != "type"]
    pick = [tuple(row[k] for k in columns) for row in (header, *rows)]
    return Table(pick[0], tuple(pick[1:]), ())


def worst_atom(errors: StructureErrors, k: int) -> tuple[int, float] | None:
    """The atom of a structure with the largest error of its force, and that error."""
    lengths = np.linalg.norm(errors.forces[errors.batch == k], axis=1)
    if not np.isfinite(lengths).any():
        return None
    atom = int(np.nanargmax(lengths))
    return atom, float(lengths[atom])


def title(errors: StructureErrors, k: int) -> str:
    """What identifies a structure: its frame and its formula."""
    atoms = errors.structures[k]
    return f"frame {_frame(atoms, k)}, {atoms.get_chemical_formula()}"


def _worst_atom(errors: StructureErrors, k: int) -> tuple[str, str]:
    worst = worst_atom(errors, k)
    if worst is None:
        return NONE, NONE
    atom, error = worst
    return number(error, 3), f"{errors.structures[k].get_chemical_symbols()[atom]} {atom}"


def _frame(atoms: Any, k: int) -> str:
    """The number in the file, or in the test set if it is not recorded."""
    return str(atoms.info.get("index", k))


def _type(atoms: Any) -> str:
    return str(atoms.info.get("config_type", NONE))


def _measures(values: np.ndarray) -> tuple[str, str]:
    """MAE and RMSE."""
    if not values.size:
        return NONE, NONE
    return number(np.abs(values).mean(), 3), number(np.sqrt(np.square(values).mean()), 3)


def _shown(value: float) -> str:
    return NONE if np.isnan(value) else number(value, 3)
