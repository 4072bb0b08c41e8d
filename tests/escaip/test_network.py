"""EScAIP: exact symmetries, its formula written slowly, and energies without a jump."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.func import functional_call

from geqlib.atoms.properties import AtomProperties
from geqlib.escaip import neighborhoods
from geqlib.escaip.neighborhoods import FLOOR
from geqlib.graph import neighbor_list
from geqlib.models import EScAIP, Potential, energy_forces
from tests.atoms.atoms import batch, cast, fields, system
from tests.contract import Case, Contract, Typed, join, random_graphs, values
from tests.escaip import oracle_escaip

SMALL: dict[str, Any] = {"channels": 8, "layers": 2, "heads": 2, "gaussians": 4, "radial": 3}
SMALL |= {"bond_degree": 3, "bond_features": 2, "angular": (1, 2, 1), "cutoff": 3.0, "k": 4}
MANY = "the tensors of weights are many: test_derivatives_along_a_line has all of them at once"


def small(**options: Any) -> EScAIP:
    torch.manual_seed(0)
    return EScAIP(2, 1, **(SMALL | options)).double()


def inputs(pos: Tensor, edge_index: Tensor, generator: torch.Generator) -> Typed:
    x = torch.randn(len(pos), 2, generator=generator, dtype=torch.float64)
    return {
        "pos": (pos, "point"),
        "edge_index": (edge_index, "edge_index"),
        "x": (x, "scalar"),
    }


def plan(net: EScAIP, tensors: dict[str, Tensor], graphs: int) -> dict[str, Any]:
    return {"plan": net.plan(tensors["edge_index"], len(tensors["pos"]))}


def case(name: str, groups: tuple[str, ...], outputs: Any, **options: Any) -> Case:
    return Case(
        name,
        lambda: small(**options),
        inputs,
        outputs,
        groups,
        extra=plan,
        backend="eager",
        exceptions={"derivatives": MANY},
    )


class TestContract(Contract):
    cases = (
        case("energies", ("E(3)",), "scalar"),
        case("few neighbours", ("E(3)",), "scalar", layers=1, k=2),
        case("direct forces", ("T(3)",), ("scalar", "vector"), direct_forces=True, layers=1),
    )


def cloud(nodes: int, seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Positions, edges of which one goes one way only, and features."""
    generator = torch.Generator().manual_seed(seed)
    pos = 1.3 * torch.randn(nodes, 3, generator=generator, dtype=torch.float64)
    x = torch.randn(nodes, 2, generator=generator, dtype=torch.float64)
    edge_index = neighbor_list(pos, 3.0).edge_index
    return pos, edge_index[:, 1:], x


@pytest.mark.parametrize(
    ("nodes", "options"),
    [
        (6, {}),
        (6, {"k": 2, "layers": 1}),
        (5, {"k": 30, "layers": 3, "angular": (0, 1, 3)}),
        (4, {"direct_forces": True}),
        (1, {"direct_forces": True}),
        (0, {}),
    ],
    ids=str,
)
def test_network_is_its_formula(nodes: int, options: dict[str, Any]) -> None:
    net, (pos, edge_index, x) = small(**options), cloud(nodes)
    out = net(pos, edge_index, x)
    if not nodes:
        assert out.shape == (0, 1)
        return
    expected = oracle_escaip.Atoms(net, pos, edge_index, x).run()
    pairs = (
        zip(out, expected, strict=True) if options.get("direct_forces") else [(out, expected[0])]
    )
    for tensor, slow in pairs:
        torch.testing.assert_close(tensor, slow, atol=1e-12, rtol=1e-12)
    assert float(expected[0].detach().abs().max()) > 1e-2


def test_images_of_a_cell() -> None:
    """Several edges between the same atoms, and edges of an atom with its own images."""
    net = small(layers=1, k=6)
    generator = torch.Generator().manual_seed(0)
    pos = torch.rand(2, 3, generator=generator, dtype=torch.float64)
    x = torch.randn(2, 2, generator=generator, dtype=torch.float64)
    cell = 2.1 * torch.eye(3, dtype=torch.float64)[None]
    near = neighbor_list(pos, 2.5, cell=cell)
    shift = near.cell_shift.double() @ cell[0]
    expected = oracle_escaip.Atoms(net, pos, near.edge_index, x, shift).run()[0]
    out = net(pos, near.edge_index, x, edge_shift=shift)
    torch.testing.assert_close(out, expected, atol=1e-12, rtol=1e-12)
    assert bool((near.edge_index[0] == near.edge_index[1]).any())


def test_order_of_neighbours_changes_nothing() -> None:
    net, (pos, edge_index, x) = small(direct_forces=True), cloud(7)
    order = torch.randperm(edge_index.size(1), generator=torch.Generator().manual_seed(0))
    for one, other in zip(net(pos, edge_index, x), net(pos, edge_index[:, order], x), strict=True):
        torch.testing.assert_close(one, other, atol=1e-13, rtol=1e-13)


