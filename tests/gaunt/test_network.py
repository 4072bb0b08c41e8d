"""GauntNet: exact symmetries, and MACE's formula written slowly."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch_geometric.nn.aggr import Aggregation

from geqlib.graph import neighbor_list
from geqlib.models import GauntNet, Potential, energy_forces
from geqlib.nn import MonoidAggregation
from tests.atoms.atoms import batch, cast
from tests.contract import Case, Contract, Typed
from tests.gaunt import oracle_gaunt_net

SMALL = {"channels": 2, "width": 3, "count": 3, "features": 2, "hidden": 4, "readout": 3}
SMALL |= {"cutoff": 3.0}
TENSORS = "2x0e+1x1o+1x2e"


def small(**options: Any) -> GauntNet:
    torch.manual_seed(0)
    return GauntNet(["H", "C", "O"], **(SMALL | options)).double()


class TestContract(Contract):
    @staticmethod
    def inputs(pos: Tensor, edge_index: Tensor, generator: torch.Generator) -> Typed:
        z = torch.tensor([1, 6, 8])[torch.randint(3, (len(pos),), generator=generator)]
        return {
            "pos": (pos, "point"),
            "z": (z, "scalar"),
            "edge_index": (edge_index, "edge_index"),
        }

    @staticmethod
    def extra(net: GauntNet, tensors: dict[str, Tensor], graphs: int) -> dict[str, Any]:
        return {"plan": net.plan(tensors["edge_index"], len(tensors["pos"]))}

    cases = (
        Case(
            "scalars",
            lambda: small(degree=2),
            inputs.__func__,
            "scalar",
            groups=("E(3)",),
            extra=extra.__func__,
            backend="eager",
        ),
        Case(
            "tensors",
            lambda: small(degree=1, hidden_degree=2, layers=3, irreps_out=TENSORS),
            inputs.__func__,
            TENSORS,
            groups=("E(3)",),
            extra=extra.__func__,
            backend="eager",
        ),
        Case(
            "mean",
            lambda: small(degree=1, aggr="mean"),
            inputs.__func__,
            "scalar",
            groups=("E(3)",),
            extra=extra.__func__,
            backend="eager",
        ),
    )


FORMS = [{}, {"layers": 1}, {"layers": 3, "hidden_degree": 2}, {"layers": 3, "normalize": True}]


@pytest.mark.parametrize("options", FORMS, ids=str)
def test_network_is_its_formula(options: dict[str, Any]) -> None:
    net = small(degree=2, **options)
    generator = torch.Generator().manual_seed(1)
    pos = 1.5 * torch.randn(5, 3, generator=generator, dtype=torch.float64)
    z = torch.tensor([1, 6, 8, 6, 1])
    edge_index = neighbor_list(pos, net.cutoff).edge_index
    edge_index = torch.cat([edge_index, torch.tensor([[0], [4]])], 1)  # one way only
    expected = oracle_gaunt_net.Atoms(net, pos, z, edge_index).run()
    torch.testing.assert_close(net(pos, z, edge_index), expected, atol=1e-12, rtol=1e-12)


class OwnSum(Aggregation):
    """A sum that GauntNet does not know for one."""

    def forward(self, x: Tensor, index: Any = None, *args: Any, dim_size: Any, **_: Any) -> Tensor:
        assert bool((index.diff() >= 0).all())  # what sorts or pads may rely on
        return x.new_zeros(dim_size, x.size(1)).index_add(0, index, x)


@pytest.mark.parametrize("degrees", [{}, {"degree": 1, "hidden_degree": 2}, {"hidden_degree": 0}])
def test_aggregations_get_the_messages(degrees: dict[str, int]) -> None:
    """Summed by another module they make the network that sums by matrix products."""
    net, other = small(layers=3, **degrees), small(layers=3, aggr=OwnSum(), **degrees)
    tensors = batch((4, 3, 5, 1), (True, False, True, True))
    actual = [energy_forces(Potential(x), **tensors) for x in (net, other)]
    for name in ("energy", "forces"):
        torch.testing.assert_close(actual[1][name], actual[0][name], atol=1e-12, rtol=1e-12)
    smaller = energy_forces(Potential(small(layers=3, aggr="mean", **degrees)), **tensors)
    assert (smaller["energy"] - actual[0]["energy"]).abs().max() > 1e-4


def test_aggregations_belong_to_their_layer() -> None:
    net = small(layers=3, aggr=MonoidAggregation(2, "gru"))
    first, second = (layer.aggr.operators[0].cell.weight_ih for layer in net.layers)
    assert not torch.equal(first, second)


def test_reverse_changes_nothing() -> None:
    """Neither whether it is searched or given, nor whether opposite edges share a row."""
    tensors = batch((4, 3, 5, 1), (True, False, True, True))
    potential = Potential(small())
    actual = energy_forces(potential, **tensors)
    alone = energy_forces(potential, **(tensors | {"reverse": None}))
    for name in ("energy", "forces"):
        torch.testing.assert_close(alone[name], actual[name], atol=1e-12, rtol=1e-12)


def test_forces_are_derivatives() -> None:
    tensors = batch((4, 3), (True, False))
    potential, pos = Potential(small(degree=2)), tensors["pos"]
    forces, step = energy_forces(potential, **tensors)["forces"], 1e-5
    for atom, axis in ((0, 0), (2, 1), (5, 2)):
        moved = []
        for sign in (1, -1):
            shifted = pos.clone()
            shifted[atom, axis] += sign * step
            moved.append(potential(**(tensors | {"pos": shifted})).total.sum().item())
        numeric = (moved[1] - moved[0]) / (2 * step)
        torch.testing.assert_close(float(forces[atom, axis]), numeric, atol=1e-8, rtol=1e-6)


def test_smooth_at_the_cutoff() -> None:
    net = small()
    z, edges = torch.tensor([1, 8]), torch.tensor([[0, 1], [1, 0]])
    energy = []
    for distance in (3.0 - 1e-4, 3.0, 3.1):
        pos = torch.tensor([[0.0, 0, 0], [0.0, 0, distance]], dtype=torch.float64)
        energy.append(net(pos, z, edges))
    # the envelope falls like 35 (1 - d / c)^3
    torch.testing.assert_close(energy[0], energy[1], atol=1e-11, rtol=0)
    assert not torch.equal(energy[0], energy[1])
    assert torch.equal(energy[1], energy[2])


def test_single_precision() -> None:
    tensors = batch((4, 3), (True, False))
    exact = energy_forces(Potential(small()), **tensors)["forces"]
    actual = energy_forces(Potential(small().float()), **cast(tensors, torch.float32))["forces"]
    torch.testing.assert_close(actual.double(), exact, atol=1e-5, rtol=1e-4)


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "symbol": ({"elements": ["H", "Xx"]}, "elements has 'Xx', which is no symbol"),
    "number": ({"elements": [1, 200]}, "elements has 200, which is no symbol"),
    "twice": ({"elements": ["H", 1]}, "must name each element once"),
    "channels": ({"channels": 0}, "channels, width and layers must be positive, got 0 and 2"),
    "degree": ({"degree": -1}, "degrees must be at least 0"),
    "neighbors": ({"neighbors": 0.0}, "neighbors must be positive"),
    "parity": (
        {"irreps_out": "1e"},
        "irreps_out has 1e, but positions and elements alone give 0e, 1o",
    ),
    "irreps": ({"irreps_out": "y0e"}, "irreps_out='y0e' cannot be read"),
    "aggr": ({"layers": 1, "aggr": "max"}, "aggr='max' needs layers=2 or more"),
    "order": ({"order": 0}, "order must be a number from 1 on"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_options(name: str) -> None:
    change, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        GauntNet(**({"elements": ["H"]} | change))


def test_bad_inputs() -> None:
    net, edges = small(), torch.zeros(2, 0, dtype=torch.long)
    pos, z = torch.zeros(2, 3).double(), torch.tensor([1, 7])
    for p, numbers, message in (
        (pos, z, "atom 1 is N, which is none of the network's `elements`"),
        (pos[:, :2], z, r"pos has shape \(2, 2\)"),
        (pos, z[:1], "z has shape .* one atomic number for each of 2 atoms"),
    ):
        with pytest.raises(ValueError, match=message):
            net(p, numbers, edges)
