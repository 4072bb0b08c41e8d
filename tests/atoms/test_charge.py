"""Total charge and multiplicity: what energies depend on, and neutral singlets do not notice."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from torch import Tensor

from geqlib.calculators import GeqCalculator
from geqlib.files.export import export_program
from geqlib.graph import neighbor_list
from geqlib.models import PONITA, GauntNet, MoleculeModel, Potential, energy_forces
from tests.atoms.atoms import CUTOFF, Pairs, batch, fields, system

PROTONS = ["H", "C", "O"]


def network(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    if name == "GauntNet":
        small = {"channels": 2, "degree": 2, "order": 2, "layers": 2, "cutoff": CUTOFF}
        return GauntNet(PROTONS, **small)
    if name == "PONITA":
        return PONITA(4, 0, 1, 0, channels=8, layers=2, basis=6, widen=2, cutoff=CUTOFF)
    return Pairs(level=name)


NETWORKS = ("PONITA", "GauntNet", "node", "graph")


def learnt(name: str, kind: type = Potential) -> Any:
    """As after training: vectors of charges are no longer 0."""
    model = kind(network(name), charge=True).double()
    generator = torch.Generator().manual_seed(1)
    for table in (model.charges.charges, model.charges.multiplicities):
        drawn = torch.randn(table.weight.shape, generator=generator, dtype=torch.float64)
        drawn[table.padding_idx] = 0
        table.weight.data = drawn
    return model


@pytest.fixture
def one() -> dict[str, Any]:
    pos, z, _ = system(4, periodic=False)
    return fields(pos, z)


def of(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("name", NETWORKS)
def test_energies_and_forces_depend_on_them(name, one):
    potential = learnt(name)
    states = [(0, 1), (1, 1), (-1, 1), (0, 3), (1, 2)]
    results = [energy_forces(potential, **one, charge=of(q), multiplicity=of(m)) for q, m in states]
    for key in ("energy", "forces"):
        values = torch.stack([result[key].flatten() for result in results])
        assert torch.pdist(values).min() > 1e-6, key


@pytest.mark.parametrize("name", NETWORKS)
def test_forces_are_derivatives(name, one):
    potential, state = learnt(name), {"charge": of(2), "multiplicity": of(3)}
    forces = energy_forces(potential, **one, **state)["forces"]
    step, numeric = 1e-4, torch.zeros_like(forces)
    for k in range(forces.numel()):
        move = torch.zeros(forces.numel(), dtype=torch.float64)
        move[k] = step
        up, down = (
            potential(**(one | {"pos": one["pos"] + sign * move.view_as(forces)}), **state).total
            for sign in (1, -1)
        )
        numeric.view(-1)[k] = -(up - down).item() / (2 * step)
    torch.testing.assert_close(forces, numeric, rtol=0, atol=1e-6 * float(forces.abs().max()))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("kind", [Potential, MoleculeModel])
def test_neutral_singlets_are_what_they_are_without(name, kind, one):
    """Before and after training, and whether they are named or not; other weights stay equal."""
    fresh, plain = kind(network(name), charge=True).double(), kind(network(name)).double()
    tensors = {key: one[key] for key in ("pos", "z", "edge_index", "reverse")}
    torch.manual_seed(3)
    weights = dict(plain.named_parameters())
    for key, value in fresh.named_parameters():
        assert key.startswith("charges.") or torch.equal(value, weights[key]) or "embedding" in key
    trained = learnt(name, kind)
    plain.load_state_dict({k: v for k, v in trained.state_dict().items() if "charges." not in k})
    get = (lambda out: out.total) if kind is Potential else (lambda out: out)
    expected = get(plain(**tensors))
    for state in ({}, {"charge": of(0)}, {"charge": of(0), "multiplicity": of(1)}):
        assert torch.equal(get(trained(**tensors, **state)), expected)
    assert not torch.equal(get(trained(**tensors, charge=of(1))), expected)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_batch_is_its_structures(name):
    potential = learnt(name)
    sizes, periodic = (4, 3, 1, 5), (True, False, False, True)
    charge, multiplicity = of(1, -2, 0, 3), of(2, 1, 3, 1)
    whole = energy_forces(
        potential,
        **batch(sizes, periodic),
        charge=charge,
        multiplicity=multiplicity,
        stress=True,
    )
    parts = [
        energy_forces(
            potential,
            **batch((n,), (p,)),
            charge=charge[k : k + 1],
            multiplicity=multiplicity[k : k + 1],
            stress=True,
        )
        for k, (n, p) in enumerate(zip(sizes, periodic, strict=True))
    ]
    for key in ("energy", "forces", "stress"):
        joined = torch.cat([part[key] for part in parts])
        torch.testing.assert_close(whole[key], joined, rtol=1e-9, atol=1e-10)


def test_lone_ions_differ_from_atoms():
    pos, z = torch.zeros(1, 3, dtype=torch.float64), torch.tensor([1])
    for name in ("PONITA", "GauntNet"):
        potential, alone = learnt(name), fields(pos, z)
        energies = [potential(**alone, charge=of(q)).total.item() for q in (0, 1, -1)]
        assert len(set(energies)) == 3


class Blind(torch.nn.Module):
    """A network without an input that could carry the charge."""

    def forward(self, pos: Tensor, z: Tensor) -> Tensor:
        return z.to(pos.dtype)


@pytest.mark.parametrize("kind", [Potential, MoleculeModel])
def test_networks_without_an_input_are_refused(kind):
    for model in (Blind(), PONITA(0, 0, 1, 0, channels=4, layers=1)):
        with pytest.raises(ValueError, match="cannot know the charge or multiplicity"):
            kind(model, charge=True)


def test_models_without_them_refuse_ions(one):
    potential, model = Potential(network("PONITA")).double(), MoleculeModel(network("PONITA"))
    energy_forces(potential, **one, charge=of(0), multiplicity=of(1))
    for state in ({"charge": of(1)}, {"multiplicity": of(2)}):
        with pytest.raises(ValueError, match="which this potential does not know"):
            energy_forces(potential, **one, **state)
        with pytest.raises(ValueError, match="which this model does not know"):
            model(one["pos"], one["z"], one["edge_index"], **state)


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        ({"charge": 0.5}, "the charge 0.5: it must be a whole number from -20 to 20"),
        ({"charge": 21}, "from -20 to 20"),
        ({"multiplicity": 0}, "the multiplicity 0.0: it must be a whole number from 1 to 20"),
        ({"charge": 2}, r"the charge 2, which the training data never showed \(-1, 0, 1\)"),
        ({"charge": 0, "multiplicity": 3}, r"multiplicity 3, which .* never showed \(1, 2\)"),
        ({"charge": 1}, "trained on structures of the multiplicity 1, 2, and there is no mult"),
        ({}, "trained on structures of the charge -1, 0, 1, and there is no charge"),
    ],
    ids=str,
)
def test_what_was_not_in_the_training_data_is_refused(one, state, sentence):
    potential = learnt("PONITA")
    potential.charges.set_seen(of(0, 1, -1, 1), of(1, 2, 2, 2))
    with pytest.raises(ValueError, match=sentence):
        energy_forces(potential, **one, **{name: of(value) for name, value in state.items()})
    energy_forces(potential, **one, charge=of(1), multiplicity=of(2))


def test_old_weights_load():
    """Charges can be learnt on top of a potential that was trained without them."""
    old = Potential(network("PONITA"))
    new = Potential(network("PONITA"))
    new.load_state_dict(old.state_dict())
    new.take_charge()
    new.take_charge()  # once is enough
    assert not [name for name in old.state_dict() if "charges" in name]
    assert sum(p.numel() for p in new.charges.parameters()) == 4 * (41 + 21)


def test_calculators_read_them_from_the_structure():
    potential = learnt("PONITA")
    atoms = Atoms("OH", [[0, 0, 0], [0, 0, 0.97]])
    atoms.calc = GeqCalculator(potential)
    energies = []
    for info in ({}, {"charge": 1}, {"charge": -1, "spin": 3}, {"charge": -1, "multiplicity": 3}):
        atoms.info = dict(info)
        energies.append(atoms.get_potential_energy())  # of the same positions
    assert energies[2] == energies[3] and len(set(energies)) == 3
    atoms.info = {}
    atoms.calc = GeqCalculator(potential, charge=1, rotations=2)
    pos, z = torch.tensor(atoms.positions), torch.tensor(atoms.numbers)
    edges = neighbor_list(pos, CUTOFF).edge_index
    assert atoms.get_potential_energy() != energies[0]
    atoms.calc = GeqCalculator(potential, charge=1)
    expected = energy_forces(potential, pos, z, edges, charge=of(1))
    np.testing.assert_allclose(atoms.get_forces(), expected["forces"], atol=1e-10)
    assert atoms.get_potential_energy() == energies[1]


def test_calculators_refuse_ions_that_their_model_does_not_know():
    atoms = Atoms("OH", [[0, 0, 0], [0, 0, 0.97]], info={"charge": 0, "spin": 1})
    atoms.calc = GeqCalculator(Potential(network("PONITA")))
    atoms.get_potential_energy()
    for info in ({"charge": 1}, {"spin": 2}, {"charge": "one"}):
        atoms.info = info
        with pytest.raises(ValueError, match=r"does not know|must be one whole number"):
            atoms.get_potential_energy()


@pytest.mark.parametrize(
    ("info", "said"),
    [
        ({"charge": np.array([0, 0])}, r'atoms.info\["charge"\] is array.* one whole number'),
        ({"charge": [0, 0]}, r'atoms.info\["charge"\] is .* one whole number'),
        ({"charge": 0.5}, "is 0.5: it must be one whole number"),
        ({"charge": np.nan}, "is nan: it must be one whole number"),
        ({"charge": True}, "is True: it must be one whole number"),
        ({"spin": 0}, r'atoms.info\["spin"\] is 0: it means 2S \+ 1'),
        ({"multiplicity": -1}, r"is -1: it means 2S \+ 1"),
        ({"multiplicity": 1, "spin": 3}, "multiplicity 1 and the spin 3, which also means"),
    ],
)
def test_calculators_name_what_is_no_charge_or_multiplicity(info, said):
    for potential in (learnt("PONITA"), Potential(network("PONITA"))):
        atoms = Atoms("OH", [[0, 0, 0], [0, 0, 0.97]], info=info)
        atoms.calc = GeqCalculator(potential)
        with pytest.raises(ValueError, match=said):
            atoms.get_potential_energy()
    own = {("multiplicity" if k == "spin" else k): value for k, value in info.items()}
    if len(info) == 1:
        with pytest.raises(ValueError, match=r"one whole number|2S \+ 1"):
            GeqCalculator(potential, **own)


def test_an_array_of_one_is_a_number():
    potential = learnt("PONITA")
    energies = []
    for info in ({"charge": 1}, {"charge": np.array([1])}, {"charge": np.array(1.0)}):
        atoms = Atoms("OH", [[0, 0, 0], [0, 0, 0.97]], info=info)
        atoms.calc = GeqCalculator(potential)
        energies += [atoms.get_potential_energy(), atoms.get_potential_energy()]
    assert len(set(energies)) == 1


def test_programs_take_none(tmp_path):
    with pytest.raises(ValueError, match="Programs take no charge"):
        export_program(learnt("PONITA"), tmp_path / "a.pt2")
