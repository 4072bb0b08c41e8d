"""Levels of theory: what energies depend on, each with its own energies of atoms."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from geqlib.calculators import GeqCalculator
from geqlib.files.export import export_program
from geqlib.models import CalibratedPotential, Potential, energy_forces
from tests.atoms.atoms import batch, fields, system
from tests.atoms.test_charge import NETWORKS, Blind, network

LEVELS = ["pbe", "ccsd"]


def learnt(name: str, **options: Any) -> Any:
    """As after training: vectors are no longer 0, and energies of atoms differ."""
    model = Potential(network(name), levels=LEVELS, **options).double()
    generator = torch.Generator().manual_seed(1)
    shape = model.levels.vectors.weight.shape
    drawn = torch.randn(shape, generator=generator, dtype=torch.float64)
    model.levels.vectors.weight.data = drawn
    references = torch.randn(2, 119, generator=generator, dtype=torch.float64)
    seen = torch.zeros(2, 119, dtype=torch.bool)
    seen[:, [1, 6, 8]] = True
    model.statistics.set(references, seen, 0.7, torch.tensor([0.1, -0.2]))
    return model


@pytest.fixture
def one() -> dict[str, Any]:
    pos, z, _ = system(4, periodic=False)
    return fields(pos, z)


@pytest.mark.parametrize("name", NETWORKS)
def test_new_levels_are_alike(name, one):
    """Vectors begin at 0, with the energies of atoms of before; other weights are not drawn."""
    plain = Potential(network(name)).double()
    plain.statistics.set(torch.arange(119.0), torch.arange(119) < 9, 0.5, 0.3)
    expected = energy_forces(plain, **one)
    plain.take_levels(LEVELS)
    for number in (0, 1):
        result = energy_forces(plain, **one, level=torch.tensor([number]))
        assert torch.equal(result["energy"], expected["energy"])
        assert torch.equal(result["forces"], expected["forces"])


@pytest.mark.parametrize("name", NETWORKS)
def test_energies_and_forces_depend_on_them(name, one):
    potential = learnt(name)
    low, high = (energy_forces(potential, **one, level=torch.tensor([k])) for k in (0, 1))
    assert (low["forces"] - high["forces"]).abs().max() > 1e-6
    atoms = potential(**one, level=torch.tensor([1])).atoms
    references = potential.statistics.references[1, one["z"]] - 0.2
    zero = learnt(name)
    zero.statistics.references.zero_()
    zero.statistics.shift.zero_()
    network_part = zero(**one, level=torch.tensor([1])).atoms
    torch.testing.assert_close(atoms, network_part + references)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_batch_is_its_structures(name):
    potential, sizes, periodic = learnt(name), (4, 3, 1, 5), (True, False, False, True)
    level = torch.tensor([1, 0, 1, 0])
    whole = energy_forces(potential, **batch(sizes, periodic), level=level, stress=True)
    parts = [
        energy_forces(potential, **batch((n,), (p,)), level=level[k : k + 1], stress=True)
        for k, (n, p) in enumerate(zip(sizes, periodic, strict=True))
    ]
    for key in ("energy", "forces", "stress"):
        joined = torch.cat([part[key] for part in parts])
        torch.testing.assert_close(whole[key], joined, rtol=1e-9, atol=1e-10)


def test_charges_and_levels_add_up(one):
    """Both vectors reach the network; with the vectors of levels at 0 charges are as without."""
    both = learnt("GauntNet", charge=True)
    both.charges.charges.weight.data.uniform_(-1, 1)
    state = {"charge": torch.tensor([1.0]), "level": torch.tensor([1])}
    ion = both(**one, **state).total
    assert (ion - both(**one, level=state["level"]).total).abs() > 1e-6
    both.levels.vectors.weight.data.zero_()
    assert (ion - both(**one, **state).total).abs() > 1e-6


def test_the_level_is_named(one):
    potential = learnt("PONITA")
    with pytest.raises(ValueError, match=r"knows the levels pbe, ccsd: name the one"):
        energy_forces(potential, **one)
    with pytest.raises(ValueError, match=r"knows the levels pbe, ccsd: name the one"):
        GeqCalculator(potential)
    with pytest.raises(ValueError, match=r"no level 'b3lyp': it was trained on pbe, ccsd\."):
        GeqCalculator(potential, level="b3lyp")
    with pytest.raises(ValueError, match=r"the level 2, but there are 2: pbe, ccsd"):
        energy_forces(potential, **one, level=torch.tensor([2]))
    plain = Potential(network("PONITA")).double()
    with pytest.raises(ValueError, match=r"knows no level 'pbe'.*leave the level out"):
        GeqCalculator(plain, level="pbe")
    with pytest.raises(ValueError, match="this potential knows none"):
        energy_forces(plain, **one, level=torch.tensor([0]))
    with pytest.raises(ValueError, match="cannot know the level of theory"):
        Potential(Blind(), levels=LEVELS)
    with pytest.raises(ValueError, match="each of which once"):
        Potential(network("PONITA"), levels=["pbe", "pbe"])
    with pytest.raises(ValueError, match="but this potential knows pbe, ccsd"):
        potential.take_levels(["ccsd", "pbe"])


def test_elements_belong_to_a_level(one):
    potential = learnt("PONITA")
    potential.statistics.seen[1, 6] = False
    assert 6 in one["z"]
    energy_forces(potential, **one, level=torch.tensor([0]))
    with pytest.raises(ValueError, match=r"is C, .* never showed at the level ccsd \(H, O\)"):
        energy_forces(potential, **one, level=torch.tensor([1]))


@pytest.mark.slow
def test_one_level_as_a_calculator_and_a_program(tmp_path, one):
    """All of them have the energies of the level that was named."""
    from ase import Atoms

    potential = learnt("GauntNet").float()
    atoms = Atoms(one["z"].numpy(), one["pos"].numpy())
    energies = {}
    for level in LEVELS:
        atoms.calc = GeqCalculator(potential, level=level, dtype=torch.float64)
        energies[level] = atoms.get_potential_energy()
    assert abs(energies["pbe"] - energies["ccsd"]) > 1e-3
    export_program(potential, tmp_path / "ccsd.pt2", dtype=torch.float64, level="ccsd")
    atoms.calc = GeqCalculator(tmp_path / "ccsd.pt2", trusted=True)
    assert atoms.get_potential_energy() == pytest.approx(energies["ccsd"], abs=1e-9)
    with pytest.raises(ValueError, match="of one level"):
        GeqCalculator(tmp_path / "ccsd.pt2", trusted=True, level="pbe")
    assert potential.levels.default is None


def test_calibrated_potentials_have_levels(one):
    net = network("GauntNet")
    last = list(net.last_weights)
    size = sum(dict(net.named_parameters())[name].numel() for name in last)
    potential = CalibratedPotential(net, last=last, features=size, levels=LEVELS, level="ccsd")
    potential = potential.double()
    potential.levels.vectors.weight.data.normal_()
    own = potential.features(**one)
    other = potential.features(**one, level=torch.tensor([0]))
    assert (own - other).abs().max() > 1e-6
    torch.testing.assert_close(own, potential.features(**one, level=torch.tensor([1])))


def test_one_level_states_load_as_before(one):
    """The state dict of a potential without levels has its old names and shapes."""
    state = Potential(network("PONITA")).state_dict()
    assert state["statistics.references"].shape == (119,)
    assert state["statistics.shift"].shape == ()
    assert not any(name.startswith("levels") for name in state)
