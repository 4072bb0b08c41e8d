"""The ML-IAP adapter on lists of pairs with ghosts, made as LAMMPS makes them."""

from __future__ import annotations

import pickle
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from torch import Tensor

from geqlib.calculators import GeqCalculator
from geqlib.calculators.mliap import GhostExchange, MLIAPModel
from geqlib.models import GauntNet, Potential
from geqlib.nn import GaussianCharges
from tests.atoms.atoms import CUTOFF, pairs, ponita


def gaunt() -> Potential:
    torch.manual_seed(0)
    net = GauntNet(["H", "C", "O", "Si"], channels=4, degree=2, layers=2, cutoff=CUTOFF)
    return Potential(net).double()


POTENTIALS = {"GauntNet": gaunt, "PONITA": lambda: ponita(layers=3, zbl=True)}


class Data:
    """What LAMMPS passes: own atoms first, then every image that one of them has as a neighbour."""

    def __init__(self, atoms: Atoms, species: list[str]) -> None:
        pos, cell = atoms.positions, atoms.cell.array
        count = len(atoms)
        images = [
            np.array(s)
            for s in product(*(range(-2, 3) if p else (0,) for p in atoms.pbc))
            if any(s)
        ]
        self.owner, places = list(range(count)), list(pos)
        for shift in images if count else []:
            moved = pos + shift @ cell
            near = np.linalg.norm(moved[:, None] - pos[None], axis=2).min(1) < CUTOFF + 1.0
            self.owner += list(np.flatnonzero(near))
            places += list(moved[near])
        place = np.array(places).reshape(-1, 3)
        away = place[None] - pos[:, None]
        near = np.linalg.norm(away, axis=2) <= CUTOFF
        near[np.arange(count), np.arange(count)] = False
        self.pair_i, self.pair_j = np.nonzero(near)
        mixed = np.random.default_rng(0).permutation(len(self.pair_i))
        self.pair_i, self.pair_j = self.pair_i[mixed], self.pair_j[mixed]
        self.rij = away[self.pair_i, self.pair_j]
        self.nlocal, self.ntotal, self.npairs = count, len(place), len(self.rij)
        self.elems = np.array([species.index(atoms[i].symbol) for i in self.owner], int)
        self.eatoms, self.energy = np.zeros(count), 0.0
        self.exchanges = 0

    def forward_exchange(self, x: Tensor, out: Tensor, width: int) -> None:
        assert x.shape == out.shape == (self.ntotal, width)
        out.copy_(x[torch.tensor(self.owner, dtype=torch.long)])
        self.exchanges += 1

    def reverse_exchange(self, x: Tensor, out: Tensor, width: int) -> None:
        assert x.shape == out.shape == (self.ntotal, width)
        out.copy_(x)
        ghosts = torch.tensor(self.owner[self.nlocal :], dtype=torch.long)
        out.index_add_(0, ghosts, x[self.nlocal :])

    def update_pair_forces(self, slopes: np.ndarray) -> None:
        self.slopes = slopes

    def forces(self) -> np.ndarray:
        """LAMMPS adds dE/dr to i, subtracts it from j; ghosts give theirs to their owners."""
        owner = np.array(self.owner)
        total = np.zeros((self.nlocal, 3))
        np.add.at(total, self.pair_i, self.slopes)
        np.add.at(total, owner[self.pair_j], -self.slopes)
        return total


def silicon() -> Atoms:
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.2, seed=1)
    return atoms


STRUCTURES = {
    "molecule": molecule("CH3OH"),
    "crystal": silicon(),
    "cell of one atom": bulk("Si", "sc", 2.5),
}


