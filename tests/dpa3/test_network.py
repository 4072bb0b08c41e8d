"""DPA3: its formula written slowly, exact symmetries, and smoothness at both cutoffs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from geqlib.dpa3.angles import angle_plan
from geqlib.graph import accepted, neighbor_list
from geqlib.graph.recordings import Rerun
from geqlib.models import DPA3, Potential, energy_forces
from tests.atoms.atoms import batch
from tests.contract import Case, Contract, Typed
from tests.dpa3 import oracle_dpa3

SMALL: dict[str, Any] = {
    "node_channels": 6,
    "edge_channels": 5,
    "angle_channels": 3,
    "compressed": 4,
}
SMALL |= {"layers": 2, "cutoff": 3.0, "switch": 2.5, "angle_cutoff": 2.4, "angle_switch": 1.9}
SMALL |= {"neighbors": 6.0, "angle_neighbors": 3.0, "readout": [7]}


def small(**options: Any) -> DPA3:
    torch.manual_seed(0)
    return DPA3(**(SMALL | options)).double()


def graph(pos: Tensor, edge_index: Tensor, generator: torch.Generator) -> Typed:
    x = torch.randn(len(pos), 6, generator=generator, dtype=torch.float64)
    typed = {"pos": (pos, "point"), "edge_index": (edge_index, "edge_index")}
    return typed | {"x": (x, "scalar")}


def plan(net: DPA3, tensors: dict[str, Tensor], graphs: int) -> dict[str, Any]:
    return {"plan": net.plan(tensors["edge_index"], len(tensors["pos"]), tensors["pos"])}


class TestContract(Contract):
    cases = (
        Case(
            "DPA3",
            lambda: small(out_scalars=2),
            graph,
            "scalar",
            ("E(3)",),
            plan,
            backend="eager",
        ),
    )


def system(name: str) -> tuple[Tensor, Tensor, Tensor]:
    """Positions, edges in random order, and shifts."""
    generator = torch.Generator().manual_seed(3)

    def points(nodes: int, scale: float) -> Tensor:
        return scale * torch.randn(nodes, 3, generator=generator, dtype=torch.float64)

    pos = {
        "random": points(6, 1.3),
        "ragged": torch.cat([points(4, 0.8), points(3, 0.6) + 9.0, points(1, 1.0) + 30.0]),
        "dense": points(5, 0.4),
        "single atom": points(1, 1.0),
        "empty": points(0, 1.0),
    }[name]
    edges = neighbor_list(pos, 3.0).edge_index
    order = torch.randperm(edges.size(1), generator=generator)
    edges = edges[:, order]
    shift = 0.1 * points(edges.size(1), 1.0)
    return pos, edges, shift


@pytest.mark.parametrize("name", ["random", "ragged", "dense", "single atom", "empty"])
def test_network_is_its_formula(name: str) -> None:
    pos, edges, shift = system(name)
    net = small(layers=3, readout=[7, 8])
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():  # biases are 0 at first
            parameter += 0.5 * torch.randn_like(parameter)
    x = 3 * torch.randn(len(pos), 6, dtype=torch.float64)
    with torch.no_grad():
        rows = oracle_dpa3.atoms(net, pos, edges, x, shift) if len(pos) else torch.zeros(0, 1)
    expected = rows.double()
    for own in (
        None,
        net.plan(edges, len(pos)),
        net.plan(edges, len(pos)).rounded(),
        angle_plan(edges, len(pos)).rounded().rounded(),
    ):
        out = net(pos, edges, x, edge_shift=shift, plan=own)
        torch.testing.assert_close(out, expected, atol=1e-11, rtol=1e-11)


def test_every_part_of_the_formula_counts() -> None:
    """Else the comparison with the formula would say nothing of it."""
    pos, edges, _ = system("dense")
    net, x = small(layers=3), torch.randn(len(pos), 6, dtype=torch.float64)
    grads = torch.autograd.grad(net(pos, edges, x).square().sum(), list(net.parameters()))
    for (name, _), gradient in zip(net.named_parameters(), grads, strict=True):
        assert gradient.abs().max() > 1e-9, name


def far(distance: float) -> Tensor:
    """Three atoms, of which the last is at a distance from the first."""
    atoms = [[0.0, 0, 0], [0.0, 1.0, 0.2], [distance, 0, 0]]
    return torch.tensor(atoms, dtype=torch.float64)


def energy_and_forces(net: DPA3, distance: float) -> Tensor:
    """[1 + 9] with all edges, whatever their length."""
    pos = far(distance).requires_grad_()
    x = torch.linspace(-2, 2, 18, dtype=torch.float64).view(3, 6)
    energy = net(pos, ALL, x, plan=angle_plan(ALL, 3)).sum()
    (slope,) = torch.autograd.grad(energy, pos)
    return torch.cat([energy.detach().view(1), -slope.flatten()])


ALL = (~torch.eye(3, dtype=torch.bool)).nonzero().T
STEEP = {"switch": 2.9, "cutoff": 3.0, "angle_cutoff": 2.0, "angle_switch": 1.9}


def test_energy_and_forces_vanish_smoothly_at_the_cutoff() -> None:
    """Within d of it as d^3 and d^2, though the published switch is 0.14 at this cutoff."""
    net = small(**STEEP)
    outside = energy_and_forces(net, 3.0)
    assert torch.equal(energy_and_forces(net, 3.1), outside)
    near, nearer = (energy_and_forces(net, 3.0 - d) - outside for d in (2e-3, 1e-3))
    assert near[0].abs() > 1e-11
    assert near[0] / nearer[0] == pytest.approx(8, rel=0.1)
    assert near[1:].abs().max() / nearer[1:].abs().max() == pytest.approx(4, rel=0.1)


def test_angles_vanish_smoothly_at_their_cutoff() -> None:
    net, without = small(**STEEP), small(**STEEP)
    with torch.no_grad():
        without.get_parameter("layers.0.mix.weight").zero_()

    def part(distance: float) -> Tensor:
        return energy_and_forces(net, distance) - energy_and_forces(without, distance)

    assert part(2.0).abs().max() == 0 and part(2.1).abs().max() == 0
    near, nearer = part(2.0 - 2e-3), part(2.0 - 1e-3)
    assert near[0].abs() > 1e-11
    assert near[0] / nearer[0] == pytest.approx(8, rel=0.1)
    assert near[1:].abs().max() / nearer[1:].abs().max() == pytest.approx(4, rel=0.1)


def potential(**options: Any) -> Potential:
    return Potential(small(**options)).double()


def test_plans_of_potentials_change_nothing() -> None:
    """Molecules and crystals: by positions, without, padded, and from nobody."""
    tensors = batch((4, 3, 5, 1), (True, False, True, True))
    model = potential()
    expected = energy_forces(model, **tensors)
    sizes = {**tensors, "num_nodes": len(tensors["pos"])}
    close = model.plan(**accepted(model.plan, sizes))
    every = model.plan(tensors["edge_index"], len(tensors["pos"]))
    assert close.first.size(0) < every.first.size(0)
    for own in (close, every, close.rounded()):
        got = energy_forces(model, **tensors, plan=own)
        for name in ("energy", "forces"):
            torch.testing.assert_close(got[name], expected[name], atol=1e-12, rtol=1e-12)


def test_supercells_have_the_energy_of_their_cells() -> None:
    cell = torch.tensor([[1.9, 0.1, 0.0], [0.0, 2.1, 0.2], [0.1, 0.0, 2.0]], dtype=torch.float64)
    pos, z = torch.tensor([[0.1, 0.2, 0.3], [1.0, 1.2, 0.9]]).double(), torch.tensor([1, 8])
    model, energies = potential(), []
    steps = torch.cartesian_prod(torch.arange(2), torch.arange(1), torch.arange(2)).double()
    for factors, images in ((torch.ones(3), steps[:1]), (torch.tensor([2.0, 1, 2]), steps)):
        atoms = (pos + (images @ cell)[:, None]).flatten(0, 1)
        large = cell * factors.double()[:, None]
        near = neighbor_list(atoms, 3.0, cell=large[None])
        more = {"cell": large[None], "cell_shift": near.cell_shift}
        energies.append(model(atoms, z.repeat(len(images)), near.edge_index, **more).total)
    torch.testing.assert_close(energies[1], 4 * energies[0], atol=1e-11, rtol=1e-12)


def test_structures_are_replayed_with_padded_angles() -> None:
    from geqlib.calculators.replayed import ReplayedForces

    model = potential()
    replayed = ReplayedForces(model, Rerun())
    for nodes in (4, 5):
        tensors = batch((nodes,), (True,))
        fields = {k: v for k, v in tensors.items() if k not in ("batch", "num_graphs")}
        expected = energy_forces(model, **fields)["forces"]
        got = replayed(**fields)["forces"]
        torch.testing.assert_close(got, expected, atol=1e-10, rtol=1e-10)
    assert not replayed.refused


def test_charges_are_known_by_the_embedding() -> None:
    tensors = batch((4,), (False,))
    model = Potential(small(), charge=True).double()
    torch.nn.init.normal_(model.get_parameter("charges.charges.weight"))
    neutral, anion = (model(**tensors, charge=torch.tensor([charge])).total for charge in (0, -1))
    assert (neutral - anion).abs() > 1e-6


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "layers": ({"layers": 1}, "layers must be at least 2, got 1"),
    "channels": ({"node_channels": 3}, "must be at least 4, the columns of their"),
    "angles": ({"angle_channels": 0}, "must be positive, got 0, 4"),
    "readout": ({"readout": [0]}, r"must be positive, got 3, 4, \[0\] and 1"),
    "compressed": ({"compressed": 7}, "compressed must be at most node_channels and edge_channels"),
    "angle cutoff": ({"angle_cutoff": 3.5}, "angle_cutoff must be at most cutoff, got 3.5 and 3.0"),
    "switch": ({"switch": 3.0}, "falls between its start and its cutoff, got 3.0 and 3.0"),
    "neighbors": ({"neighbors": 0.0}, "neighbors and angle_neighbors must be positive, got 0.0"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_options(name: str) -> None:
    change, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        small(**change)


def test_bad_inputs() -> None:
    net, pos, x = small(), torch.zeros(3, 3).double(), torch.zeros(3, 6).double()
    with pytest.raises(ValueError, match=r"x has shape \(3, 5\), expected \[3, 6\]"):
        net(pos, ALL, x[:, :5])
    with pytest.raises(ValueError, match=r"pos has shape \(3, 2\), expected \[atoms, 3\]"):
        net(pos[:, :2], ALL, x)
