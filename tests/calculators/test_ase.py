"""The ASE calculator: the potential's numbers, exact neighbours, conserved energy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.md.velocitydistribution import thermalize_momenta
from ase.md.verlet import VelocityVerlet
from ase.units import fs
from ase.vibrations import Vibrations, VibrationsData

from geqlib.calculators import GeqCalculator
from geqlib.graph import neighbor_list
from geqlib.graph.neighbors import SkinNeighbors
from geqlib.models import PONITA, CalibratedPotential, Potential, energy_forces
from tests.atoms.atoms import CUTOFF, fields, pairs, ponita, system


def atoms(nodes: int = 5, *, periodic: bool, seed: int = 0) -> Atoms:
    pos, z, cell = system(nodes, periodic=periodic, seed=seed)
    return Atoms(z.numpy(), pos.numpy(), cell=cell.numpy(), pbc=periodic)


@pytest.mark.parametrize("periodic", [False, True])
def test_equals_the_potential(periodic):
    potential = ponita(zbl=True)
    inputs = atoms(periodic=periodic)
    inputs.calc = GeqCalculator(potential)
    pos, z, cell = system(5, periodic=periodic)
    expected = energy_forces(potential, **fields(pos, z, cell[None]), stress=True)
    # sums over edges in one order: nothing but the rounding of cell_shift @ cell can differ
    np.testing.assert_allclose(inputs.get_potential_energy(), expected["energy"].item(), rtol=1e-12)
    assert inputs.calc.get_property("free_energy") == inputs.get_potential_energy()
    np.testing.assert_allclose(inputs.get_potential_energies(), expected["energies"], rtol=1e-12)
    scale = expected["forces"].abs().max()
    np.testing.assert_allclose(inputs.get_forces(), expected["forces"], atol=1e-12 * scale)
    if periodic:
        got, matrix = inputs.get_stress(voigt=False), expected["stress"][0]
        np.testing.assert_allclose(got, matrix, atol=1e-12 * matrix.abs().max())
    else:
        with pytest.raises(PropertyNotImplementedError):
            inputs.get_stress()


@pytest.mark.parametrize("periodic", [False, True])
def test_forces_and_stress_are_derivatives(periodic):
    inputs = atoms(4, periodic=periodic)
    inputs.calc = GeqCalculator(ponita(torch.float32, layers=1), dtype=torch.float64)
    forces = inputs.get_forces()
    # central differences err by eps^2 and a third derivative, and by rounding / eps
    numeric = calculate_numerical_forces(inputs, 1e-4)
    np.testing.assert_allclose(forces, numeric, atol=1e-6 * np.abs(forces).max())
    if periodic:
        stress = inputs.get_stress()
        numeric = calculate_numerical_stress(inputs, 1e-4)
        np.testing.assert_allclose(stress, numeric, atol=1e-5 * np.abs(stress).max())


def test_a_surface_repeats_in_two_directions():
    inputs = atoms(4, periodic=True)
    inputs.pbc = (True, True, False)
    inputs.calc = GeqCalculator(pairs())
    twice = inputs.repeat((2, 1, 1))
    twice.calc = GeqCalculator(pairs())
    assert twice.get_potential_energy() == pytest.approx(2 * inputs.get_potential_energy(), 1e-12)
    doubled = inputs.repeat((1, 1, 2))
    doubled.calc = GeqCalculator(pairs())
    assert abs(doubled.get_potential_energy() - 2 * inputs.get_potential_energy()) > 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("periodic", [False, True])
def test_dynamics_conserves_energy(periodic):
    """Verlet's energy oscillates by O(step^2) and does not drift."""
    inputs = atoms(6, periodic=periodic)
    inputs.calc = GeqCalculator(pairs(), skin=0.4)
    thermalize_momenta(inputs, 300, rng=np.random.default_rng(0))
    kinetic, errors = inputs.get_kinetic_energy(), []
    for step in (0.5, 0.25):
        moving = inputs.copy()
        moving.calc = GeqCalculator(pairs(), skin=0.4)
        before = moving.get_total_energy()
        VelocityVerlet(moving, step * fs).run(round(100 / step))
        errors.append(abs(moving.get_total_energy() - before))
        assert np.abs(moving.positions - inputs.positions).max() > 0.2
        assert moving.calc.near.searches < 100 / step / 2
    assert errors[1] < max(0.5 * errors[0], 1e-6 * kinetic)
    assert errors[0] < 1e-2 * kinetic


