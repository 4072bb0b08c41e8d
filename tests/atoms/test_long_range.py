"""Energies of latent charges: Madelung constants, images, batches and derivatives."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from ase.calculators.fd import calculate_numerical_forces
from ase.io import read
from torch import Tensor

import geqlib
from geqlib.atoms.long_range import GaussianCharges, half_grid
from geqlib.atoms.zbl import COULOMB
from geqlib.calculators import GeqCalculator
from geqlib.graph.checks import values_unread
from geqlib.models import PONITA, GauntNet, Potential, energy_forces
from geqlib.testing import equivariance_error
from geqlib.train import EnergyForces
from tests.atoms.atoms import CUTOFF, fields, system
from tests.train import tiny
from tests.train.potential import config, write_frames

FCC = [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
# cubic cells of edge 1: positions and charges, and -E per ion pair times the shortest distance / k
CRYSTALS = {
    "NaCl": ([*FCC, *[[x + 0.5, y, z] for x, y, z in FCC]], 4 * [1] + 4 * [-1], 1.74756459),
    "CsCl": ([[0, 0, 0], [0.5, 0.5, 0.5]], [1, -1], 1.76267477),
    "ZnS": (
        [*FCC, *[[x + 0.25, y + 0.25, z + 0.25] for x, y, z in FCC]],
        4 * [1] + 4 * [-1],
        1.63805505,
    ),
}


def random_crystal(count: int = 5, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    cell = 4 * torch.eye(3) + 0.6 * torch.randn(3, 3, generator=generator)
    pos = torch.rand(count, 3, generator=generator) @ cell
    charges = torch.randn(count, generator=generator)
    return (charges - charges.mean()).double(), pos.double(), cell.double()


def images(charges: Tensor, pos: Tensor, cell: Tensor, width: float, reach: int) -> Tensor:
    """sum over images of q q (1 - erf) / r / 2: what point charges have beyond normal ones."""
    total = pos.new_zeros(())
    for shift in product(range(-reach, reach + 1), repeat=3):
        offset = pos[:, None] - pos + torch.tensor(shift).double() @ cell
        distance = offset.norm(dim=-1)
        distance = torch.where(distance > 1e-9, distance, torch.inf)
        pairs = torch.special.erfc(distance / (math.sqrt(2) * width)) / distance
        total = total + COULOMB / 2 * (charges[:, None] * charges * pairs).sum()
    return total


@pytest.mark.parametrize("name", CRYSTALS)
@pytest.mark.parametrize("width", [0.4, 0.7])
def test_madelung_constants(name: str, width: float) -> None:
    fractional, signs, constant = CRYSTALS[name]
    edge = 5.0
    pos = edge * torch.tensor(fractional, dtype=torch.float64)
    charges = torch.tensor(signs, dtype=torch.float64)
    cell = edge * torch.eye(3, dtype=torch.float64)
    energy = GaussianCharges(width)(charges, pos, cell=cell[None]).sum()
    energy = energy + images(charges, pos, cell, width, 2)
    shortest = (pos[charges < 0] - pos[0]).norm(dim=1).min()
    pairs = len(pos) / 2
    assert float(-energy / pairs * shortest / COULOMB) == pytest.approx(constant, abs=2e-7)


def test_molecules_are_sums_over_pairs() -> None:
    charges, pos, _ = random_crystal(7)
    batch = torch.tensor([0, 0, 0, 1, 1, 1, 3])
    energies = GaussianCharges(0.8)(charges, pos, batch, 4)
    expected = torch.zeros(7, dtype=torch.float64)
    for i, j in product(range(7), repeat=2):
        if i != j and batch[i] == batch[j]:
            r = float((pos[i] - pos[j]).norm())
            each = math.erf(r / (math.sqrt(2) * 0.8)) / r
            expected[i] += COULOMB / 2 * charges[i] * charges[j] * each
    assert torch.allclose(energies, expected, rtol=1e-12)


def test_a_batch_of_molecules_and_crystals_is_each_of_them() -> None:
    layer = GaussianCharges(0.9)
    one, other, alone = random_crystal(5), random_crystal(4, seed=1), random_crystal(3, seed=2)
    charges, pos = (torch.cat([x[k] for x in (one, alone, other)]) for k in (0, 1))
    cell = torch.stack([one[2], torch.zeros(3, 3).double(), 1.5 * other[2]])
    batch = torch.tensor([0] * 5 + [1] * 3 + [2] * 4)
    energies = layer(charges, pos, batch, 3, cell)
    parts = [
        layer(*one[:2], cell=one[2][None]),
        layer(*alone[:2]),
        layer(*other[:2], cell=1.5 * other[2][None]),
    ]
    assert torch.allclose(energies, torch.cat(parts), rtol=0, atol=1e-10)
    assert not layer(charges[:0], pos[:0], batch[:0], 1, cell[:1]).numel()


def test_supercells_and_shifted_atoms() -> None:
    layer = GaussianCharges(1.0)
    charges, pos, cell = random_crystal()
    energy = layer(charges, pos, cell=cell[None]).sum()
    double = torch.cat([pos, pos + cell[0]])
    larger = torch.diag(torch.tensor([2.0, 1, 1]).double()) @ cell
    twice = layer(torch.cat([charges, charges]), double, cell=larger[None]).sum()
    assert float(twice) == pytest.approx(2 * float(energy), rel=1e-6)
    moved = pos + torch.tensor([[3.0, -2, 5]]).double() @ cell
    assert float(layer(charges, moved, cell=cell[None]).sum()) == pytest.approx(float(energy))


def test_derivatives() -> None:
    layer = GaussianCharges(0.9)
    charges, pos, cell = random_crystal(3)
    inputs = [x.requires_grad_() for x in (charges, pos, cell)]

    def energy(charges: Tensor, pos: Tensor, cell: Tensor) -> Tensor:
        return layer(charges, pos, cell=cell[None]).sum()

    assert torch.autograd.gradcheck(energy, inputs)
    assert torch.autograd.gradgradcheck(energy, inputs, atol=1e-4)

    def molecule(charges: Tensor, pos: Tensor) -> Tensor:
        return layer(charges, pos).sum()

    assert torch.autograd.gradcheck(molecule, inputs[:2])
    assert torch.autograd.gradgradcheck(molecule, inputs[:2])
    coincident = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    value = layer(torch.ones(2), coincident).sum()
    assert float(value.detach()) == pytest.approx(COULOMB * math.sqrt(2 / math.pi) / 0.9)
    assert not torch.autograd.grad(value, coincident)[0].any()


def test_symmetry() -> None:
    charges, pos, cell = random_crystal()
    layer = GaussianCharges(0.8)
    error = equivariance_error(
        lambda pos, cell: layer(charges, pos, cell=cell),
        {"pos": (pos, "point"), "cell": (cell[None], "graph:vector")},
        "scalar",
        "E(3)",
    )
    assert error < 1e-11


def test_half_of_the_grid() -> None:
    grid = half_grid([1, 2, 0])
    both = {tuple(n) for n in torch.cat([grid, -grid]).tolist()}
    assert len(both) == 2 * len(grid) == 3 * 5 - 1 and (0, 0, 0) not in both


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="width must be positive"):
        GaussianCharges(0.0)
    charges, pos, cell = random_crystal()
    with pytest.raises(
        ValueError, match=r"need \S+ waves, .*give molecules in a large box no cell"
    ):
        GaussianCharges(1.0)(charges, pos, cell=1e6 * torch.eye(3, dtype=pos.dtype)[None])
    cell[2] = 0
    with pytest.raises(ValueError, match="fewer than three vectors"):
        GaussianCharges(1.0)(charges, pos, cell=cell[None])


def charged(dtype: torch.dtype = torch.float64) -> Potential:
    torch.manual_seed(0)
    net = GauntNet(["H", "C", "O"], channels=2, degree=1, cutoff=CUTOFF, irreps_out="2x0e")
    return Potential(net, long_range=GaussianCharges(0.7)).to(dtype)


def test_a_potential_with_charges() -> None:
    potential = charged()
    pos, z, cell = system(5, periodic=True, seed=0)
    inputs = fields(pos, z, cell[None])
    out = potential.model(
        pos,
        z,
        inputs["edge_index"],
        torch.einsum("ed,dk->ek", inputs["cell_shift"].double(), cell),
    )
    charges = out[:, 1] - out[:, 1].mean()
    expected = out[:, 0] + GaussianCharges(0.7)(charges, pos, cell=cell[None])
    assert torch.allclose(potential(**inputs).atoms, expected, rtol=0, atol=1e-10)
    whole = energy_forces(potential, **inputs, stress=True)

    def energy(strain: Tensor) -> Tensor:
        deformed = torch.eye(3) + strain
        moved = fields(pos @ deformed, z, (cell @ deformed)[None])
        return potential(**moved).total.sum()

    step = torch.zeros(3, 3, dtype=torch.float64)
    step[0, 1] = step[1, 0] = 1e-5
    slope = (energy(step) - energy(-step)) / 2e-5 / 2 / cell.det().abs()
    assert float(slope.detach()) == pytest.approx(float(whole["stress"][0, 0, 1]), abs=1e-7)
    assert whole["forces"].sum(0).abs().max() < 1e-9


def test_charges_add_up_to_the_total() -> None:
    torch.manual_seed(0)
    net = GauntNet(["H", "C", "O"], channels=2, degree=1, cutoff=CUTOFF, irreps_out="2x0e")
    potential = Potential(net, long_range=GaussianCharges(0.7), charge=True).double()
    far = torch.tensor([[0.0, 0, 0], [50.0, 0, 0]], dtype=torch.float64)
    z = torch.tensor([1, 1])
    edges = torch.zeros(2, 0, dtype=torch.long)
    near = [potential(x, z, edges, charge=torch.tensor([2.0])).total for x in (far, 2 * far)]
    # two equal charges of one each
    assert float((near[0] - near[1]).detach()) == pytest.approx(COULOMB / 100, rel=1e-9)


@pytest.mark.slow
def test_a_run_with_charges(tmp_path: Path) -> None:
    write_frames(tmp_path / "train.xyz", 16)
    settings = config(tmp_path / "train.xyz", epochs=1)
    net = {"elements": [1, 6, 8], "channels": 2, "degree": 1, "irreps_out": "2x0e"}
    network = {"class_path": "geqlib.models.GauntNet", "init_args": net | {"cutoff": CUTOFF}}
    settings["model"]["init_args"]["model"] = {
        "class_path": "geqlib.models.Potential",
        "init_args": {
            "model": network,
            "long_range": {"class_path": "geqlib.nn.GaussianCharges", "init_args": {"width": 0.8}},
        },
    }
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(settings))
    words = ["fit", "--config", str(path), "--trainer.default_root_dir", str(tmp_path / "run")]
    assert tiny.geqlib(words) == 0
    model: Any = geqlib.load(tmp_path / "run")
    assert isinstance(model, Potential) and model.long_range is not None
    assert model.long_range.width == 0.8
    atoms: Any = read(tmp_path / "train.xyz", "0")
    atoms.calc = GeqCalculator(tmp_path / "run", dtype=torch.float64)
    numeric = calculate_numerical_forces(atoms, eps=1e-4)
    assert abs(atoms.get_forces() - numeric).max() < 1e-5
    with pytest.raises(ValueError, match="cuda_graphs cannot replay a potential with long_range"):
        GeqCalculator(tmp_path / "run", cuda_graphs=True)


def test_what_potentials_with_charges_refuse() -> None:
    potential = charged()
    for option in ("compile", "cuda_graphs"):
        with pytest.raises(ValueError, match="cannot be compiled or replayed"):
            EnergyForces(potential, **{option: True})  # type: ignore[arg-type]
    pos, z, _ = system(4, periodic=False, seed=0)
    alone = Potential(GauntNet(["H", "C", "O"], channels=2, degree=1), long_range=GaussianCharges())
    with pytest.raises(ValueError, match="needs two scalars each"):
        alone.double()(**fields(pos, z))
    with pytest.raises(ValueError, match="gives those of graphs"):
        Potential(PONITA(4, 0, 2, 0, channels=4, level="graph"), long_range=GaussianCharges())
    with values_unread(), pytest.raises(ValueError, match="cannot be compiled, exported"):
        potential(**fields(pos, z))
