"""Relaxation of structures, one after another, which continues where it was stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.calculators.singlepoint import SinglePointCalculator
from ase.filters import FrechetCellFilter
from ase.io import read
from ase.io.extxyz import write_xyz
from ase.optimize import FIRE

from geqlib.calculators.made_with import check_record, structure_digest
from geqlib.files.atomic import replace_file

LIMIT, STEPS = 0.01, 500  # by default: of the largest force, in eV/angstrom, and of the optimiser
REST = 20  # times as long as writing the file took, it is not written again


class Relaxed(NamedTuple):
    """A structure after relaxation.

    Args:
        atoms: with energies and forces of the last step.
        steps: of the optimiser.
        force: the largest on an atom, in eV/angstrom; with a cell, also of the scaled stress.
        converged: whether it is below the limit.

    Example:
        >>> Relaxed(Atoms("H"), 0, 0.0, True).converged
        True
    """

    atoms: Atoms
    steps: int
    force: float
    converged: bool


def relax(
    atoms: Atoms,
    *,
    limit: float = LIMIT,
    steps: int = STEPS,
    cell: bool = False,
    pressure: float = 0.0,
) -> Relaxed:
    """Move atoms, and on request the cell, downhill (FIRE), in place.

    Args:
        atoms: with a calculator.
        limit: of the largest force, in eV/angstrom.
        steps: at most.
        cell: whether the cell changes, too.
        pressure: on the cell, in GPa.

    Raises:
        ValueError: if the cell shall change and has no volume, or a pressure has no cell to act on,
            or a limit is not positive.
    """
    _check_options(limit, steps, cell, pressure)
    check_cell(atoms, cell=cell)
    moved: Any = FrechetCellFilter(atoms, scalar_pressure=pressure * units.GPa) if cell else atoms
    silent: Any = None
    optimizer = FIRE(moved, logfile=silent)
    converged = bool(optimizer.run(fmax=limit, steps=steps))
    force = float(np.linalg.norm(moved.get_forces(), axis=1).max())
    return Relaxed(atoms, optimizer.nsteps, force, converged)


def _check_options(
    limit: float = LIMIT, steps: int = STEPS, cell: bool = False, pressure: float = 0.0
) -> None:
    if not (limit > 0 and steps > 0):
        raise ValueError(f"The limits of force and steps must be positive, got {limit}, {steps}.")
    if pressure and not cell:
        raise ValueError("A pressure acts on the cell: let it change, too (--cell).")


def check_cell(atoms: Atoms, *, cell: bool) -> None:
    """Refuse to relax a cell without three vectors, or one that nothing repeats along."""
    if cell and not (atoms.cell.rank == 3 and atoms.pbc.any()):
        raise ValueError(
            f"The cell of {atoms.get_chemical_formula()} cannot change: it is not periodic, or has "
            "less than three vectors; set its cell and pbc, or relax the positions alone."
        )


def relax_all(
    structures: Sequence[Atoms],
    calculator: Calculator,
    path: str | Path,
    *,
    made_with: Mapping[str, str] | None = None,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
    **options: Any,
) -> list[Relaxed]:
    """Relax structures into a file, which is written again and again.

    Structures that the file holds are not relaxed again, so that the same call continues where it
    was stopped; their results have 0 steps. The file is written after each structure as long as
    that takes little of the time, and whenever this ends but by force.

    Args:
        structures: to relax; they are copied.
        calculator: of all of them.
        path: of the extended XYZ.
        made_with: what else must be the same to continue, such as a digest of the model.
        progress: around the numbers of structures, for a progress bar.
        options: of `relax`.

    Raises:
        ValueError: see `relax`, with the number of the structure; if the file was made with other
            options or of other structures.
    """
    path = Path(path)
    _check_options(**options)
    for atoms in structures:
        check_cell(atoms, cell=bool(options.get("cell")))
    own = {name: str(value) for name, value in options.items()} | dict(made_with or {})
    check_record(path, own | {"structures": structure_digest(structures)})
    done = [_read_back(atoms) for atoms in _before(path, structures)]
    file = _GrowingFile(path, len(done))
    try:
        for number in progress(range(len(done), len(structures))):
            atoms = structures[number].copy()
            atoms.calc = calculator
            try:
                result = relax(atoms, **options)
            except ValueError as error:
                raise ValueError(f"Structure {number}: {error}") from error
            done.append(result._replace(atoms=_frozen(result)))
            file.offer(done)
    finally:
        file.write(done)
    return done


class _GrowingFile:
    """A file of all results so far, of which writing takes a small part of the time."""

    def __init__(self, path: Path, count: int) -> None:
        self.path, self.count = path, count
        self.next = 0.0

    def offer(self, done: Sequence[Relaxed]) -> None:
        """Write unless that was done a moment ago."""
        start = monotonic()
        if start >= self.next:
            self.write(done)
            self.next = monotonic() + REST * (monotonic() - start)

    def write(self, done: Sequence[Relaxed]) -> None:
        """Write results that the file has not."""
        if len(done) > self.count:
            replace_file(self.path, lambda part: _write(part, [each.atoms for each in done]))
            self.count = len(done)


def _before(path: Path, structures: Sequence[Atoms]) -> list[Atoms]:
    if not path.exists():
        return []
    try:
        if not path.read_bytes().endswith(b"\n"):
            raise ValueError("its last line is not whole")
        frames: Any = read(path, ":")
    except Exception as error:  # ASE's readers raise all kinds of errors
        raise ValueError(
            f"{path} is cut off, or holds no structures ({error}): delete it to relax all again, "
            "or name another file."
        ) from error
    if len(frames) > len(structures) or any("converged" not in a.info for a in frames):
        raise ValueError(f"{path} holds other structures than these, relaxed: name another file.")
    return frames


def _frozen(result: Relaxed) -> Atoms:
    """A copy with the results of the last step, and the entries that the file has for it."""
    atoms = result.atoms.copy()
    calculator: Any = result.atoms.calc
    results = calculator.results
    values = {key: results[key] for key in ("energy", "forces", "stress") if key in results}
    atoms.calc = SinglePointCalculator(atoms, **values)
    atoms.info |= {
        "relaxation_steps": result.steps,
        "largest_force": result.force,
        "converged": result.converged,
    }
    return atoms


def _read_back(atoms: Atoms) -> Relaxed:
    return Relaxed(atoms, 0, float(atoms.info["largest_force"]), bool(atoms.info["converged"]))


def _write(path: Path, frames: Sequence[Atoms]) -> None:
    with path.open("w") as file:
        write_xyz(file, frames)
