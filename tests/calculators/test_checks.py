"""The checks pass right calculators, and find each mistake where it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.calculators.mixing import SumCalculator

from geqlib.calculators.checks import check_calculator, doubled, own_cutoff, worst
from geqlib.calculators.model_checks import GRID, check_potential
from geqlib.calculators.subject import Row
from geqlib.models import PONITA, GauntNet, Potential
from tests.calculators import wrong

COPPER = bulk("Cu", cubic=True)


def failed(rows: list[Row]) -> set[str]:
    return {row.name for row in rows if row.passed is False}


def result(rows: list[Row], name: str) -> Row:
    return next(row for row in rows if row.name == name)


def crystal() -> Atoms:
    """Four atoms in a cell that the cutoff of `wrong` does not fit into, of no symmetry."""
    cell = [[4.1, 0.2, 0], [0, 3.8, 0.3], [0.1, 0, 4.3]]
    atoms = Atoms("Ar4", cell=cell, pbc=True)
    atoms.set_scaled_positions(
        [[0, 0, 0], [0.4, 0.43, 0.1], [0.45, 0.05, 0.42], [0.07, 0.42, 0.55]]
    )
    return atoms


@pytest.mark.slow
def test_emt_passes() -> None:
    rows = check_calculator(EMT(), [COPPER, molecule("H2O")])
    assert not failed(rows) and len(rows) == 10
    unknown = result(rows, "smoothness at the cutoff")
    assert unknown.passed is None and "no cutoff is known" in unknown.reason


@pytest.mark.slow
def test_lennard_jones_fails_only_where_it_truncates() -> None:
    hard = check_calculator(LennardJones(sigma=2.3, epsilon=0.4), [COPPER])
    assert failed(hard) == {"smoothness at the cutoff"}
    smooth = LennardJones(sigma=2.3, epsilon=0.4, smooth=True)
    assert not failed(check_calculator(smooth, [COPPER]))


def test_a_right_calculator_passes_everything_that_applies() -> None:
    rows = check_calculator(wrong.Pairs(), [crystal()])
    assert not failed(rows) and all(row.passed for row in rows)
    alone = check_calculator(wrong.Pairs(), [Atoms("Ar3", [[0, 0, 0], [2, 0, 0], [0, 2.2, 1]])])
    assert not failed(alone)
    absent = {row.name: row.reason for row in alone if row.passed is None}
    assert set(absent) == {"stress against strain", "periodic images", "supercell extensivity"}
    assert all("not periodic" in reason for reason in absent.values())


@pytest.mark.parametrize(
    ("mistake", "names"),
    [
        (wrong.ForcesOff, {"forces against differences of the energy"}),
        (wrong.StressUnsymmetric, {"stress against strain"}),
        (wrong.StressSign, {"stress against strain"}),
        (wrong.StressShear, {"stress against strain"}),
        (wrong.NearestImage, {"supercell extensivity"}),
        (wrong.Unwrapped, {"periodic images"}),
        (wrong.Ordered, {"relabelling"}),
        (wrong.Truncated, {"smoothness at the cutoff"}),
        (wrong.Kinked, {"smoothness along a stretched bond"}),
        (wrong.Noisy, {"repeated calls"}),
        (wrong.Skewed, {"rotations"}),
    ],
)
def test_each_mistake_fails_its_check(mistake: Any, names: set[str]) -> None:
    assert failed(check_calculator(mistake(), [crystal()])) == names


def charged(charge: float) -> Atoms:
    atoms = crystal()
    atoms.info["charge"] = charge
    return atoms


def test_two_cells_have_twice_the_charge() -> None:
    names = {"supercell extensivity"}
    rows = check_calculator(wrong.Charged(), [charged(1)])
    assert not failed(rows) and all(row.passed for row in rows)
    assert failed(check_calculator(wrong.TotalChargeAlone(), [charged(1)])) == names
    twice = doubled(charged(2), 1)
    assert twice.info["charge"] == 4 and len(twice) == 8
    radical = Atoms(
        "Ar", cell=[3, 3, 3], info={"multiplicity": 2, "spin": np.array([3]), "name": "x"}
    )
    assert doubled(radical, 0).info == {"multiplicity": 3, "spin": 5, "name": "x"}


def test_charges_that_were_not_trained_are_not_asked_for() -> None:
    rows = check_calculator(wrong.SmallCharges(), [charged(1)])
    row = result(rows, "supercell extensivity")
    assert not failed(rows) and row.passed is None and row.tested and "no such charge" in row.reason


def test_calculators_of_crystals_alone() -> None:
    """Their pairs are in a large cell; where pairs are refused there, too, the rest is checked."""
    rows = check_calculator(wrong.CrystalsAlone(), [crystal()])
    assert not failed(rows) and all(row.passed for row in rows)
    rows = check_calculator(wrong.FourAtoms(), [crystal()])
    absent = {row.name: row for row in rows if row.passed is None}
    assert set(absent) == {"smoothness at the cutoff", "smoothness along a stretched bond"}
    assert all(row.tested and "layers of four atoms" in row.reason for row in absent.values())


def test_a_calculator_that_fails_for_a_stretched_pair_was_not_tested() -> None:
    row = result(check_calculator(wrong.Lonely(), [crystal()]), "smoothness at the cutoff")
    assert row.passed is None and not row.tested and "no edges" in row.reason


def test_sums_of_calculators_have_no_reset() -> None:
    right = check_calculator(SumCalculator([wrong.Pairs(), wrong.Pairs()]), [crystal()])
    assert not failed(right)
    off = SumCalculator([wrong.Pairs(), wrong.ForcesOff()])
    assert failed(check_calculator(off, [crystal()])) == {FORCES}


def test_one_wrong_component_is_seen() -> None:
    names = failed(check_calculator(wrong.OneForceOff(), [crystal()]))
    assert "forces against differences of the energy" in names


@pytest.mark.slow
def test_the_worst_structure_counts() -> None:
    """A mistake that shows on one of several structures."""
    pair = Atoms("Ar2", [[0, 0, 0], [2, 0, 0]])
    rows = check_calculator(wrong.NearestImage(), [pair, crystal(), pair])
    assert failed(rows) == {"supercell extensivity"}


def test_numbers_that_are_none_fail() -> None:
    class Nothing(wrong.Pairs):
        def sums(self, atoms: Atoms) -> dict[str, Any]:
            return {key: np.nan * x for key, x in super().sums(atoms).items()}

    rows = check_calculator(Nothing(), [Atoms("Ar2", [[0, 0, 0], [2, 0, 0]])])
    assert {"forces against differences of the energy", "rotations"} <= failed(rows)


def test_structures_there_must_be() -> None:
    for structures, said in (([], "no structures"), ([Atoms()], "structure 0 has no atoms")):
        with pytest.raises(ValueError, match=said):
            check_calculator(EMT(), structures)


def test_single_atoms_have_no_bonds() -> None:
    rows = check_calculator(wrong.Pairs(), [Atoms("Ar")])
    assert not failed(rows)
    assert result(rows, "smoothness along a stretched bond").passed is None


PRIMITIVE = Atoms("Ar", cell=[[0, 1.9, 1.9], [1.9, 0, 1.9], [1.9, 1.9, 0]], pbc=True)
FORCES = "forces against differences of the energy"
JACOBIAN = "symmetry of the force Jacobian"


@pytest.mark.slow
def test_cells_of_one_atom_are_tested() -> None:
    """By symmetry their forces vanish, and 2 % of nothing is nothing."""
    assert failed(check_calculator(wrong.ForcesOff(), [PRIMITIVE])) == {FORCES}
    right = check_calculator(wrong.Pairs(), [PRIMITIVE])
    assert not failed(right) and all(row.tested for row in right)
    chain = Atoms("Ar", cell=[1.5, 9, 9], pbc=[True, False, False])
    assert FORCES in failed(check_calculator(wrong.ForcesOff(), [chain]))


@pytest.mark.slow
def test_forces_that_vanish_are_not_tested() -> None:
    class Zero(wrong.Pairs):
        def sums(self, atoms: Atoms) -> dict[str, Any]:
            return {key: 0 * x for key, x in super().sums(atoms).items()}

    class NoForces(wrong.Pairs):
        def sums(self, atoms: Atoms) -> dict[str, Any]:
            results = super().sums(atoms)
            return results | {"forces": 0 * results["forces"]}

    pair = Atoms("Ar2", [[0, 0, 0], [2, 0, 0]])
    for calculator, atoms in ((wrong.ForcesOff(), Atoms("Ar")), (Zero(), pair)):
        rows = check_calculator(calculator, [atoms])
        for name in (FORCES, JACOBIAN):
            row = result(rows, name)
            assert row.passed is None and not row.tested and "vanish" in row.reason
    assert FORCES in failed(check_calculator(NoForces(), [pair]))
    both = check_calculator(wrong.Pairs(), [Atoms("Ar"), pair])
    assert all(row.tested for row in both), "another structure tests them"


def test_cutoffs_that_calculators_say() -> None:
    assert own_cutoff(wrong.Pairs()) == 3.2
    assert own_cutoff(LennardJones(sigma=2.0)) == 6.0
    assert own_cutoff(LennardJones(sigma=2.0, rc=5.0)) == 5.0
    assert own_cutoff(EMT()) is None


def test_rows_that_apply_come_first() -> None:
    absent, small, large = Row("a", None, None, ""), Row("a", 0.1, 1.0, ""), Row("a", 2.0, 1.0, "")
    assert worst([absent, small, large]) == large and worst([absent, small]) == small
    assert worst([absent, Row("a", float("nan"), 1.0, "")]).passed is False


@pytest.mark.slow
@pytest.mark.parametrize("name", ["GauntNet", "PONITA"])
def test_networks_pass(name: str) -> None:
    """Untrained, compiled and exported too; a grid's rotations are reported, not judged."""
    torch.manual_seed(0)
    net: Any = PONITA(4, 0, 1, 0, channels=4, basis=8, layers=1, cutoff=4.0)
    if name == "GauntNet":
        net = GauntNet(["Cu"], channels=2, degree=1, order=2, layers=1, cutoff=4.0)
    rows = check_potential(Potential(net), [COPPER], backend="aot_eager")
    assert not failed(rows)
    for row in ("float32 against float64", "compiled against eager", "exported against eager"):
        assert result(rows, row).passed
    turned = result(rows, "rotations")
    assert turned.passed is (None if name == "PONITA" else True)
    if name == "PONITA":
        assert turned.reason == GRID and turned.error is not None
