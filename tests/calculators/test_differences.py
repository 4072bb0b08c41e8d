"""Forces against differences of the energy: tolerances, rounding, large structures."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms

from geqlib.calculators.checks import (
    MOVED,
    displaced_at_random,
    displacements,
    forces,
    moved_atoms,
    stress,
)
from geqlib.calculators.differences import STEPS, central, extrapolated, judged, uncertainty
from geqlib.calculators.smoothness import cutoff_smoothness, stretched_bond
from geqlib.calculators.subject import Subject
from tests.calculators import wrong
from tests.calculators.test_checks import crystal


def cluster(last: str = "Ar") -> Atoms:
    """27 atoms, the last of an element of its own."""
    grid = np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), -1).reshape(-1, 3)
    return displaced_at_random(Atoms(["Ar"] * 26 + [last], 2.0 * grid), 1)


def test_extrapolation_has_an_error_of_fourth_order() -> None:
    slopes = central(lambda k, s: np.sin((k + 1) * s), 2)
    assert slopes.shape == (len(STEPS), 2)
    assert np.abs(slopes[0] - [1, 2]).max() > 1e-4
    np.testing.assert_allclose(extrapolated(slopes), [[1, 2]] * 3, atol=3e-7)


def test_the_smallest_components_count() -> None:
    atoms = displaced_at_random(crystal(), 0)
    assert forces(Subject(wrong.Pairs(), atoms)).passed
    row = forces(Subject(wrong.SmallestForceOff(), atoms))
    assert row.passed is False and row.error < 1e-3, "of the largest force"


def test_every_element_is_displaced() -> None:
    atoms = cluster("H")
    assert forces(Subject(wrong.Pairs(), atoms)).passed
    assert forces(Subject(wrong.OneElementOff(), atoms)).passed is False
    many = Atoms(range(1, 41), np.zeros((40, 3)))
    assert len(set(moved_atoms(Subject(wrong.Pairs(), many)))) == 40


def test_random_directions_see_every_atom() -> None:
    subject = Subject(wrong.OneAtomOff(), cluster())
    assert 0 not in moved_atoms(subject)
    assert forces(subject).passed is False
    moves = displacements(subject)
    assert len(moves) > 3 * MOVED
    np.testing.assert_allclose(np.linalg.norm(moves, axis=(1, 2)), 1)


@pytest.mark.parametrize("offset", [0.0, -0.5])
def test_right_forces_of_energies_in_float32_pass(offset: float) -> None:
    """-0.5 eV are rounded to 6e-8 eV, which steps of 0.01 make 6e-6 eV/angstrom."""
    subject = Subject(wrong.Rounded(offset), displaced_at_random(crystal(), 0), 3.2)
    for check in (forces, stress, stretched_bond, cutoff_smoothness):
        assert check(subject).passed, check.__name__
    off = Subject(wrong.RoundedForcesOff(offset), subject.atoms)
    assert forces(off).passed is False


def test_energies_that_are_too_coarse_test_nothing() -> None:
    """-20 eV are rounded to 2e-6 eV, which is much where the largest force is 0.004 eV/angstrom."""
    subject = Subject(wrong.Rounded(-20.0), displaced_at_random(crystal(), 0), 3.2)
    for check in (forces, stress):
        row = check(subject)
        assert row.passed is None and not row.tested and "energies are rounded" in row.reason
    for check in (stretched_bond, cutoff_smoothness):
        assert check(subject).passed, check.__name__
    gradients = Subject(wrong.RoundedForcesSign(-20.0), subject.atoms)
    assert forces(gradients).passed is False, "a wrong sign is seen all the same"
    flat = Subject(wrong.Rounded(-2e4), subject.atoms, 3.2)
    assert not forces(flat).tested and stretched_bond(flat).passed


def test_the_unit_that_energies_are_rounded_to() -> None:
    atoms = displaced_at_random(crystal(), 0)
    halves = (1 + 4**0.5) / 2
    unit = float(np.spacing(np.float32(2e4)))
    assert unit <= uncertainty(Subject(wrong.Rounded(-2e4), atoms), atoms) / halves <= 3 * unit
    assert uncertainty(Subject(wrong.Pairs(), atoms), atoms) < 1e-8


def test_numbers_that_are_none_are_wrong() -> None:
    slopes, expected = np.ones((4, 2)), np.array([1.0, np.nan])
    assert judged("a", slopes, expected, np.ones(2), 1.0, 0.0).passed is False
    assert judged("a", slopes, np.ones(2), np.ones(2), 1.0, 0.0).passed
