"""Potentials in torch-sim: its own tests of a model, and the numbers of the ASE calculator."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

from geqlib.calculators import GeqCalculator
from geqlib.models import EScAIP, GauntNet, Potential
from tests.atoms.atoms import pairs, ponita

ts: Any = pytest.importorskip("torch_sim", reason="torch-sim is an extra, for Python 3.12")
interface: Any = pytest.importorskip("torch_sim.models.interface")
testing: Any = pytest.importorskip("torch_sim.testing")

TorchSimModel: Any = import_module("geqlib.calculators.torch_sim").TorchSimModel
CPU, DOUBLE = torch.device("cpu"), torch.float64
POTENTIALS = {
    "pairs": pairs,
    "PONITA": lambda: ponita(layers=1),
    "GauntNet": lambda: gaunt(),
    "EScAIP": lambda: Potential(EScAIP(4, channels=8, heads=1, layers=1, cutoff=4.0, k=6)),
}


def gaunt() -> Potential:
    elements = ["H", "C", "O", "Mg", "Si", "Fe", "Cu"]
    return Potential(GauntNet(elements, channels=2, degree=1, cutoff=4.0))


def model(name: str, **options: Any) -> Any:
    torch.manual_seed(0)
    return TorchSimModel(POTENTIALS[name](), dtype=DOUBLE, **options)


def state(*structures: Atoms) -> Any:
    return ts.io.atoms_to_state(list(structures), CPU, DOUBLE)


@pytest.mark.parametrize("name", POTENTIALS)
def test_torch_sim_validates_it(name: str) -> None:
    interface.validate_model_outputs(model(name), CPU, DOUBLE)


@pytest.mark.parametrize("system", testing.CONSISTENCY_SIMSTATES)
def test_equals_the_calculator(system: str) -> None:
    potential = ponita(layers=1)
    sim = testing.SIMSTATE_GENERATORS[system](CPU, DOUBLE)
    own = TorchSimModel(potential, dtype=DOUBLE, compute_stress=bool(sim.pbc.all()))
    # sums over the same edges in the same order
    testing.assert_model_calculator_consistency(
        own,
        GeqCalculator(potential, dtype=DOUBLE),
        sim,
        **{f"{part}_{kind}tol": 1e-9 for part in ("energy", "force", "stress") for kind in "ar"},
    )


def test_a_batch_has_what_each_structure_has_alone() -> None:
    structures = [molecule(name) for name in ("H2O", "CH4", "CO2", "H2")] + [
        Atoms("O", [[9, 9, 9]])
    ]
    own = model("PONITA")
    together = own(state(*structures))
    forces = together["forces"].split([len(part) for part in structures])
    for number, part in enumerate(structures):
        part.calc = GeqCalculator(ponita(layers=1), dtype=DOUBLE)
        np.testing.assert_allclose(together["energy"][number], part.get_potential_energy(), 1e-10)
        np.testing.assert_allclose(forces[number], part.get_forces(), atol=1e-10)


def test_energies_alone_and_switches() -> None:
    own, silicon = model("PONITA"), state(bulk("Si", cubic=True))
    own.compute_forces = False
    assert set(own(silicon)) == {"energy"}
    own.compute_stress = True
    assert set(own(silicon)) == {"energy", "stress"}


def test_dynamics_keep_the_energy_and_equal_those_of_each_alone() -> None:
    own = model("pairs")
    structures = [molecule("H2O"), molecule("CH4")]
    run = {"model": own, "integrator": ts.Integrator.nve, "n_steps": 20, "timestep": 0.0005}
    final = ts.integrate(system=structures, temperature=0.0, **run)
    energy = own(final)["energy"]
    for number, part in enumerate(structures):
        alone = ts.integrate(system=[part], temperature=0.0, **run)
        np.testing.assert_allclose(own(alone)["energy"], energy[number : number + 1], rtol=1e-9)
        np.testing.assert_allclose(alone.positions, final[number].positions, atol=1e-9)
    assert own.near.searches < 60  # far fewer than steps


def test_an_atom_that_moved_far_is_seen() -> None:
    own, near = model("pairs"), molecule("H2O")
    far = near.copy()
    far.positions[0] += 20.0
    first, second = own(state(near))["energy"], own(state(far))["energy"]
    assert abs(first - second) > 1e-6
    torch.testing.assert_close(own(state(near))["energy"], first, rtol=0, atol=1e-12)


def test_float32_keeps_its_digits_far_from_the_cell() -> None:
    silicon = bulk("Si", cubic=True)
    silicon.rattle(0.05, seed=0)
    away = silicon.copy()
    away.positions[0] += 1000 * away.cell.array[0]
    own = TorchSimModel(ponita(torch.float32, layers=1))
    single = [ts.io.atoms_to_state([part], CPU, torch.float64) for part in (silicon, away)]
    exact = model("PONITA")
    reference = exact(single[0])["forces"]
    # positions of 5430 angstrom have steps of 5e-4 in float32 before the model sees them
    moved = own(single[1].to(dtype=torch.float32))["forces"].double()
    near = own(single[0].to(dtype=torch.float32))["forces"].double()
    scale = reference.abs().max()
    assert (near - reference).abs().max() < 1e-4 * scale
    assert (moved - reference).abs().max() < 1e-2 * scale


@pytest.mark.parametrize("key", ["total_charge", "charge"])
def test_charges_reach_the_potential(key: str) -> None:
    potential = ponita(layers=1)
    potential.take_charge()
    potential = potential.double()
    water = molecule("H2O")
    torch.nn.init.normal_(potential.charges.charges.weight)
    potential.charges.set_seen(torch.tensor([0, 1]), None)
    own = TorchSimModel(potential, dtype=DOUBLE)
    states = []
    for charge in (0, 1):
        water.info["charge"] = charge
        states.append(ts.io.atoms_to_state([water], CPU, DOUBLE, system_extras_map={key: "charge"}))
    neutral, charged = states
    assert abs(own(charged)["energy"] - own(neutral)["energy"]) > 1e-6
    own.compute_forces = False
    assert set(own(charged)) == {"energy"}
    both = {"total_charge": "charge", "charge": "other"}
    water.info["other"] = 2
    with pytest.raises(ValueError, match="different charge and total_charge"):
        own(ts.io.atoms_to_state([water], CPU, DOUBLE, system_extras_map=both))
    with pytest.raises(ValueError, match="charges or multiplicities, which this potential"):
        TorchSimModel(ponita(layers=1), dtype=DOUBLE)(charged)


def test_what_it_refuses() -> None:
    with pytest.raises(ValueError, match=r"float32 or torch\.float64"):
        TorchSimModel(pairs(), dtype=torch.float16)
    with pytest.raises(ValueError, match=r"The state is torch.float32 .* the model torch.float64"):
        model("pairs")(state(molecule("H2O")).to(dtype=torch.float32))
    with pytest.raises(ValueError, match="not that of the network"):
        TorchSimModel(ponita(layers=1), cutoff=9.0)
