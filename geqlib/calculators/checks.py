"""Whether a calculator obeys physics: one function for each check, which returns one row.

Forces are compared with differences of the energy, the stress with strained cells, and results
with those of the same structure rotated, renumbered, wrapped, repeated and calculated again.
Calculators need no more than ASE's interface.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

from geqlib.calculators.differences import STEPS, central, judged, moved, uncertainty
from geqlib.calculators.smoothness import cutoff_smoothness, stretched_bond
from geqlib.calculators.subject import Array, CalculationError, Check, Row, Subject

SAME = 1e-4  # of results that are equal but for rounding, float32 included
SLOPES = 1e-3  # of differences of forces
REPEATED = 1e-6
MOVED = 10  # atoms that are displaced one by one; of larger structures some of every element
DIRECTIONS = 4  # in which all atoms of larger structures are displaced together
RATTLE = 0.03
VANISHING = 1e-4  # eV/angstrom, below which forces and differences of the energy say nothing
EMPTY = "forces and differences of the energy vanish: give structures of several atoms"
COUNTED = ("charge", "multiplicity", "spin")  # of atoms.info, for the structure as a whole


def check_calculator(
    calculator: Calculator,
    structures: Sequence[Atoms],
    *,
    cutoff: float | None = None,
    approximate: str = "",
    seed: int = 0,
    progress: Callable[[Sequence[Any]], Iterable[Any]] = iter,
) -> list[Row]:
    """Run all checks on all structures; the worst row of each check.

    Args:
        calculator: any of ASE's.
        structures: a few small ones, periodic ones among them: see `displaced_at_random`.
        cutoff: as of `Subject`; by default what the calculator says of itself.
        approximate, seed: as of `Subject`.
        progress: around the structures, for a progress bar.

    Raises:
        ValueError: no structures, or one without atoms.

    Example:
        >>> from ase.build import bulk
        >>> from ase.calculators.emt import EMT
        >>> rows = check_calculator(EMT(), [bulk("Cu", cubic=True)])
        >>> all(row.passed is not False for row in rows)
        True
    """
    if not len(structures):
        raise ValueError("there are no structures to check on: give at least one.")
    cutoff = own_cutoff(calculator) if cutoff is None else cutoff
    results: dict[str, list[Row]] = {}
    for k, structure in progress(list(enumerate(structures))):
        if not len(structure):
            raise ValueError(f"structure {k} has no atoms: leave it out.")
        atoms = displaced_at_random(structure, seed + k)
        subject = Subject(calculator, atoms, cutoff, approximate, seed)
        for check in CHECKS:
            row = check(subject)
            results.setdefault(row.name, []).append(row)
    return [worst(rows) for rows in results.values()]


def displaced_at_random(structure: Atoms, seed: int) -> Atoms:
    """A copy out of equilibrium, so that forces are not zero by symmetry.

    Atoms are displaced by 0.03 angstrom. A cell of one atom is repeated first, because
    displacing all of its images together changes nothing.

    Args:
        structure: whose constraints are left out.
        seed: of the displacements.
    """
    atoms = structure.copy()
    atoms.set_constraint()
    if len(atoms) == 1:
        atoms = atoms.repeat(tuple(1 + atoms.pbc.astype(int)))
    atoms.rattle(RATTLE, seed=seed)
    return atoms


def worst(rows: Sequence[Row]) -> Row:
    """The row with the largest error over its tolerance; one that applies, if there is one."""

    def badness(row: Row) -> float:
        if row.error is None:
            return -2.0 if row.tested else -1.0
        value = row.error / (row.tolerance or 1.0)
        return np.inf if np.isnan(value) else value

    return max(rows, key=badness)


def own_cutoff(calculator: Calculator) -> float | None:
    """The cutoff that a calculator states as `cutoff` or `r_max`, or by its parameter `rc`."""
    parameters = getattr(calculator, "parameters", None) or {}
    values = [getattr(calculator, name, None) for name in ("cutoff", "r_max")]
    values += [parameters.get("rc"), 3 * parameters["sigma"] if "sigma" in parameters else None]
    for value in values:
        try:
            if value is not None and float(value) > 0:
                return float(value)
        except (TypeError, ValueError):
            continue
    return None


def forces(subject: Subject) -> Row:
    """Forces against central differences of the energy, over a decade of steps."""
    name = "forces against differences of the energy"
    moves, reported = displacements(subject), subject.forces(subject.atoms)

    def energy(k: int, step: float) -> float:
        return subject.energy(moved(subject.atoms, step * moves[k]))

    slopes, expected = -central(energy, len(moves)), np.einsum("mni,ni->m", moves, reported)
    if vanishing(expected, slopes):
        return Row(name, None, None, EMPTY, tested=False)
    sizes = np.linalg.norm((moves * reported).reshape(len(moves), -1), axis=1)
    error = uncertainty(subject, subject.atoms)
    return judged(name, slopes, expected, sizes, subject.scale(), error)


def force_jacobian(subject: Subject) -> Row:
    """Derivatives of the forces are symmetric, as those of an energy are."""
    name = "symmetry of the force Jacobian"
    coordinates = moved_coordinates(subject)[:12]

    def jacobian(step: float) -> Array:
        ends = [displaced(subject.atoms, c, step) for c in coordinates]
        pairs = [[subject.forces(x).ravel()[coordinates] for x in pair] for pair in ends]
        return np.array([(after - before) / (2 * step) for before, after in pairs])

    matrix = (4 * jacobian(5e-3) - jacobian(1e-2)) / 3  # without the error of second order
    if vanishing(matrix):
        return Row(name, None, None, EMPTY, tested=False)
    size = max(float(np.abs(matrix).max()), subject.scale())
    error = float(np.abs(matrix - matrix.T).max()) / size
    return Row(name, error, SLOPES, "errors of fourth-order differences")


def stress(subject: Subject) -> Row:
    """The stress against differences of the energy of strained cells, and its symmetry."""
    name = "stress against strain"
    if reason := no_stress(subject):
        return Row(name, None, None, reason)
    reported = subject.stress(subject.atoms).ravel() * subject.atoms.get_volume()
    rows, columns = np.tril_indices(3)

    def energy(k: int, step: float) -> float:
        strain = np.zeros((3, 3))
        strain[rows[k], columns[k]] += step / 2
        strain[columns[k], rows[k]] += step / 2
        return subject.energy(strained(subject.atoms, strain))

    one_triangle, slopes = central(energy, len(rows)), np.empty((len(STEPS), 3, 3))
    slopes[:, rows, columns] = slopes[:, columns, rows] = one_triangle
    error = uncertainty(subject, subject.atoms)
    sizes = np.abs(reported)
    return judged(name, slopes.reshape(-1, 9), reported, sizes, work(subject), error)


def no_stress(subject: Subject) -> str:
    """Why there is no stress; empty where there is one."""
    if not (subject.atoms.pbc.all() and subject.atoms.cell.rank == 3):
        return "not periodic in three directions"
    has = "stress" in subject.calculator.implemented_properties
    return "" if has else "the calculator has no stress"


def work(subject: Subject) -> float:
    """The largest stress times the volume in eV, to which errors of the stress are relative.

    At least that of forces of the largest size over a tenth of an angstrom, for structures whose
    stress nearly vanishes.
    """
    largest = float(np.abs(subject.stress(subject.atoms)).max()) * subject.atoms.get_volume()
    return max(largest, subject.scale() * len(subject.atoms) / 10)


def rotations(subject: Subject) -> Row:
    """Energies are invariant, and forces rotate with the structure and its cell."""
    generator, error = subject.random(), 0.0
    for _ in range(3):
        turn = random_rotation(generator)
        turned = subject.atoms.copy()
        turned.set_cell(turned.cell.array @ turn.T)
        turned.positions = turned.positions @ turn.T
        error = worse(error, difference(subject, turned, lambda f, turn=turn: f @ turn.T))
    if subject.approximate:
        return Row("rotations", error, None, subject.approximate)
    return Row("rotations", error, SAME, "equal but for rounding in float32")


def relabelling(subject: Subject) -> Row:
    """The order of the atoms does not matter."""
    order = subject.random().permutation(len(subject.atoms))
    error = difference(subject, subject.atoms[order], lambda f: f[order])
    order = np.arange(len(subject.atoms))[::-1]
    error = worse(error, difference(subject, subject.atoms[order], lambda f: f[order]))
    return Row("relabelling", error, SAME, "equal but for the order of sums in float32")


def periodic_images(subject: Subject) -> Row:
    """Moving atoms by cell vectors changes nothing."""
    name = "periodic images"
    if not subject.atoms.pbc.any():
        return Row(name, None, None, "not periodic")
    cells = subject.random().integers(-2, 3, (len(subject.atoms), 3)) * subject.atoms.pbc
    moved = subject.atoms.copy()
    moved.positions += cells @ moved.cell.array
    error = difference(subject, moved, lambda f: f)
    return Row(name, error, SAME, "equal but for rounding in float32")


def supercells(subject: Subject) -> Row:
    """Two cells have twice the energy, and the same forces."""
    name, atoms = "supercell extensivity", subject.atoms
    if not atoms.pbc.any():
        return Row(name, None, None, "not periodic")
    error = 0.0
    for axis in np.flatnonzero(atoms.pbc):
        twice = doubled(atoms, int(axis))
        try:
            change = difference(subject, twice, lambda f: np.tile(f, (2, 1)), times=2)
        except CalculationError as refusal:
            # a charge twice as large may be none that it was trained for
            charged = any(twice.info.get(key) != atoms.info.get(key) for key in COUNTED)
            return Row(name, None, None, f"two cells: {refusal}", tested=charged)
        error = worse(error, change)
    return Row(name, error, SAME, "equal but for the order of sums in float32")


def doubled(atoms: Atoms, axis: int) -> Atoms:
    """Two cells side by side, with twice the charge and twice the number of unpaired electrons.

    `Atoms.repeat` leaves atoms.info as it is, where charges and multiplicities 2S + 1 (also called
    spin) are those of the whole structure.
    """
    repeats = [1, 1, 1]
    repeats[axis] = 2
    twice = atoms.repeat(tuple(repeats))
    for key in COUNTED:
        value = atoms.info.get(key)
        if isinstance(value, int | float | np.number | np.ndarray):
            twice.info[key] = 2 * value - (key != "charge")
    return twice


def repeated_calls(subject: Subject) -> Row:
    """The same structure has the same result, also after another structure."""
    error = 0.0
    for _ in range(3):
        subject.energy(displaced(subject.atoms, 0, 0.1)[1])
        error = worse(error, difference(subject, subject.atoms, lambda f: f))
    reason = "nothing but the order of sums on a GPU may differ"
    return Row("repeated calls", error, REPEATED, reason)


CHECKS: tuple[Check, ...] = (
    forces,
    force_jacobian,
    stress,
    rotations,
    relabelling,
    periodic_images,
    supercells,
    cutoff_smoothness,
    stretched_bond,
    repeated_calls,
)


def difference(
    subject: Subject, other: Atoms, expected: Callable[[Array], Array], times: int = 1
) -> float:
    """How much energy and forces of another structure differ from those expected, relatively.

    Energies count in units of the largest force over one angstrom, and of a percent of their own
    size, to which they are rounded.
    """
    scale, (energy, own) = subject.scale(), subject.both(subject.atoms)
    moved_energy, moved = subject.both(other)
    change = abs(moved_energy - times * energy) / (times * (scale + 0.01 * abs(energy)))
    return worse(change, float(np.abs(moved - expected(own)).max()) / scale)


def vanishing(*arrays: Array) -> bool:
    """Whether all numbers are too small to be compared; NaN is not."""
    return all(bool((np.abs(array) < VANISHING).all()) for array in arrays)


def worse(one: float, other: float) -> float:
    """The larger error; NaN is larger than any."""
    return float(np.maximum(one, other))


def moved_atoms(subject: Subject) -> Array:
    """Indices of the atoms that are displaced one by one: of every element at least one."""
    order = subject.random().permutation(len(subject.atoms))
    first = np.unique(subject.atoms.numbers[order], return_index=True)[1]
    others = np.setdiff1d(np.arange(len(order)), first)
    return order[np.concatenate([first, others])[: max(MOVED, len(first))]]


def moved_coordinates(subject: Subject) -> Array:
    """Indices of their coordinates."""
    return (3 * moved_atoms(subject)[:, None] + np.arange(3)).ravel()


def displacements(subject: Subject) -> Array:
    """[M, N, 3] unit vectors: `moved_coordinates`, and random directions of all atoms.

    Where not every atom is displaced by itself, the random directions see those that are not. Their
    components are equal but for the sign, so that none is missed by chance.
    """
    number, coordinates = len(subject.atoms), moved_coordinates(subject)
    single = np.eye(3 * number)[coordinates].reshape(-1, number, 3)
    if len(coordinates) == 3 * number:
        return single
    signs = subject.random().choice([-1.0, 1.0], (DIRECTIONS, number, 3))
    return np.concatenate([single, signs / (3 * number) ** 0.5])


def displaced(atoms: Atoms, coordinate: int, step: float) -> tuple[Atoms, Atoms]:
    """The structure with one coordinate a step lower, and a step higher."""
    ends = []
    for sign in (-1, 1):
        moved = atoms.copy()
        moved.positions[coordinate // 3, coordinate % 3] += sign * step
        ends.append(moved)
    return ends[0], ends[1]


def strained(atoms: Atoms, strain: Array) -> Atoms:
    moved = atoms.copy()
    moved.set_cell(moved.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    return moved


def random_rotation(generator: np.random.Generator) -> Array:
    q, r = np.linalg.qr(generator.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q * np.linalg.det(q)
