"""Potentials give energies to the last digit, and forces and stress that are their derivatives."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import grad

from geqlib.geometry.grids import rotation_group
from geqlib.models import Potential, compiled_energy_forces, energy_forces
from tests.contract import Case, Contract, Typed
from tests.models.atoms import CUTOFF, batch, cast, fields, pairs, ponita, system

ICOSAHEDRAL = rotation_group("icosahedral")
MIXED = ((4, 3, 5, 1, 2, 1), (True, False, True, True, False, False))
MAKERS = {"pairs": pairs, "PONITA": ponita}


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


def numeric(potential: Potential, tensors: dict[str, Any], step: float = 1e-4) -> Tensor:
    """Forces by central differences; their error is step^2 times a third derivative."""
    found = torch.zeros_like(tensors["pos"])
    for atom in range(len(found)):
        for axis in range(3):
            energies = []
            for way in (step, -step):
                pos = tensors["pos"].clone()
                pos[atom, axis] += way
                energies.append(potential(**(tensors | {"pos": pos})).total.sum())
            found[atom, axis] = (energies[1] - energies[0]) / (2 * step)
    return found.detach()


@pytest.mark.parametrize("maker", MAKERS)
def test_forces_are_the_slope_of_the_energy(maker: str) -> None:
    potential, tensors = MAKERS[maker](), batch(*MIXED)
    forces = energy_forces(potential, **tensors)["forces"]
    assert forces.abs().max() > 1e-3
    expected = numeric(potential, tensors)
    torch.testing.assert_close(forces, expected, rtol=0, atol=1e-6 * float(forces.abs().max()))


@pytest.mark.parametrize("maker", MAKERS)
def test_stress_is_the_slope_under_strain(maker: str) -> None:
    potential, tensors = MAKERS[maker](), batch(*MIXED)
    found = energy_forces(potential, **tensors, stress=True)["stress"]
    assert torch.equal(found, found.transpose(1, 2)) or torch.allclose(found, found.mT, atol=1e-12)
    step, index = 1e-4, tensors["batch"]
    volume = torch.linalg.det(tensors["cell"]).abs()
    for i, j in ((0, 0), (1, 1), (2, 2), (0, 1), (1, 2), (2, 0)):
        energies = []
        for way in (step, -step):
            strain = torch.zeros(3, 3, dtype=torch.float64)
            strain[i, j] += way / 2
            strain[j, i] += way / 2
            pos = tensors["pos"] + tensors["pos"] @ strain
            cell = tensors["cell"] + tensors["cell"] @ strain
            energies.append(potential(**(tensors | {"pos": pos, "cell": cell})).total)
        slope = (energies[0] - energies[1]) / (2 * step)
        expected = torch.where(volume > 0, slope / volume.clamp(min=1e-9), 0.0).detach()
        largest = float(found.abs().max())
        torch.testing.assert_close(found[:, i, j], expected, rtol=0, atol=1e-5 * largest)
    molecules = ~torch.tensor(MIXED[1])
    assert not found[molecules].any() and found[~molecules].abs().amax((1, 2)).min() > 0
    assert index.max() == 5


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_doubled_cell_has_twice_the_energy(axis: int) -> None:
    potential = ponita(zbl=True)
    pos, z, cell = system(4, periodic=True)
    once = energy_forces(potential, **fields(pos, z, cell[None]), stress=True)
    double = cell.clone()
    double[axis] *= 2
    both = torch.cat([pos, pos + cell[axis]])
    twice = energy_forces(potential, **fields(both, z.repeat(2), double[None]), stress=True)
    close = {"rtol": 1e-10, "atol": 1e-10}
    torch.testing.assert_close(twice["energy"], 2 * once["energy"], **close)
    torch.testing.assert_close(twice["forces"], once["forces"].repeat(2, 1), **close)
    torch.testing.assert_close(twice["stress"], once["stress"], **close)


def test_atoms_may_be_written_in_any_image() -> None:
    potential = ponita()
    pos, z, cell = system(4, periodic=True)
    moved = pos + torch.tensor([[0.0, 0, 0], [3, -1, 0], [0, 2, 0], [-5, 0, 1]]).double() @ cell
    found = [energy_forces(potential, **fields(p, z, cell[None])) for p in (pos, moved)]
    torch.testing.assert_close(found[0]["forces"], found[1]["forces"], rtol=0, atol=1e-10)


def test_symmetries_of_crystals() -> None:
    """Rotations of the grid, relabelling and translation, of energy, forces and stress."""
    potential = ponita()
    pos, z, cell = system(5, periodic=True)
    before = energy_forces(potential, **fields(pos, z, cell[None]), stress=True)
    order = torch.tensor([3, 0, 4, 1, 2])
    for turn in ICOSAHEDRAL[[1, 17, 40]]:
        moved = (pos @ turn.T + torch.tensor([0.3, -2.0, 7.0]))[order]
        after = energy_forces(
            potential, **fields(moved, z[order], (cell @ turn.T)[None]), stress=True
        )
        expected = {
            "energy": before["energy"],
            "energies": before["energies"][order],
            "forces": (before["forces"] @ turn.T)[order],
            "stress": turn @ before["stress"] @ turn.T,
        }
        for name, value in expected.items():
            torch.testing.assert_close(after[name], value, rtol=0, atol=1e-11)
    assert before["forces"].sum(0).abs().max() < 1e-12


def test_forces_end_smoothly_at_the_cutoff() -> None:
    potential, z = ponita(), torch.tensor([6, 8])

    def pull(distance: float) -> Tensor:
        pos = torch.tensor([[0.0, 0, 0], [0.0, 0.6, 0.8]], dtype=torch.float64)
        return energy_forces(potential, **fields(distance * pos, z))["forces"][1]

    inside = torch.stack([pull(CUTOFF - 10.0**-k) for k in range(1, 6)]).norm(dim=1)
    assert inside[0] > 1e-4 and (inside.diff() < 0).all()
    # a sixth-order envelope has its third zero at the cutoff: forces fall with the square
    assert inside[4] < 1e-6 * inside[0]
    assert not pull(CUTOFF + 1e-9).any()


@pytest.mark.parametrize("maker", MAKERS)
def test_batches_of_crystals_and_molecules_equal_one_by_one(maker: str) -> None:
    potential, tensors = MAKERS[maker](), batch(*MIXED)
    together = energy_forces(potential, **tensors, stress=True)
    parts = []
    for number, periodic in enumerate(MIXED[1]):
        here = tensors["batch"] == number
        cell = tensors["cell"][number][None] if periodic else None
        one = fields(tensors["pos"][here], tensors["z"][here], cell)
        parts.append(energy_forces(potential, **one, stress=True))
    for name, value in together.items():
        expected = torch.cat([part[name] for part in parts])
        torch.testing.assert_close(value, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("zbl", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_degenerate_frames_are_finite(dtype: torch.dtype, zbl: bool) -> None:
    """One atom, atoms without neighbours, atoms at one place; also what training needs."""
    potential = ponita(dtype, zbl=zbl)
    apart = torch.tensor([[0.0, 0, 0], [9.0, 0, 0], [0.0, 9, 0]], dtype=dtype)
    for pos in (apart[:1], apart, torch.zeros(2, 3, dtype=dtype), apart[[0, 1, 1]]):
        tensors = fields(pos, torch.full((len(pos),), 6))
        found = energy_forces(potential, **tensors, stress=True, create_graph=True)
        loss = torch.stack([value.float().square().sum() for value in found.values()]).sum()
        grads = grad(loss, list(potential.parameters()), materialize_grads=True)
        assert all(bool(value.isfinite().all()) for value in (*found.values(), *grads))
    alone = energy_forces(potential, **fields(apart, torch.full((3,), 6)))
    assert not alone["forces"].any() and len(alone["energies"].unique()) == 1


def test_no_atoms() -> None:
    empty = fields(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long))
    found = energy_forces(ponita(torch.float32), **empty, stress=True)
    assert found["energy"].tolist() == [0.0] and found["forces"].shape == (0, 3)


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
    found = potential(**tensors)
    assert found.total.dtype == found.atoms.dtype == torch.float64
    assert found.interaction.dtype == torch.float32
    count = torch.stack([(tensors["z"] == z) for z in (1, 6, 8)], 1).double()
    alone = torch.zeros(6, 3).double().index_add(0, tensors["batch"], count)
    expected = plain.total + alone @ references[[1, 6, 8]]
    torch.testing.assert_close(found.total, expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(found.interaction, plain.interaction, rtol=0, atol=0)
    summed = torch.zeros(6).double().index_add(0, tensors["batch"], found.atoms)
    torch.testing.assert_close(summed, found.total, rtol=0, atol=1e-10)


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
    found = [energy_forces(potential, **tensors) for potential in (atoms, whole)]
    for name in ("energy", "forces"):
        torch.testing.assert_close(found[1][name], found[0][name], rtol=0, atol=1e-12)
    summed = torch.zeros(6).double().index_add(0, tensors["batch"], found[1]["energies"])
    torch.testing.assert_close(summed, found[1]["energy"])
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
    found = energy_forces(potential, **fields(torch.zeros(2, 3), torch.tensor([1, 8])))
    assert found["energies"].tolist() == [1.0, 8.0]
    assert found["forces"].tolist() == [[-1.0, 0.0, 0.0]] * 2


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


class Two(nn.Module):
    def forward(self, pos: Tensor) -> Tensor:
        return pos[:, :2]


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_forces_need_no_gradient_mode(mode: Any) -> None:
    potential, tensors = ponita(), batch(*MIXED)
    expected = energy_forces(potential, **tensors)["forces"]
    with mode(), torch.inference_mode(False):
        assert torch.equal(energy_forces(potential, **tensors)["forces"], expected)
        assert not energy_forces(potential, **tensors)["energy"].requires_grad


def results(potential: Potential, found: dict[str, Tensor]) -> dict[str, Tensor]:
    """Energies, forces, stress, and the gradients of a loss on all of them."""
    loss = torch.stack([value.square().sum().float() for value in found.values()]).sum()
    names, parameters = zip(*potential.named_parameters(), strict=True)
    slopes = grad(loss, parameters, materialize_grads=True)
    return {k: v.detach() for k, v in found.items()} | dict(zip(names, slopes, strict=True))


def test_compiled_forces_train_alike() -> None:
    """One compiled function for all sizes; its results can be differentiated again."""
    torch.compiler.reset()
    potential = pairs(torch.float32)
    compiled = compiled_energy_forces(potential, backend="aot_eager")
    sizes = [MIXED, ((2, 6, 3, 2), (True, True, False, True)), ((7, 5), (True, True))]
    for number, shape in enumerate(sizes):
        tensors = cast(batch(*shape), torch.float32)
        eager = energy_forces(potential, **tensors, stress=True, create_graph=True)
        with torch.compiler.set_stance("fail_on_recompile" if number else "default"):
            found = compiled(**tensors, stress=True)
        expected = results(potential, eager)
        for name, value in results(potential, found).items():
            scale = float(expected[name].abs().max().clamp(min=1e-6))
            torch.testing.assert_close(value, expected[name], rtol=0, atol=1e-5 * scale)
        potential.statistics.scale.mul_(1.5)


# raised by dynamo itself wherever it meets an autograd.Function
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_wrong_derivatives_are_refused() -> None:
    """Where torch would drop second derivatives, an error must say so."""
    torch.compiler.reset()

    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            ctx.save_for_backward(x)
            return x**2

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Tensor:
            return 2 * g * ctx.saved_tensors[0]

    class Net(nn.Module):
        def forward(self, pos: Tensor) -> Tensor:
            return Square.apply(pos)[:, :1]

    tensors = fields(torch.ones(2, 3), torch.tensor([1, 1]))
    compiled = compiled_energy_forces(Potential(Net()), backend="aot_eager")
    with pytest.raises(ValueError, match="compile=False"):
        compiled(**tensors)
