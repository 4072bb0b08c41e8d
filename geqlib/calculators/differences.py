"""Derivatives of a calculator's energy by central differences, and how exact they are."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from ase import Atoms

from geqlib.calculators.subject import Array, Row, Subject

STEPS = (2e-2, 1e-2, 5e-3, 2.5e-3)  # each half of the one before, for `extrapolated`
RELATIVE = 1e-3  # of a component: derivatives of tables and splines agree with them to that
ABSOLUTE = 1e-4  # of the largest one: rounding in float32 where larger forces cancel
COARSE = 1e-2  # of the largest one: wrong forces that were shipped were off by 1 to 4 %
SHORTEST, DOUBLINGS = 1e-9, 30  # angstrom, up to about half of one


def central(energy: Callable[[int, float], float], count: int) -> Array:
    """[4, M] (E(s) - E(-s)) / 2s for each of the `STEPS` s.

    Args:
        energy: after a move, by its index, and a step.
        count: of the moves, M.
    """
    return np.array(
        [[(energy(k, s) - energy(k, -s)) / (2 * s) for k in range(count)] for s in STEPS]
    )


def extrapolated(slopes: Array) -> Array:
    """[3, M] of neighbouring steps, without the error of second order in the step."""
    return (4 * slopes[1:] - slopes[:-1]) / 3


def uncertainty(subject: Subject, atoms: Atoms) -> float:
    """How far an energy may be from the exact one by rounding, in eV.

    Atoms are moved in a random direction, twice as far each time, until the energy changes. One
    that is rounded to float32, or to the digits of an output file, changes first by the unit that
    it is rounded to; others change at once, by next to nothing. If it never does, the unit is that
    of its type. The last rounding errs by half of it, and those of a sum over N atoms add up at
    random to sqrt(N) halves.
    """
    direction = subject.random().normal(size=atoms.positions.shape)
    direction /= np.linalg.norm(direction)
    energy = subject.energy(atoms)
    double, single = np.float64(energy), np.float32(energy)
    unit = float(np.spacing(np.abs(single if single == double else double)))
    for step in SHORTEST * 2.0 ** np.arange(DOUBLINGS):
        change = abs(subject.energy(moved(atoms, step * direction)) - energy)
        if not change <= 8 * np.spacing(abs(double)):  # NaN, too
            unit = change
            break
    return unit / 2 * (1 + len(atoms) ** 0.5)


def judged(
    name: str, slopes: Array, expected: Array, sizes: Array, largest: float, error: float
) -> Row:
    """Derivatives that a calculator reports against those of its energy, at the best step.

    Each has a tolerance of its own: `RELATIVE` of its size, `ABSOLUTE` of the largest, and what
    rounded energies make of differences. Of a slope over the step s that is error / s; of
    `extrapolated` ones (4 error / s + error / 2s) / 3.

    Args:
        name: of the check.
        slopes: [4, M] of `central`.
        expected: [M], as reported.
        sizes: [M] of what was summed to each.
        largest: of all derivatives; the row's error and tolerance are relative to it.
        error: `uncertainty` of an energy.

    Returns:
        The derivative with the largest error over its tolerance. Where energies are so rounded that
        the tolerance says little, and the error is within it, nothing was tested.
    """
    errors = np.abs(extrapolated(slopes) - expected)
    best = int(errors.max(1).argmin())
    rounding = 1.5 * error / STEPS[best + 1]
    tolerances = RELATIVE * sizes + ABSOLUTE * largest + rounding
    k = int((errors[best] / tolerances).argmax())
    relative, allowed = float(errors[best, k]) / largest, float(tolerances[k]) / largest
    if rounding > COARSE * largest and relative <= allowed:
        reason = (
            f"energies are rounded to some {error:.0e} eV, which is {rounding / largest:.0%} of "
            "the largest after division by the step: calculate in float64, or smaller structures"
        )
        return Row(name, None, None, reason, tested=False)
    reason = f"{RELATIVE:.1%} of each component and {ABSOLUTE:.2%} of the largest"
    if rounding > ABSOLUTE * largest:
        reason += f", and energies rounded to some {error:.0e} eV"
    return Row(name, relative, allowed, reason)


def moved(atoms: Atoms, displacement: Array) -> Atoms:
    """A copy, its atoms displaced by [N, 3]."""
    copy = atoms.copy()
    copy.positions += displacement
    return copy
