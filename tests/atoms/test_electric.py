"""Dipoles, Born charges and polarisabilities: derivatives, sum rules, symmetry, images."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from torch import Tensor
from torch.autograd.functional import jacobian

from geqlib.atoms.electric import born_charges, dipoles, symmetric_matrices
from geqlib.atoms.long_range import GaussianCharges
from geqlib.calculators import GeqCalculator
from geqlib.models import PONITA, GauntNet, Potential, energy_forces
from geqlib.symmetry.rotations import random_rotations
from geqlib.train import EnergyForces
from tests.atoms.atoms import CUTOFF, batch, fields, system

SMALL = {"channels": 2, "degree": 2, "order": 2, "layers": 2, "cutoff": CUTOFF}


def potential(*, polarisability: bool = True, **options: Any) -> Potential:
    torch.manual_seed(0)
    irreps = "3x0e+2e" if polarisability else "2x0e"
    network = GauntNet(["H", "C", "O"], **SMALL, irreps_out=irreps)
    charges = GaussianCharges(0.7)
    return Potential(network, long_range=charges, polarisability=polarisability, **options).double()


@pytest.fixture(scope="module")
def model() -> Potential:
    return potential()


def one(count: int = 4, *, periodic: bool = False) -> dict[str, Any]:
    pos, z, cell = system(count, periodic=periodic)
    return fields(pos, z, cell[None] if periodic else None)


def charges_at(model: Potential, inputs: dict[str, Any], pos: Tensor) -> Tensor:
    charges = model(**(inputs | {"pos": pos})).charges
    assert charges is not None
    return charges


# --- dipoles -------------------------------------------------------------------------------------


def test_dipoles_are_sums_over_charges(model: Potential) -> None:
    inputs = one()
    result = energy_forces(model, **inputs)
    q, pos = result["charges"], inputs["pos"]
    assert q.sum().abs() < 1e-9 < q.abs().max()
    torch.testing.assert_close(result["dipole"][0], q @ pos)
    moved = energy_forces(model, **(inputs | {"pos": pos + 3.0}))
    torch.testing.assert_close(moved["dipole"], result["dipole"])


def test_dipoles_of_ions_are_from_the_centre_of_the_nuclear_charges() -> None:
    pos = torch.tensor([[0.0, 0, 0], [0, 0, 3.0]], dtype=torch.float64)
    z, charges = torch.tensor([8, 1]), torch.tensor([0.0, 1.0], dtype=torch.float64)
    expected = 3.0 - 3.0 / 9
    for shift in (0.0, 5.0):
        moment = dipoles(charges, pos + shift, z)
        assert moment[0, 2].item() == pytest.approx(expected)


def test_a_batch_is_its_structures(model: Potential) -> None:
    sizes, repeats = (4, 3, 5), (True, False, True)
    whole = energy_forces(model, **batch(sizes, repeats), born=True, stress=True)
    parts = [
        energy_forces(model, **batch((n,), (p,)), born=True, stress=True)
        for n, p in zip(sizes, repeats, strict=True)
    ]
    for key in ("charges", "dipole", "born_charges", "polarisability", "stress"):
        joined = torch.cat([part[key] for part in parts])
        torch.testing.assert_close(whole[key], joined, rtol=1e-8, atol=1e-9)
    assert not whole["dipole"][[0, 2]].any() and whole["dipole"][1].any()


# --- Born charges --------------------------------------------------------------------------------


def test_born_charges_are_derivatives_of_the_dipole(model: Potential) -> None:
    inputs = one()
    born = energy_forces(model, **inputs, born=True)["born_charges"]
    step = 1e-4
    for atom in (0, 2):
        for axis in range(3):
            move = torch.zeros_like(inputs["pos"])
            move[atom, axis] = step
            up, down = (
                energy_forces(model, **(inputs | {"pos": inputs["pos"] + sign * move}))["dipole"]
                for sign in (1, -1)
            )
            numeric = (up - down)[0] / (2 * step)
            torch.testing.assert_close(born[atom, :, axis], numeric, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("periodic", [False, True])
def test_born_charges_are_those_of_the_formula(model: Potential, periodic: bool) -> None:
    """Slow and obvious, from the whole Jacobian of the charges."""
    inputs = one(periodic=periodic)
    pos = inputs["pos"]
    slopes: Any = jacobian(lambda x: charges_at(model, inputs, x), pos)  # [j, i, b]
    charges = charges_at(model, inputs, pos)
    cell = inputs["cell"][0] if periodic else None
    unit, expected = torch.eye(3, dtype=torch.float64), torch.zeros(4, 3, 3, dtype=torch.float64)
    for i in range(4):
        expected[i] = charges[i] * unit
        for j in range(4):
            way = pos[j] - pos[i]
            if cell is not None:
                waves = 2 * math.pi * torch.linalg.inv(cell).T
                way = torch.linalg.solve(waves, torch.sin(waves @ way))
            expected[i] += way[:, None] * slopes[j, i]
    born = energy_forces(model, **inputs, born=True)["born_charges"]
    torch.testing.assert_close(born, expected.detach(), rtol=1e-9, atol=1e-10)
    assert (born - born.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] * unit).any()


def test_born_charges_add_up_to_the_total_charge() -> None:
    model = potential(charge=True)
    for total in (0.0, 2.0):
        state = {"charge": torch.tensor([total], dtype=torch.float64)}
        born = energy_forces(model, **one(), **state, born=True)["born_charges"]
        unit = total * torch.eye(3, dtype=torch.float64)
        torch.testing.assert_close(born.sum(0), unit, rtol=0, atol=1e-9)


def test_images_and_large_cells(model: Potential) -> None:
    """Atoms moved by whole cells change nothing, and s(d) is d for a molecule in a large cell."""
    pos, z, cell = system(4, periodic=True)
    born = energy_forces(model, **fields(pos, z, cell[None]), born=True)["born_charges"]
    moved = pos + torch.tensor([[0, 0, 0], [1, 0, 0], [0, -2, 1], [0, 0, 0.0]]).double() @ cell
    other = energy_forces(model, **fields(moved, z, cell[None]), born=True)["born_charges"]
    torch.testing.assert_close(born, other, rtol=1e-8, atol=1e-9)
    molecule = charges_at(model, fields(pos, z), pos.requires_grad_())
    open_ = born_charges(molecule, pos)
    large = born_charges(molecule, pos, None, 1e4 * torch.eye(3, dtype=torch.float64)[None])
    torch.testing.assert_close(open_, large, rtol=0, atol=1e-5)


def test_they_turn_with_the_structure(model: Potential) -> None:
    for periodic in (False, True):
        inputs = one(periodic=periodic)
        turn = random_rotations(1, 3, dtype=torch.float64)[0]
        turned = inputs | {"pos": inputs["pos"] @ turn.T}
        if periodic:
            turned["cell"] = inputs["cell"] @ turn.T
        first, second = (energy_forces(model, **x, born=True) for x in (inputs, turned))
        torch.testing.assert_close(second["dipole"], first["dipole"] @ turn.T)
        for key in ("born_charges", "polarisability"):
            expected = turn @ first[key] @ turn.T
            torch.testing.assert_close(second[key], expected, rtol=1e-8, atol=1e-9)
        alpha = first["polarisability"]
        torch.testing.assert_close(alpha, alpha.mT)
        assert (alpha[0].diagonal() - alpha[0].trace() / 3).abs().max() > 1e-6


def test_matrices_of_irreps_keep_their_norm() -> None:
    x = torch.randn(5, 6, dtype=torch.float64)
    y = symmetric_matrices(x)
    torch.testing.assert_close(y.flatten(1).norm(dim=1), x.norm(dim=1))
    torch.testing.assert_close(y.diagonal(dim1=1, dim2=2).sum(1).abs(), x[:, 0].abs() * 3**0.5)


# --- around them ---------------------------------------------------------------------------------


def test_the_calculator_has_them(model: Potential) -> None:
    pos, z, cell = system(4, periodic=True)
    atoms = Atoms(z.numpy(), pos.numpy())
    atoms.calc = GeqCalculator(model)
    result = energy_forces(model, **fields(pos, z), born=True)
    np.testing.assert_allclose(atoms.get_dipole_moment(), result["dipole"][0].numpy())
    np.testing.assert_allclose(atoms.get_charges(), result["charges"].detach().numpy())
    born = atoms.calc.get_property("born_effective_charges", atoms)
    np.testing.assert_allclose(born, result["born_charges"].numpy())
    alpha = atoms.calc.get_property("polarizability", atoms)
    np.testing.assert_allclose(alpha, result["polarisability"][0].detach().numpy())
    atoms.set_cell(cell.numpy())
    atoms.pbc = True
    with pytest.raises(Exception, match="dipole"):
        atoms.get_dipole_moment()
    assert atoms.calc.get_property("born_effective_charges", atoms).shape == (4, 3, 3)


def test_what_a_network_cannot_give_is_said() -> None:
    vectors = PONITA(4, 0, 3, 1, channels=8, layers=1, cutoff=CUTOFF)
    with pytest.raises(ValueError, match="'polarisability' needs 1x2e"):
        Potential(vectors, polarisability=True).double()(**one())
    whole = PONITA(4, 0, 3, 1, channels=8, layers=1, cutoff=CUTOFF, level="graph")
    with pytest.raises(ValueError, match="polarisability needs a network with further outputs"):
        Potential(whole, polarisability=True)
    plain = Potential(GauntNet(["H", "C", "O"], **SMALL)).double()
    with pytest.raises(ValueError, match="this potential has none"):
        energy_forces(plain, **one(), born=True)
    with pytest.raises(ValueError, match="but the potential has no charges"):
        EnergyForces(plain, dipole_weight=1.0)
    with pytest.raises(ValueError, match=r"polarisability_weight is 1\.0"):
        EnergyForces(plain, polarisability_weight=1.0)


def test_structures_far_apart_do_not_round_each_other() -> None:
    """A batch in float32, of a molecule and another one a hundred thousand angstrom away."""
    net, inputs = potential().float(), one()
    alone = {k: v.float() if v.is_floating_point() else v for k, v in inputs.items()}
    expected = energy_forces(net, **alone, born=True)["born_charges"]
    count = len(inputs["pos"])
    pair = {
        "pos": torch.cat([alone["pos"], alone["pos"] + 1e5]),
        "z": alone["z"].repeat(2),
        "edge_index": torch.cat([alone["edge_index"], alone["edge_index"] + count], 1),
        "batch": torch.arange(2).repeat_interleave(count),
        "num_graphs": 2,
    }
    born = energy_forces(net, **pair, born=True)["born_charges"]
    torch.testing.assert_close(born[:count], expected, rtol=1e-4, atol=1e-5)


def test_a_molecule_in_a_box_has_a_dipole(model: Potential) -> None:
    """A cell along which nothing repeats is none."""
    pos, z, _ = system(4, periodic=False)
    free, boxed = (Atoms(z.numpy(), pos.numpy(), cell=cell) for cell in (None, [9.0, 9.0, 9.0]))
    for atoms in (free, boxed):
        atoms.calc = GeqCalculator(model)
    np.testing.assert_allclose(boxed.get_dipole_moment(), free.get_dipole_moment())