@pytest.mark.parametrize("options", [{}, {"layers": 1, "direct_forces": True}], ids=str)
def test_derivatives_along_a_line(options: dict[str, Any]) -> None:
    """First and second ones of all inputs and all weights, each in a random direction."""
    net, (pos, edge_index, x) = small(**options), cloud(4)
    edges, state = net.plan(edge_index, 4), dict(net.named_parameters())
    generator = torch.Generator().manual_seed(3)

    def moved(tensor: Tensor, step: Tensor) -> Tensor:
        way = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
        return tensor.detach() + step * way

    def fn(geometry: Tensor, features: Tensor, weights: Tensor) -> Any:
        generator.manual_seed(3)
        arguments = moved(pos, geometry), edge_index, moved(x, features)
        changed = {name: moved(value, weights) for name, value in state.items()}
        return functional_call(net, changed, arguments, {"plan": edges})

    point = tuple(torch.zeros((), dtype=torch.float64, requires_grad=True) for _ in range(3))
    gradcheck(fn, point)
    gradgradcheck(fn, point)


def test_forces_are_derivatives() -> None:
    tensors = batch((4, 3), (True, False))
    potential, pos = Potential(small()), tensors["pos"]
    forces, step = energy_forces(potential, **tensors)["forces"], 1e-5
    for atom, axis in ((0, 0), (2, 1), (5, 2)):
        energies = []
        for sign in (1, -1):
            shifted = pos.clone()
            shifted[atom, axis] += sign * step
            energies.append(potential(**(tensors | {"pos": shifted})).total.sum().item())
        numeric = (energies[1] - energies[0]) / (2 * step)
        torch.testing.assert_close(float(forces[atom, axis]), numeric, atol=1e-8, rtol=1e-6)
    assert float(forces.abs().max()) > 1e-2


def crossing_the_cutoff(s: float) -> Tensor:
    """An atom that leaves the others: of its distances to them, some are 3 on the way."""
    fixed = [[0.0, 0, 0], [1.1, 0.2, 0], [0.3, 1.0, 0.4], [-0.5, 0.6, -0.9]]
    return torch.tensor([*fixed, [1.6 + s, 1.6, 1.5]], dtype=torch.float64)


def crossing_a_rank(s: float) -> Tensor:
    """An atom that comes near a crowded one, where it displaces others."""
    ring = [[1.2, 0, 0], [-1.3, 0.1, 0], [0, 1.4, 0.1], [0, -1.5, 0.2], [0.1, 0.2, 1.6]]
    return torch.tensor([[0.0, 0, 0], *ring, [0.9 - s, 0.9 - s, -1.5 + s]], dtype=torch.float64)


PATHS = {"cutoff": (crossing_the_cutoff, 30), "rank": (crossing_a_rank, 3)}
Path = Callable[[float], Tensor]


def energy_and_forces(net: EScAIP, pos: Tensor) -> Tensor:
    pos = pos.requires_grad_()
    x = torch.linspace(-1, 1, 2 * len(pos), dtype=torch.float64).view(-1, 2)
    energy = net(pos, neighbor_list(pos, net.cutoff).edge_index, x).sum()
    return torch.cat([energy.detach()[None], torch.autograd.grad(energy, pos)[0].flatten()])


def remaining_change(path: Path, k: int, steps: int = 24, parts: int = 6) -> Tensor:
    """How much energy and forces change in the worst of all steps, and in its 36th part.

    The step is the one with the largest change, and that of its parts is taken once more.
    """
    net, start, length, changes = small(k=k), 0.0, 1.0, []
    for count in (steps, parts, parts):
        points = [start + length * n / count for n in range(count + 1)]
        values = torch.stack([energy_and_forces(net, path(s)) for s in points])
        change = values.diff(dim=0).abs().amax(1)
        start, length = points[int(change.argmax())], length / count
        changes.append(change.amax())
    return changes[-1] / changes[0]


def numbers_that_count(path: Path, k: int) -> set[int]:
    net, numbers = small(k=k), set()
    for step in range(25):
        pos = path(step / 24)
        edges = net.plan(neighbor_list(pos, 3.0).edge_index, len(pos))
        slots = neighborhoods.neighborhoods(pos, edges, net.envelope)
        numbers.add(int(slots.log_weight.isfinite().sum()))
    return numbers


@pytest.mark.parametrize("name", PATHS)
def test_energies_and_forces_have_no_jump(name: str) -> None:
    path, k = PATHS[name]
    assert len(numbers_that_count(path, k)) > 1, "nothing is crossed"
    assert remaining_change(path, k) < 0.06  # 1/36 where the slope is constant


@pytest.mark.parametrize("name", PATHS)
def test_a_hard_envelope_jumps(name: str) -> None:
    """What the test above sees where neighbours leave at once."""
    with patch.object(neighborhoods, "departure", lambda x: 0 * x):
        assert remaining_change(*PATHS[name]) > 0.5


