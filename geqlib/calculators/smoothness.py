"""Whether energy and force of a pair of atoms are continuous functions of its distance."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np
from ase import Atoms

from geqlib.calculators.differences import uncertainty
from geqlib.calculators.subject import Array, CalculationError, Row, Subject

TOLERANCE = 1e-4  # of jumps, which are 0 but for rounding, float32 included
LARGEST_SCAN = 12.0
NARROW = 1e-7  # of an interval in which a continuous function does not change


def stretched_bond(subject: Subject) -> Row:
    """Energy and force of a pair are continuous, from a short bond to below the cutoff."""
    name = "smoothness along a stretched bond"
    pair = closest_pair(subject)
    if pair is None:
        return Row(name, None, None, "one atom has no bond")
    far = LARGEST_SCAN if subject.cutoff is None else 0.95 * subject.cutoff
    near = min(0.8 * pair.get_distance(0, 1), 0.5 * far)
    return scanned(name, subject, pair, near, far, f"between {near:.2f} and {far:.2f} A")


def cutoff_smoothness(subject: Subject) -> Row:
    """Energy and force of a pair are continuous where it leaves the cutoff."""
    name = "smoothness at the cutoff"
    pair = closest_pair(subject)
    if subject.cutoff is None or pair is None:
        reason = (
            "one atom has no pairs"
            if pair is None
            else ("no cutoff is known: the stretched bond goes through it")
        )
        return Row(name, None, None, reason)
    ends = 0.95 * subject.cutoff, 1.05 * subject.cutoff
    return scanned(name, subject, pair, *ends, f"at {subject.cutoff:.2f} A")


def closest_pair(subject: Subject) -> Atoms | None:
    """The closest two atoms, as a molecule along a direction of no symmetry.

    It keeps atoms.info, without which potentials that were trained with charges refuse it.
    """
    atoms = subject.atoms
    if len(atoms) < 2:
        atoms = atoms.repeat(tuple(1 + atoms.pbc.astype(int)))
    if len(atoms) < 2:
        return None
    distances = atoms.get_all_distances(mic=bool(atoms.pbc.any()))
    i, j = min(combinations(range(len(atoms)), 2), key=lambda pair: distances[pair])
    direction = np.array([0.48, 0.6, 0.64])
    pair = atoms[[i, j]]
    pair.set_cell(np.zeros((3, 3)))
    pair.pbc = False
    pair.positions = [np.zeros(3), distances[i, j] * direction]
    return pair


def scanned(name: str, subject: Subject, pair: Atoms, near: float, far: float, where: str) -> Row:
    """The row of a pair's distances from `near` to `far`; without an error if it is refused."""
    try:
        pair = supported(subject, pair, far)
    except CalculationError as refusal:
        return Row(name, None, None, f"a pair of atoms: {refusal}")
    try:
        error = largest_jump(subject, pair, near, far)
    except CalculationError as failure:
        return Row(name, None, None, f"a pair {where}: {failure}", tested=False)
    return Row(name, error, TOLERANCE, f"jumps {where}, relative to the largest force there")


def supported(subject: Subject, pair: Atoms, far: float) -> Atoms:
    """The pair in vacuum or, for calculators of crystals alone, in a cell.

    The cell is three times as large as the largest distance, so that images are twice as far away
    as that.

    Raises:
        CalculationError: if the calculator refuses both.
    """
    try:
        subject.both(pair)
        return pair
    except CalculationError as refusal:
        periodic = pair.copy()
        periodic.set_cell(3 * far * np.eye(3))
        periodic.pbc = True
        try:
            subject.both(periodic)
        except CalculationError:
            raise refusal from None
        return periodic


def largest_jump(subject: Subject, pair: Atoms, near: float, far: float) -> float:
    """The largest jump of the force, and of the energy, over a pair's distances.

    Intervals in which either changes unlike in neighbouring intervals are divided until a
    continuous function would not change any more. Energies may change by what they are rounded to.
    """
    direction = pair.positions[1] / np.linalg.norm(pair.positions[1])

    def at(distance: float) -> Array:
        moved = pair.copy()
        moved.positions[1] = distance * direction
        energy, forces = subject.both(moved)
        return np.array([forces[1] @ direction, energy])

    grid = np.linspace(near, far, 61)
    values = np.array([at(r) for r in grid])
    largest = max(pair_force(at, pair), float(np.abs(values[:, 0]).max()), 1e-3)
    jumps = []
    for quantity, rounding in ((0, 0.0), (1, 2 * uncertainty(subject, pair))):
        for k in suspects(np.diff(values[:, quantity])):
            jump = divided(at, grid[k], grid[k + 1], quantity)
            jumps.append(np.maximum(jump - rounding, 0.0))
    return float(np.max(jumps)) / largest


def pair_force(at: Callable[[float], Array], pair: Atoms) -> float:
    """The force at about the bond's length, which says how strong the pair is."""
    length = pair.get_distance(0, 1)
    return max(abs(at(factor * length)[0]) for factor in (0.9, 1.0, 1.1))


def suspects(changes: Array) -> set[int]:
    """The intervals whose change differs most from the mean of both neighbours."""
    before, after = changes[:-2], changes[2:]
    unlike = np.abs(changes[1:-1] - (before + after) / 2)
    curved = unlike / (np.abs(after - before) + 1e-3 * unlike.max() + 1e-12)
    return {int(k) + 1 for key in (unlike, curved) for k in np.argsort(key)[-2:]}


def divided(at: Callable[[float], Array], a: float, b: float, quantity: int) -> float:
    """The change in the eighth with the largest change, repeatedly, down to a tiny interval."""
    while True:
        points = np.linspace(a, b, 9)
        changes = np.diff([at(r)[quantity] for r in points])
        if b - a < 8 * NARROW or not np.isfinite(changes).all():
            return float(np.abs(changes).max())
        k = int(np.abs(changes - np.median(changes)).argmax())
        a, b = points[k], points[k + 1]
