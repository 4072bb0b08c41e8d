"""Potentials give energies to the last digit, from any network."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from geqlib.models import GauntNet, Potential, energy_forces
from geqlib.nn import ZBL, GaussianCharges
from geqlib.sphere.grids import rotation_group
from tests.atoms.atoms import batch, cast, fields, pairs, ponita, system
from tests.contract import Case, Contract, Typed

ICOSAHEDRAL = rotation_group("icosahedral")
MIXED = ((4, 3, 5, 1, 2, 1), (True, False, True, True, False, False))


class TestContract(Contract):
    @staticmethod
    def inputs(pos: Tensor, edge_index: Tensor, generator: torch.Generator) -> Typed:
        z = torch.randint(1, 9, (len(pos),), generator=generator)
        return {
            "pos": (pos, "point"),
            "z": (z, "scalar"),
            "edge_index": (edge_index, "edge_index"),
            "batch": (torch.zeros(len(pos), dtype=torch.long), "batch"),
        }

    @staticmethod
    def extra(potential: Potential, tensors: dict[str, Tensor], graphs: int) -> dict[str, Any]:
        network: Any = potential.model
        plan = network.plan(tensors["edge_index"], len(tensors["pos"]))
        return {"num_graphs": graphs, "plan": plan}

    exact = "totals and the energies of atoms are float64 whatever the network is"
    cases: ClassVar = (
        Case(
            "PONITA",
            lambda: ponita(layers=1, channels=4, basis=4, zbl=True),
            inputs.__func__,
            ("graph:scalar", "graph:scalar", "scalar"),
            groups=("T(3)", ICOSAHEDRAL, -ICOSAHEDRAL[:1]),
            extra=extra.__func__,
            # the repulsion reaches 10^5 eV where random atoms all but coincide
            backend="eager",
            rounding={torch.float64: 1e-11, torch.float32: 1e-3},
            exceptions={"dtype": exact, "autocast": exact},
        ),
    )


def test_large_references_lose_nothing() -> None:
    """-13 000 eV in float32 is known to 1e-3 eV; the difference of two frames must be better."""
    potential = pairs(torch.float32)
    references, seen = torch.zeros(119).double(), torch.zeros(119, dtype=torch.bool)
    references[[1, 6, 8]] = torch.tensor(
        [-13.587222780835477, -1029.4889999855063, -2041.98], dtype=torch.float64
    )
    seen[[1, 6, 8]] = True
    tensors = cast(batch(*MIXED), torch.float32)
    plain = potential(**tensors)
    potential.statistics.set(references, seen, 1.0, 0.0)
    actual = potential(**tensors)
    assert actual.total.dtype == actual.atoms.dtype == torch.float64
    assert actual.interaction.dtype == torch.float32
    count = torch.stack([(tensors["z"] == z) for z in (1, 6, 8)], 1).double()
    alone = torch.zeros(6, 3).double().index_add(0, tensors["batch"], count)
    expected = plain.total + alone @ references[[1, 6, 8]]
    torch.testing.assert_close(actual.total, expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(actual.interaction, plain.interaction, rtol=0, atol=0)
    summed = torch.zeros(6).double().index_add(0, tensors["batch"], actual.atoms)
    torch.testing.assert_close(summed, actual.total, rtol=0, atol=1e-10)


def test_scale_and_shift() -> None:
    potential, tensors = pairs(), batch(*MIXED)
    before = energy_forces(potential, **tensors)
    seen = torch.ones(119, dtype=torch.bool)
    potential.statistics.set(torch.zeros(119), seen, 2.5, -3.0)
    after = energy_forces(potential, **tensors)
    sizes = torch.bincount(tensors["batch"])
    torch.testing.assert_close(after["energy"], 2.5 * before["energy"] - 3 * sizes)
    torch.testing.assert_close(after["forces"], 2.5 * before["forces"])


def test_statistics_keep_their_digits_and_are_saved() -> None:
    potential, references = pairs(), torch.linspace(-1000, 0, 119, dtype=torch.float64).sin()
    assert not potential.statistics.fitted
    potential.statistics.set(references, references > 0, 1 / 3, 2 / 3)
    other = pairs(torch.float32).half().double()
    other.load_state_dict(potential.float().half().double().state_dict())
    assert torch.equal(other.statistics.references, references) and other.statistics.fitted
    assert other.statistics.scale.item() == 1 / 3 and other.statistics.shift.item() == 2 / 3
    assert torch.equal(other.statistics.seen, references > 0)


def test_a_network_may_give_one_scalar_a_graph() -> None:
    tensors = batch(*MIXED)
    atoms, whole = pairs(), pairs(level="graph")
    for potential in (atoms, whole):
        potential.statistics.set(torch.ones(119), torch.ones(119, dtype=torch.bool), 2.0, 0.5)
    actual = [energy_forces(potential, **tensors) for potential in (atoms, whole)]
    for name in ("energy", "forces"):
        torch.testing.assert_close(actual[1][name], actual[0][name], rtol=0, atol=1e-12)
    summed = torch.zeros(6).double().index_add(0, tensors["batch"], actual[1]["energies"])
    torch.testing.assert_close(summed, actual[1]["energy"])
    # graphs without atoms have no energy
    energy = whole(**(tensors | {"num_graphs": 7, "cell": None, "cell_shift": None})).total
    assert energy.shape == (7,) and energy[6] == 0


class Named(nn.Module):
    """Knows elements by their numbers, and nothing of cells."""

    def forward(self, z: Tensor, pos: Tensor, edge_index: Tensor) -> Tensor:
        return z.to(pos.dtype) + pos[:, 0]


def test_the_network_gets_what_it_names() -> None:
    potential = Potential(Named())
    assert potential.embedding is None
    actual = energy_forces(potential, **fields(torch.zeros(2, 3), torch.tensor([1, 8])))
    assert actual["energies"].tolist() == [1.0, 8.0]
    assert actual["forces"].tolist() == [[-1.0, 0.0, 0.0]] * 2


def test_errors() -> None:
    pos, z, cell = system(3, periodic=True)
    potential, tensors = pairs(), fields(pos, torch.tensor([1, 79, 6]), cell[None])
    seen = torch.zeros(119, dtype=torch.bool)
    seen[[1, 6]] = True
    potential.statistics.set(torch.zeros(119), seen, 1.0, 0.0)
    with pytest.raises(ValueError, match=r"atom 1 is Au, which .* never showed \(H, C\)"):
        energy_forces(potential, **tensors)
    energy_forces(potential, **tensors, check=False)
    with pytest.raises(ValueError, match="Named cannot work with periodic cells"):
        energy_forces(Potential(Named()), **tensors)
    with pytest.raises(ValueError, match="`cell` is missing"):
        energy_forces(pairs(), **(tensors | {"cell": None}))
    with pytest.raises(ValueError, match=r"shape \(3, 2\) for 3 atoms: a potential needs one"):
        Potential(Two())(pos, z, tensors["edge_index"])


@pytest.mark.parametrize("number", [-1, 119, 300])
def test_numbers_that_no_table_has(number: int) -> None:
    pos = torch.tensor([[0.0, 0, 0], [0.0, 0, 1.1]], dtype=torch.float64)
    tensors = fields(pos, torch.tensor([1, number]))
    trained, charged = pairs(), Potential(Two(), long_range=GaussianCharges())
    trained.statistics.set(torch.zeros(119), torch.ones(119, dtype=torch.bool), 1.0, 0.0)
    # here, as the contract suite imports this file where there is no ase
    ase = pytest.importorskip("ase")
    from geqlib.calculators import GeqCalculator

    atoms = ase.Atoms([1, number], pos.numpy())
    gaunt = GauntNet(["H"], channels=2, degree=1, order=2, layers=1, cutoff=3.0).double()
    calls = [
        lambda: pairs()(**tensors),
        lambda: charged(**tensors),
        lambda: gaunt(**{name: tensors[name] for name in ("pos", "z", "edge_index")}),
        lambda: ZBL()(pos, tensors["z"], tensors["edge_index"]),
        lambda: energy_forces(pairs(), **tensors),
        lambda: energy_forces(trained, **tensors),
        lambda: trained.check(tensors["z"]),
        lambda: GeqCalculator(trained).calculate(atoms),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=f"^atom 1 has the atomic number {number}: they go"):
            call()
    assert pairs()(**fields(pos, torch.tensor([1, 118]))).total.isfinite()


class Two(nn.Module):
    def forward(self, pos: Tensor) -> Tensor:
        return pos[:, :2]