def test_edges_at_the_cutoff_count_for_nothing() -> None:
    net = small(k=30)
    x = torch.randn(2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    both, none = torch.tensor([[0, 1], [1, 0]]), torch.zeros(2, 0, dtype=torch.long)
    for distance, counts in ((2.9, True), (3.0 - 1e-6, False), (3.0, False), (3.2, False)):
        pos = torch.tensor([[0.0, 0, 0], [0, 0, distance]], dtype=torch.float64)
        assert torch.equal(net(pos, both, x), net(pos, none, x)) is not counts
    assert FLOOR < 1 / 745  # exp(-1 / FLOOR) is 0


def test_single_precision() -> None:
    tensors = batch((4, 3), (True, False))
    exact = energy_forces(Potential(small()), **tensors)["forces"]
    single = energy_forces(Potential(small().float()), **cast(tensors, torch.float32))["forces"]
    torch.testing.assert_close(single.double(), exact, atol=1e-5, rtol=1e-4)


@pytest.mark.slow
def test_program_of_forces() -> None:
    """Exported once: for a crystal, of which not all neighbours count, and for a single atom."""
    from geqlib.files.export import forces_program, program_inputs

    net = small(layers=1, k=4, bond_degree=1, angular=(3, 1))
    potential = Potential(net).eval().requires_grad_(False)
    program = forces_program(potential).module()
    for nodes, periodic in ((8, True), (1, False)):
        pos, z, cell = system(nodes, periodic=periodic)
        out = program(**program_inputs(potential, pos, z, cell=cell))
        expected = energy_forces(potential, **fields(pos, z, cell[None]), stress=True)
        for name, value in expected.items():
            torch.testing.assert_close(out[name], value, atol=1e-11, rtol=1e-11)


@pytest.mark.parametrize("nodes", [(1,), (1, 1), (30, 1, 7)])
def test_without_a_plan_there_are_fewer_slots_and_the_same_results(nodes: tuple[int, ...]) -> None:
    net = small()
    tensors = values(join(random_graphs(case("", (), "scalar"), nodes, kept=1.0)), leaf=True)
    plan = net.plan(tensors["edge_index"], len(tensors["pos"]))
    results = []
    for options in ({}, {"plan": plan}):
        out = net(**tensors, **options)
        (forces,) = torch.autograd.grad(out.sum(), tensors["pos"], create_graph=True)
        (second,) = torch.autograd.grad(forces.square().sum(), tensors["pos"])
        results.append((out, forces, second))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-10)


def test_rounded_plans_change_nothing() -> None:
    net = small()
    tensors = values(join(random_graphs(case("", (), "scalar"), (18, 1, 7), kept=1.0)))
    edges = net.plan(tensors["edge_index"], len(tensors["pos"]))
    wide = edges.rounded()
    assert wide.neighbor.size(1) > edges.neighbor.size(1)
    out, other = (net(**tensors, plan=p) for p in (edges, wide))
    torch.testing.assert_close(out, other, atol=1e-13, rtol=1e-13)


def test_direct_forces_belong_to_no_potential() -> None:
    """They are a property of atoms; as a potential the network is refused, by name."""
    net, (pos, edge_index, _) = small(direct_forces=True), cloud(4)
    with pytest.raises(ValueError, match="EScAIP has direct_forces, which no energy has"):
        Potential(net)
    model = AtomProperties(net, {"energy": "graph:scalar", "forces": "vector"}).double()
    out = model(pos, torch.tensor([1, 6, 8, 1]), edge_index)
    assert out["energy"].shape == (1, 1) and out["forces"].shape == (4, 3)
    turned = model(pos.roll(1, 1), torch.tensor([1, 6, 8, 1]), edge_index)
    torch.testing.assert_close(turned["energy"], out["energy"])
    assert (turned["forces"] - out["forces"].roll(1, 1)).abs().max() > 1e-3


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "layers": ({"layers": 0}, "in_scalars, out_scalars and layers must be at least 1"),
    "k": ({"k": 1}, "k must be at least 2"),
    "cutoff": ({"cutoff": 0.0}, "cutoff, softness and temperature must be positive"),
    "softness": ({"softness": -1.0}, "cutoff, softness and temperature must be positive"),
    "gaussians": ({"gaussians": 1}, "count must be at least 2"),
    "radial": ({"radial": 0}, "radial, bond_degree and bond_features must be at least 1"),
    "heads": ({"heads": 3}, "channels must be a multiple of heads"),
    "angular": ({"angular": (1, 1)}, r"angular is \[1, 1\].* they must add up to .* = 4"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_options(name: str) -> None:
    change, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        small(**change)


def test_bad_inputs() -> None:
    net, edges = small(), torch.zeros(2, 0, dtype=torch.long)
    pos, x = torch.zeros(2, 3).double(), torch.zeros(2, 2).double()
    for p, features, message in (
        (pos[:, :2], x, r"pos has shape \(2, 2\)"),
        (pos, x[:, :1], r"x has shape \(2, 1\), expected \[2, 2\]"),
    ):
        with pytest.raises(ValueError, match=message):
            net(p, edges, features)