@pytest.mark.parametrize("periodic", [False, True])
def test_a_skin_changes_nothing(periodic):
    rng, near, moving = (
        np.random.default_rng(0),
        SkinNeighbors(CUTOFF, skin=0.6),
        atoms(6, periodic=periodic),
    )
    cell, pbc = torch.tensor(moving.cell.array), torch.tensor(moving.pbc)
    for _ in range(30):
        moving.positions += rng.normal(scale=0.04, size=(6, 3))
        pos = torch.tensor(moving.positions)
        got, expected = near(pos, cell, pbc), neighbor_list(pos, CUTOFF, cell=cell[None])
        for name in ("edge_index", "cell_shift", "reverse"):
            assert torch.equal(getattr(got, name), getattr(expected, name)), name
    assert 1 < near.searches < 20
    before = near.searches
    assert torch.equal(
        near(pos, 1.1 * cell, pbc).edge_index,
        neighbor_list(pos, CUTOFF, cell=1.1 * cell[None]).edge_index,
    )
    assert near.searches == before + periodic


def test_a_skin_sees_other_atoms_and_numbers_that_are_none():
    inputs = atoms(5, periodic=False)
    inputs.calc = GeqCalculator(pairs())
    inputs.get_forces()
    fewer = inputs[:3]
    fewer.calc = inputs.calc
    alone = inputs[:3]
    alone.calc = GeqCalculator(pairs())
    assert fewer.get_potential_energy() == alone.get_potential_energy()
    fewer.positions[0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        fewer.get_forces()


def test_without_a_cutoff_all_pairs_of_molecules():
    torch.manual_seed(0)
    potential = Potential(PONITA(4, 0, 1, 0, channels=8, layers=1)).double()
    inputs = atoms(4, periodic=False)
    inputs.positions *= 10
    inputs.calc = GeqCalculator(potential)
    everything = neighbor_list(torch.tensor(inputs.positions), 1e3)
    z = torch.tensor(inputs.numbers)
    expected = energy_forces(potential, torch.tensor(inputs.positions), z, everything.edge_index)
    np.testing.assert_allclose(inputs.get_forces(), expected["forces"], rtol=1e-9, atol=1e-12)
    crystal = atoms(4, periodic=True)
    crystal.calc = GeqCalculator(potential)
    with pytest.raises(ValueError, match="no cutoff"):
        crystal.get_forces()
    crystal.calc = GeqCalculator(potential, cutoff=2.0)
    assert np.isfinite(crystal.get_stress()).all()


def test_a_single_atom():
    one = Atoms("O")
    one.calc = GeqCalculator(ponita())
    assert np.abs(one.get_forces()).max() == 0 and np.isfinite(one.get_potential_energy())


def test_the_model_given_stays_as_it_is():
    potential = pairs(torch.float32)
    calculator = GeqCalculator(potential, dtype=torch.float64)
    inputs = atoms(3, periodic=False)
    inputs.calc = calculator
    inputs.get_forces()
    assert all(p.dtype == torch.float32 and p.requires_grad for p in potential.parameters())
    assert calculator.dtype == torch.float64


def test_elements_and_models_it_does_not_know():
    potential = pairs()
    seen = torch.zeros(119, dtype=torch.bool)
    seen[[1, 6]] = True
    potential.statistics.set(torch.zeros(119, dtype=torch.float64), seen, 1.0, 0.0)
    inputs = Atoms("CHO", np.eye(3))
    inputs.calc = GeqCalculator(potential)
    with pytest.raises(ValueError, match="atom 2 is O"):
        inputs.get_potential_energy()
    with pytest.raises(ValueError, match="not a potential"):
        GeqCalculator(PONITA(1, 0, 1, 0))
    with pytest.raises(ValueError, match="There is no checkpoint"):
        GeqCalculator("nowhere.ckpt")
    for options in ({"cutoff": -1.0}, {"skin": -1.0}, {"dtype": torch.float16}):
        with pytest.raises(ValueError, match="must"):
            GeqCalculator(potential, **options)


def test_an_average_over_rotations():
    inputs = atoms(4, periodic=False)
    potential = ponita(layers=1)
    inputs.calc = GeqCalculator(potential, rotations=2)
    actual = inputs.get_potential_energy()
    energies = []
    for turn in inputs.calc.potential.model.rotations.numpy():
        turned = inputs.copy()
        turned.positions = inputs.positions @ turn.T
        turned.calc = GeqCalculator(potential)
        energies.append(turned.get_potential_energy())
    assert actual == pytest.approx(np.mean(energies), abs=1e-12)
    assert energies[0] != pytest.approx(energies[1], abs=1e-9)
    with pytest.raises(ValueError, match="no grid of orientations"):
        GeqCalculator(pairs(), rotations=2)


@pytest.mark.parametrize("members", [None, 3])
def test_an_average_over_rotations_keeps_the_covariance(members):
    """Against features of the rotated structures, averaged."""
    torch.manual_seed(0)
    network = ponita(layers=1).model
    options = {"last": network.last_weights, "features": 8, "members": members}
    potential = CalibratedPotential(network, **options).double()
    potential.covariance.set(torch.randn(8, members or 8).double(), 0.5, 2.0)
    inputs = atoms(4, periodic=False)
    inputs.calc = GeqCalculator(potential, rotations=2)
    deviation = inputs.calc.get_property("energy_std", inputs)
    features = []
    for turn in inputs.calc.potential.model.rotations.numpy():
        pos = torch.tensor(inputs.positions @ turn.T)
        features.append(potential.features(**fields(pos, torch.tensor(inputs.numbers))))
    mean = (features[0] + features[1]) / 2
    expected = 0.5 * (mean @ potential.covariance.whitening).norm().item()
    assert deviation == pytest.approx(expected, rel=1e-9) and expected > 0
    assert inputs.calc.get_property("forces_std", inputs).shape == (4,)


def _differences(inputs: Atoms, step: float = 1e-4) -> np.ndarray:
    """The Hessian by central differences of the forces."""
    rows = []
    for k in range(3 * len(inputs)):
        ends = []
        for sign in (1, -1):
            moved = inputs.copy()
            moved.positions[k // 3, k % 3] += sign * step
            moved.calc = inputs.calc
            ends.append(moved.get_forces().ravel())
        rows.append((ends[1] - ends[0]) / (2 * step))
    return np.stack(rows)


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("build", [ponita, pairs])
def test_the_hessian_is_the_derivative_of_the_forces(build, periodic):
    inputs = atoms(4, periodic=periodic)
    inputs.calc = GeqCalculator(build())
    actual, expected = inputs.calc.get_hessian(inputs), _differences(inputs)
    assert actual.shape == (12, 12) and actual.dtype == np.float64
    np.testing.assert_allclose(actual, expected, atol=1e-6 * np.abs(expected).max())
    np.testing.assert_allclose(actual, actual.T, atol=1e-10 * np.abs(actual).max())
    # all atoms moved alike change no force
    assert np.abs(actual.reshape(12, 4, 3).sum(1)).max() < 1e-10 * np.abs(actual).max()


def test_vibrations_are_those_of_ase(tmp_path):
    """Frequencies, imaginary ones too, beside ASE's finite differences."""
    inputs = atoms(3, periodic=False)
    inputs.calc = GeqCalculator(pairs())
    ours = VibrationsData.from_2d(inputs, inputs.calc.get_hessian(inputs)).get_energies()
    vibrations = Vibrations(inputs, delta=1e-3, name=str(tmp_path / "modes"))
    vibrations.run()
    theirs = vibrations.get_vibrations().get_energies()
    scale = np.abs(ours**2).max()
    np.testing.assert_allclose(ours**2, theirs**2, atol=1e-4 * scale)


def test_a_hessian_without_a_structure_or_of_one_atom():
    calculator = GeqCalculator(ponita())
    with pytest.raises(ValueError, match="no structure"):
        calculator.get_hessian()
    one = Atoms("O")
    one.calc = calculator
    one.get_potential_energy()
    assert np.abs(calculator.get_hessian()).max() == 0
    assert calculator.get_hessian(atoms(3, periodic=False)).shape == (9, 9)
