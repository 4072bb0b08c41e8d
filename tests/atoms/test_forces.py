"""Forces and stress are the derivatives of the energy, eagerly and compiled."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import grad

from geqlib.models import Potential, compiled_energy_forces, energy_forces
from geqlib.sphere.grids import rotation_group
from tests.atoms.atoms import CUTOFF, batch, fields, pairs, ponita, system

ICOSAHEDRAL = rotation_group("icosahedral")
MIXED = ((4, 3, 5, 1, 2, 1), (True, False, True, True, False, False))
MAKERS = {"pairs": pairs, "PONITA": ponita}


def numeric(potential: Potential, tensors: dict[str, Any], step: float = 1e-4) -> Tensor:
    """Forces by central differences; their error is step^2 times a third derivative."""
    actual = torch.zeros_like(tensors["pos"])
    for atom in range(len(actual)):
        for axis in range(3):
            energies = []
            for way in (step, -step):
                pos = tensors["pos"].clone()
                pos[atom, axis] += way
                energies.append(potential(**(tensors | {"pos": pos})).total.sum())
            actual[atom, axis] = (energies[1] - energies[0]) / (2 * step)
    return actual.detach()


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
    actual = energy_forces(potential, **tensors, stress=True)["stress"]
    torch.testing.assert_close(actual, actual.mT, rtol=0, atol=1e-12)
    step, volume = 1e-4, torch.linalg.det(tensors["cell"]).abs()
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
        largest = float(actual.abs().max())
        torch.testing.assert_close(actual[:, i, j], expected, rtol=0, atol=1e-5 * largest)
    molecules = ~torch.tensor(MIXED[1])
    assert not actual[molecules].any() and actual[~molecules].abs().amax((1, 2)).min() > 0


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
    actual = [energy_forces(potential, **fields(p, z, cell[None])) for p in (pos, moved)]
    torch.testing.assert_close(actual[0]["forces"], actual[1]["forces"], rtol=0, atol=1e-10)


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
        actual = energy_forces(potential, **tensors, stress=True, create_graph=True)
        loss = torch.stack([value.float().square().sum() for value in actual.values()]).sum()
        grads = grad(loss, list(potential.parameters()), materialize_grads=True)
        assert all(bool(value.isfinite().all()) for value in (*actual.values(), *grads))
    alone = energy_forces(potential, **fields(apart, torch.full((3,), 6)))
    assert not alone["forces"].any()
    first = alone["energies"][:1].expand(3)
    torch.testing.assert_close(alone["energies"], first, rtol=1e-12, atol=0)


def test_no_atoms() -> None:
    empty = fields(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long))
    actual = energy_forces(ponita(torch.float32), **empty, stress=True)
    assert actual["energy"].tolist() == [0.0] and actual["forces"].shape == (0, 3)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_forces_need_no_gradient_mode(mode: Any) -> None:
    potential, tensors = ponita(), batch(*MIXED)
    expected = energy_forces(potential, **tensors)["forces"]
    with mode(), torch.inference_mode(False):
        assert torch.equal(energy_forces(potential, **tensors)["forces"], expected)
        assert not energy_forces(potential, **tensors)["energy"].requires_grad


def results(potential: Potential, actual: dict[str, Tensor]) -> dict[str, Tensor]:
    """Energies, forces, stress, and the gradients of a loss on all of them."""
    loss = torch.stack([value.square().sum().float() for value in actual.values()]).sum()
    names, parameters = zip(*potential.named_parameters(), strict=True)
    slopes = grad(loss, parameters, materialize_grads=True)
    return {k: v.detach() for k, v in actual.items()} | dict(zip(names, slopes, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("maker", MAKERS)
# raised by dynamo itself wherever it meets an autograd.Function
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_compiled_forces_train_alike(maker: str) -> None:
    """One compiled function for all sizes; its results can be differentiated again."""
    torch.compiler.reset()
    potential = MAKERS[maker]()
    compiled = compiled_energy_forces(potential, backend="aot_eager")
    sizes = [MIXED, ((2, 6, 3, 2), (True, True, False, True)), ((7, 5), (True, True))]
    for number, shape in enumerate(sizes):
        tensors = batch(*shape)
        eager = energy_forces(potential, **tensors, stress=True, create_graph=True)
        plan = None
        if maker == "PONITA":
            edges, nodes = tensors["edge_index"], len(tensors["pos"])
            plan = potential.model.plan(edges, nodes, reverse=tensors["reverse"])
        with torch.compiler.set_stance("fail_on_recompile" if number else "default"):
            actual = compiled(**tensors, plan=plan, stress=True)
        expected = results(potential, eager)
        for name, value in results(potential, actual).items():
            scale = float(expected[name].abs().max().clamp(min=1e-6))
            torch.testing.assert_close(value, expected[name], rtol=0, atol=1e-10 * scale)
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