@pytest.mark.parametrize("name", POTENTIALS)
@pytest.mark.parametrize("structure", STRUCTURES)
def test_equals_the_calculator(name: str, structure: str) -> None:
    atoms, species = STRUCTURES[structure].copy(), ["O", "H", "Si", "C"]
    potential = POTENTIALS[name]()
    data, model = Data(atoms, species), MLIAPModel(potential, species)
    model.compute_forces(data)
    atoms.calc = GeqCalculator(potential)
    np.testing.assert_allclose(data.energy, atoms.get_potential_energy(), rtol=1e-10)
    np.testing.assert_allclose(data.eatoms, atoms.get_potential_energies(), rtol=1e-10)
    np.testing.assert_allclose(data.forces(), atoms.get_forces(), atol=1e-9)
    if atoms.pbc.any():
        virial = np.einsum("pa,pb->ab", data.rij, data.slopes) / atoms.get_volume()
        virial = (virial + virial.T) / 2  # PONITA's grid knows some rotations only
        np.testing.assert_allclose(virial, atoms.get_stress(voigt=False), atol=1e-9)


def test_layers_wait_for_ghosts() -> None:
    data = Data(silicon(), ["Si"])
    MLIAPModel(POTENTIALS["PONITA"](), ["Si"]).compute_forces(data)
    assert data.exchanges == 2  # before the second and the third layer
    other = Data(silicon(), ["Si"])
    other.forward_exchange = lambda x, out, width: out.copy_(x)  # ghosts keep what they have
    MLIAPModel(POTENTIALS["PONITA"](), ["Si"]).compute_forces(other)
    assert abs(other.energy - data.energy) > 1e-6


def test_the_exchange_has_its_derivative() -> None:
    data = Data(silicon(), ["Si"])
    x = torch.randn(data.ntotal, 2, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(lambda x: GhostExchange.apply(x, data), x)


def test_a_pickle_is_written_on_request_only(tmp_path: Path) -> None:
    model, data, again = (
        MLIAPModel(gaunt(), ["Si"]),
        Data(silicon(), ["Si"]),
        Data(silicon(), ["Si"]),
    )
    with pytest.raises(ValueError, match="can run any code when it is read"):
        model.pickle(tmp_path / "model.pkl")
    model.pickle(tmp_path / "model.pkl", runs_code_when_read=True)
    read: Any = pickle.loads((tmp_path / "model.pkl").read_bytes())  # noqa: S301
    model.compute_forces(data)
    read.compute_forces(again)
    assert read.element_types == ["Si"] and again.energy == data.energy


@pytest.mark.parametrize("name", POTENTIALS)
def test_atoms_without_pairs_and_processes_without_atoms(name: str) -> None:
    potential, alone, none = POTENTIALS[name](), Data(Atoms("Si"), ["Si"]), Data(Atoms(), ["Si"])
    MLIAPModel(potential, ["Si"]).compute_forces(alone)
    single = Atoms("Si", calculator=GeqCalculator(potential))
    np.testing.assert_allclose(alone.energy, single.get_potential_energy(), rtol=1e-12)
    MLIAPModel(potential, ["Si"]).compute_forces(none)
    assert none.energy == 0.0
    assert none.exchanges == alone.exchanges > 0  # the same calls, which processes wait for


def test_what_it_refuses() -> None:
    with pytest.raises(ValueError, match="Pairs does not say what its layers read"):
        MLIAPModel(pairs(), ["Si"])
    with pytest.raises(ValueError, match="'Sx', which is no element"):
        MLIAPModel(gaunt(), ["Sx"])
    charged = Potential(
        GauntNet(["Si"], channels=2, irreps_out="2x0e"), long_range=GaussianCharges()
    )
    with pytest.raises(ValueError, match="use LammpsForces"):
        MLIAPModel(charged, ["Si"])
    plain = Data(silicon(), ["Si"])
    model = MLIAPModel(gaunt(), ["Si"])
    with pytest.raises(ValueError, match="with Kokkos in ML-IAP"):
        model.compute_forces(Plain(plain))


class Plain:
    """Data of LAMMPS without Kokkos: it passes no features."""

    def __init__(self, data: Data) -> None:
        for name in ("nlocal", "ntotal", "npairs", "elems", "pair_i", "pair_j", "rij", "eatoms"):
            setattr(self, name, getattr(data, name))
