"""Maps of pairs and nodes in one tensor are the plain ones, with all their derivatives."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import grad, gradcheck, gradgradcheck

from geqlib.models import SPEN
from geqlib.spen.maps import EquivariantMaps, contract
from geqlib.spen.plan import EgoPlan, ego_plan, graph_plan
from geqlib.spen.stacked import ego_gathers, stackable, stacked_maps

NONE = torch.zeros(2, 0, dtype=torch.long)
EDGES = torch.tensor([[0, 1, 1, 2, 2, 3, 0, 3, 3, 4], [1, 0, 2, 1, 3, 2, 1, 3, 4, 3]])
PLANS = {
    "ragged, with an isolated node": ego_plan(EDGES, 6, symmetric=True),
    "two hops": ego_plan(EDGES, 6, hops=2, symmetric=True),
    "copies": ego_plan(EDGES, 6, symmetric=True, shared=False),
    "graphs, one without nodes": graph_plan(
        EDGES, 6, torch.tensor([0, 0, 0, 0, 0, 2]), 3, symmetric=True
    ),
    "no edges": ego_plan(NONE, 2, symmetric=True),
    "nothing": ego_plan(NONE, 0, symmetric=True),
}


def maps(in_orders: tuple[int, ...]) -> EquivariantMaps:
    torch.manual_seed(0)
    return EquivariantMaps(3, 2, in_orders, (1, 2), symmetric=True, bias=False).double()


def inputs(layer: EquivariantMaps, plan: EgoPlan) -> list[Tensor]:
    """Features, gains and shifts."""
    egos, nodes, pairs = plan.lengths
    torch.manual_seed(1)
    shapes = (pairs + nodes, 3), (egos, layer.ego_width), (egos, sum(layer.split))
    h, *rest = (torch.randn(*shape, dtype=torch.float64) for shape in shapes)
    if 1 not in layer.in_orders:
        h[pairs:] = 0
    return [t.requires_grad_() for t in (h, *rest)]


def plain(layer: EquivariantMaps, plan: EgoPlan, h: Tensor, *factors: Tensor) -> list[Any]:
    pairs, nodes = h.split(list(plan.lengths[:0:-1]))
    x = {k: v for k, v in {1: nodes, 2: pairs}.items() if k in layer.in_orders}
    contraction = contract(x, plan, 3, centre=False)
    y = layer(x, plan, *factors, contraction=contraction)
    return [y[2], y[1], contraction.mean, contraction.node]


def results(outputs: list[Tensor], points: list[Tensor]) -> list[Tensor]:
    """Values, first and second derivatives."""
    loss = torch.stack([(y.sin() * (k + 1)).sum() for k, y in enumerate(outputs)]).sum()
    remaining = grad(loss, points, retain_graph=True, materialize_grads=True)
    first = grad(loss, points, create_graph=True, materialize_grads=True)
    total = torch.stack([g.square().sum() for g in first]).sum()
    return [*outputs, *remaining, *first, *grad(total, points, materialize_grads=True)]


@pytest.mark.parametrize("in_orders", [(2,), (1, 2)], ids=str)
@pytest.mark.parametrize("name", PLANS)
def test_values_and_derivatives_are_the_plain_ones(name: str, in_orders: tuple[int, ...]) -> None:
    plan, layer = PLANS[name], maps(in_orders)
    points = [*inputs(layer, plan), *layer.parameters()]
    gathers = ego_gathers(plan, torch.float64)
    y, of_nodes = stacked_maps(layer, points[0], plan, points[1], points[2], gathers)
    expected = plain(layer, plan, *points[:3])
    sizes = [expected[2].size(1), expected[3].size(1)]
    parts = [*y.split(list(plan.lengths[:0:-1])), *of_nodes[:, : sum(sizes)].split(sizes, 1)]
    for got, exact in zip(results(parts, points), results(expected, points), strict=True):
        if got.shape == points[0].shape and 1 not in in_orders:  # zeros that nothing reads
            got, exact = (t[: plan.lengths[2]] for t in (got, exact))
        torch.testing.assert_close(got, exact, atol=1e-12, rtol=1e-12)


def test_derivatives() -> None:
    plan, layer = PLANS["ragged, with an isolated node"], maps((1, 2))
    gathers, names = ego_gathers(plan, torch.float64), dict(layer.named_parameters())

    def fn(h: Tensor, gain: Tensor, shift: Tensor, *weights: Tensor) -> tuple[Tensor, Tensor]:
        values = dict(zip(names, weights, strict=True))
        return torch.func.functional_call(Stacked(layer, plan, gathers), values, (h, gain, shift))

    points = (*inputs(layer, plan), *names.values())
    assert gradcheck(fn, points, fast_mode=True) and gradgradcheck(fn, points, fast_mode=True)


class Stacked(nn.Module):
    def __init__(self, layer: EquivariantMaps, plan: EgoPlan, gathers: Any) -> None:
        super().__init__()
        self._parameters = layer._parameters
        self.rest = layer, plan, gathers

    def forward(self, h: Tensor, gain: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
        layer, plan, gathers = self.rest
        return stacked_maps(layer, h, plan, gain, shift, gathers)


def test_only_one_output_is_read() -> None:
    plan, layer = PLANS["two hops"], maps((1, 2))
    points = [*inputs(layer, plan), *layer.parameters()]
    gathers = ego_gathers(plan, torch.float64)
    for n in range(2):
        out = stacked_maps(layer, points[0], plan, points[1], points[2], gathers)[n]
        expected = plain(layer, plan, *points[:3])
        expected = torch.cat(expected[:2]) if n == 0 else torch.cat(expected[2:], 1)
        pairs = (grad(x.sin().sum(), points, materialize_grads=True) for x in (out, expected))
        for got, exact in zip(*pairs, strict=True):
            torch.testing.assert_close(got, exact, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize(
    "options",
    [{}, {"hops": None}, {"residual": False, "norm": "none"}, {"norm": "layer", "shared": False}],
    ids=str,
)
def test_networks_are_the_plain_ones(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    net = SPEN(2, 3, channels=4, layers=3, symmetric=True, act="silu", **options).double()
    for p in net.parameters():
        nn.init.normal_(p, std=0.2)
    x = torch.randn(6, 2, dtype=torch.float64, requires_grad=True)
    points = [x, *net.parameters()]
    got = results([net(x, EDGES)], points)
    with patch.object(SPEN, "_stacks", lambda self: False):
        expected = results([net(x, EDGES)], points)
        plain_values = net.eval()(x, EDGES)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-11, rtol=1e-11)
    with torch.no_grad():  # without a backward pass
        assert torch.equal(net(x, EDGES), plain_values)


def test_which_maps_are_stacked() -> None:
    orders = ((2,), (1, 2)), ((1, 2), (2, 1))
    assert all(stackable(EquivariantMaps(2, 2, *pair, symmetric=True)) for pair in orders)
    others: list[Any] = [((1, 2), (2,)), ((0, 1, 2), (1, 2)), ((1,), (1, 2))]
    assert not any(stackable(EquivariantMaps(2, 2, *pair, symmetric=True)) for pair in others)
    assert not stackable(EquivariantMaps(2, 2, (2,), (1, 2)))
    assert not stackable(EquivariantMaps(2, 2, (2,), (1, 2), symmetric=True, centre=True))


@pytest.mark.parametrize("training", [False, True])
def test_running_statistics_are_torchs(training: bool) -> None:
    net = SPEN(2, 3, channels=4, layers=1, symmetric=True).double().train(training)
    norm, other = net.norms[0]["2"], nn.BatchNorm1d(4, momentum=0.3).double().train(training)
    for rows in (5, 3):
        x = torch.randn(rows, 4, dtype=torch.float64)
        torch.testing.assert_close(norm(x), other(x), atol=1e-14, rtol=1e-14)
    torch.testing.assert_close(norm.module.running_var, other.running_var)
