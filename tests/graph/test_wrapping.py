"""Far from the cell, float32 is as accurate as near it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from geqlib.calculators import GeqCalculator
from geqlib.graph import neighbor_list
from geqlib.graph.wrapping import near_cell
from geqlib.models import PONITA, GauntNet, Potential, energy_forces

CELLS = (3, 100, 10_000)


def potential(name: str) -> Potential:
    torch.manual_seed(0)
    if name == "PONITA":
        return Potential(PONITA(8, 0, 1, 0, channels=8, layers=2, cutoff=4.0), zbl=True)
    return Potential(GauntNet(["Cu", "O"], channels=2, degree=2, order=2, layers=1, cutoff=4.0))


def crystal(pbc=True) -> Atoms:
    atoms = bulk("CuO", "zincblende", a=4.0, cubic=True)
    atoms.rattle(0.1, seed=1)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.1 * np.eye(3, k=1)), scale_atoms=True)
    atoms.pbc = pbc
    return atoms


def diffused(atoms: Atoms, cells: int) -> Atoms:
    far = atoms.copy()
    steps = np.random.default_rng(0).integers(-cells, cells + 1, (len(far), 3)) * far.pbc
    far.positions += steps @ far.cell.array
    return far


def error(a, b) -> float:
    return float(np.abs(np.asarray(a) - np.asarray(b)).max() / np.abs(np.asarray(b)).max())


@pytest.mark.parametrize("name", ["PONITA", "GauntNet"])
@pytest.mark.parametrize("cells", CELLS)
@pytest.mark.parametrize("pbc", [(True, True, True), (True, False, True)])
def test_calculators(name, cells, pbc):
    near = crystal(pbc)
    far = diffused(near, cells)
    calculator = GeqCalculator(potential(name))
    assert calculator.dtype == torch.float32
    for atoms in (near, far):
        atoms.calc = GeqCalculator(potential(name))
    assert error(far.get_potential_energy(), near.get_potential_energy()) < 1e-5
    assert error(far.get_forces(), near.get_forces()) < 5e-5
    assert error(far.get_stress(), near.get_stress()) < 5e-5


@pytest.mark.parametrize("name", ["PONITA", "GauntNet"])
@pytest.mark.parametrize("cells", CELLS)
def test_potentials_take_positions_in_float64(name, cells):
    """Batches of crystals and molecules, with stress; the weights stay float32."""
    model, results = potential(name), []
    lone = Atoms("CuO", [[0, 0, 0], [0, 0, 1.8]])
    for shift in (0, cells):
        parts = [diffused(crystal(), shift), lone.copy()]
        parts[1].positions += 10.0 * shift
        pos = torch.tensor(np.concatenate([part.positions for part in parts]))
        z = torch.tensor(np.concatenate([part.numbers for part in parts]))
        cell = torch.tensor(np.stack([part.cell.array for part in parts]))
        number = torch.arange(2).repeat_interleave(torch.tensor([len(part) for part in parts]))
        near = neighbor_list(pos, 4.0, cell=cell, batch=number)
        edges = {"cell_shift": near.cell_shift, "reverse": near.reverse}
        results.append(
            energy_forces(
                model,
                pos,
                z,
                near.edge_index,
                cell=cell,
                batch=number,
                num_graphs=2,
                stress=True,
                **edges,
            )
        )
    here, far = results
    assert error(far["energy"], here["energy"]) < 1e-5
    assert error(far["forces"], here["forces"]) < 5e-5
    assert error(far["stress"], here["stress"]) < 5e-5


def test_molecules_far_from_the_origin():
    near = Atoms("CuO", [[0, 0, 0], [0.3, 0.2, 1.8]])
    far = near.copy()
    far.positions += [1e6, -3e4, 0]
    for atoms in (near, far):
        atoms.calc = GeqCalculator(potential("PONITA"))
    assert error(far.get_forces(), near.get_forces()) < 5e-5


@pytest.mark.parametrize("apart", [50.0, 3.0])
def test_a_box_that_does_not_repeat(apart):
    """Atoms outside of it stay where they are, however far."""
    atoms = Atoms("CuO", [[1, 0, 0], [1, 0, apart]], cell=[8, 8, 8])
    for dtype in (torch.float32, torch.float64):
        atoms.calc = GeqCalculator(potential("PONITA"), dtype=dtype)
        boxed = atoms.get_potential_energy()
        free = Atoms(atoms.numbers, atoms.positions)
        free.calc = GeqCalculator(potential("PONITA"), dtype=dtype)
        assert boxed == pytest.approx(free.get_potential_energy(), rel=1e-6)
    close = Atoms("CuO", [[33, 0, 0], [31, 0, 0]], cell=[8, 8, 8])
    close.calc = GeqCalculator(potential("PONITA"))
    moved = Atoms("CuO", [[2, 0, 0], [0, 0, 0]])
    moved.calc = GeqCalculator(potential("PONITA"))
    assert error(close.get_forces(), moved.get_forces()) < 5e-5


def test_offsets_and_their_derivatives_stay():
    atoms = diffused(crystal(), 1000)
    pos, cell = torch.tensor(atoms.positions), torch.tensor(atoms.cell.array)[None]
    near = neighbor_list(pos, 4.0, cell=cell)
    pos, cell = pos.requires_grad_(), cell.requires_grad_()

    def offsets(pos, shift):
        source, target = near.edge_index
        return pos[source] - pos[target] + shift.double() @ cell[0]

    moved, shift = near_cell(pos, near.edge_index, cell=cell, cell_shift=near.cell_shift)
    assert moved.abs().max() < 60 and shift.abs().max() < 20
    weights = torch.randn(near.edge_index.size(1), 3, dtype=torch.float64)
    values = [offsets(pos, near.cell_shift), offsets(moved, shift)]
    torch.testing.assert_close(values[1], values[0], rtol=0, atol=1e-9)
    slopes = [torch.autograd.grad((weights * v).sum(), [pos, cell]) for v in values]
    for one, other in zip(*slopes, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-6)
