"""Powers on one grid are iterated Gaunt products."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from geqlib.gaunt.power import power_variances
from geqlib.nn import GauntPower, GauntTensorProduct
from geqlib.sphere.harmonics import spherical_harmonics
from geqlib.sphere.quadrature import sphere_rule
from geqlib.testing import assert_equivariant
from tests.contract import Case, Contract, Typed
from tests.gaunt import oracle_gaunt

SHAPES = {
    "natural": ("2x0e+2x1o+2x2e", "2x0e+2x1o", 3),
    "unordered": ("2x2e+2x0e+2x1o", "2x3o+2x0e", 3),
    "fifth order": ("1x0e+1x1o", "1x0e+1x4e+1x5o", 5),
    "one degree": ("2x2e", "2x0e+2x2e+2x4e", 2),
    "pseudo": ("2x0e+2x1e+2x1o", "2x1e+2x1o+2x0o+2x2e", 3),
    "only pseudo": ("2x1e+2x2o", "2x0e+2x1e+2x3e", 3),
}


def inputs(layer: GauntPower, nodes: int = 5) -> Tensor:
    g = torch.Generator().manual_seed(0)
    return torch.randn(nodes, layer.irreps_in.dim, generator=g, dtype=torch.float64)


def every_irrep(channels: int, degree: int) -> str:
    return "+".join(f"{channels}x{n}{p}" for n in range(degree + 1) for p in "eo")


def iterated(layer: GauntPower, x: Tensor, element: Tensor | None = None) -> Tensor:
    """((f f) f) ... by plain products that keep every degree, then weighted and added."""
    channels, top = layer.irreps_in[0].mul, max(layer.irreps_in.ls)
    variances = power_variances(str(layer.irreps_in), str(layer.irreps_out), layer.order)
    power, irreps = x, layer.irreps_in
    total = torch.zeros(len(x), layer.irreps_out.dim, dtype=x.dtype)
    for n in range(layer.order):
        if n:
            out = reached(irreps, layer.irreps_in, every_irrep(channels, (n + 1) * top))
            product = GauntTensorProduct(irreps, layer.irreps_in, out, method="sparse")
            power, irreps = product(power, x), product.irreps_out
        known = {ir: s for (_, ir), s in zip(irreps, irreps.slices(), strict=True)}
        for place, ((_, ir), s) in enumerate(
            zip(layer.irreps_out, layer.irreps_out.slices(), strict=True)
        ):
            hits = sum(row[place] > 0 for row in variances)
            if not variances[n][place]:
                continue
            weight = layer.weight[0 if element is None else element, n, place]
            part = power[:, known[ir]].unflatten(1, (channels, -1))
            scale = (variances[n][place] * hits) ** -0.5
            total[:, s] += (scale * weight.unsqueeze(-1) * part).flatten(1)
    return total


def reached(first: Any, second: Any, candidates: str) -> str:
    """Those of the candidates that have a path."""
    remaining = []
    for part in candidates.split("+"):
        try:
            GauntTensorProduct(first, second, part, method="sparse")
        except ValueError:
            continue
        remaining.append(part)
    return "+".join(remaining)


@pytest.mark.parametrize("shape", SHAPES)
def test_powers_are_iterated_products(shape: str) -> None:
    layer = GauntPower(*SHAPES[shape]).double()
    x = inputs(layer)
    torch.testing.assert_close(layer(x), iterated(layer, x), atol=1e-11, rtol=1e-10)
    single = layer.float()(x.float()).double()
    torch.testing.assert_close(single, iterated(layer.double(), x), atol=2e-5, rtol=1e-4)


def test_independent_oracle() -> None:
    """f^3 by scipy's harmonics and a fine quadrature."""
    layer = GauntPower("1x0e+1x1o+1x2e", "1x0e+1x1o", 3).double()
    x = inputs(layer)
    square = oracle_gaunt.product((2, 2, 4), x, x)
    cube = oracle_gaunt.product((4, 2, 1), square, x)
    powers = layer.powers(x.T)
    torch.testing.assert_close(powers[2].T, cube, atol=1e-12, rtol=1e-12)


def test_weights_belong_to_elements() -> None:
    layer = GauntPower(*SHAPES["natural"], elements=3).double()
    x, element = inputs(layer), torch.tensor([2, 0, 0, 1, 2])
    expected = iterated(layer, x, element)
    torch.testing.assert_close(layer(x, element), expected, atol=1e-11, rtol=1e-10)


@pytest.mark.parametrize("shape", ["natural", "pseudo"])
def test_variances(shape: str) -> None:
    """Mean squares over normal inputs; 8 % is four standard errors of the cube's."""
    irreps, out, order = SHAPES[shape]
    layer = GauntPower(irreps, out, order)
    g = torch.Generator().manual_seed(0)
    k = sum(ir.dim for _, ir in layer.irreps_in)
    powers = layer.powers(torch.randn(k, 200_000, generator=g))
    table = power_variances(irreps, out, order)
    for power, row in zip(powers, table, strict=True):
        start = 0
        for (_, ir), expected in zip(layer.irreps_out, row, strict=True):
            got = power[start : start + ir.dim].square().mean().item()
            assert got == pytest.approx(expected, rel=0.08, abs=1e-6)
            start += ir.dim


def test_starts_with_unit_variance() -> None:
    """Mean over channels and draws of weights."""
    torch.manual_seed(0)
    layer = GauntPower("256x0e+256x1o+256x2e", "256x0e+256x1o", 3)
    squares = []
    for _ in range(8):
        layer.reset_parameters()
        z = layer(torch.randn(50, 256 * 9)).detach()
        squares.append(torch.stack([z[:, :256].square().mean(), z[:, 256:].square().mean()]))
    assert (torch.stack(squares).mean(0) - 1).abs().max() < 0.3


@pytest.mark.parametrize("shape", SHAPES)
def test_equivariance(shape: str) -> None:
    layer = GauntPower(*SHAPES[shape]).double()
    x = {"x": (inputs(layer), str(layer.irreps_in))}
    assert_equivariant(layer, x, str(layer.irreps_out), "O(3)", atol=1e-11)


@pytest.mark.parametrize("nodes", [0, 1])
def test_few_nodes(nodes: int) -> None:
    layer = GauntPower(*SHAPES["natural"]).double()
    x = inputs(layer)[:nodes]
    torch.testing.assert_close(layer(x), iterated(layer, x), atol=1e-11, rtol=1e-10)


def test_casts_do_not_round_constants() -> None:
    layer = GauntPower(*SHAPES["natural"]).double()
    x = inputs(layer)
    expected = layer.powers(x.T[:9])
    for got, exact in zip(layer.half().float().double().powers(x.T[:9]), expected, strict=True):
        assert torch.equal(got, exact)


def test_half_precision_is_computed_in_single() -> None:
    layer = GauntPower(*SHAPES["natural"])
    x = inputs(layer).bfloat16()
    expected = layer(x.float())
    assert torch.equal(layer(x), expected.bfloat16())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(layer(x.float()), expected)


def test_rules_are_exact() -> None:
    for degree in (3, 7, 12, 20, 33):
        points, weights = sphere_rule(degree)
        integrals = weights @ spherical_harmonics(degree, points)
        integrals[0] -= (4 * torch.pi) ** 0.5
        assert integrals.abs().max() < 1e-13


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "order": ({"order": 0}, "order must be a number from 1 on, got 0"),
    "elements": ({"elements": 1.5}, "elements must be a number from 1 on, got 1.5"),
    "channels": ({"irreps_in": "4x0e+3x1o"}, "multiplicities differ in 4x0e"),
    "reach": ({"irreps_out": "4x5o"}, "irreps_out has 5o, which no power up to order 3"),
    "parity": ({"irreps_out": "4x1e"}, "irreps_out has 1e, which no power"),
    "irreps": ({"irreps_in": "4y0e"}, "irreps_in='4y0e' cannot be read"),
    "rule": ({"order": 200}, "need a rule of degree 201"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_options(name: str) -> None:
    change, message = BAD[name]
    options: dict[str, Any] = {"irreps_in": "4x0e+4x1o", "irreps_out": "4x0e+4x1o", "order": 3}
    with pytest.raises(ValueError, match=message):
        GauntPower(**(options | change))


def test_bad_inputs() -> None:
    layer = GauntPower("1x0e+1x1o", "1x0e", 2, elements=2)
    x, element = torch.zeros(3, 4), torch.zeros(3, dtype=torch.long)
    for features, choice, message in (
        (x[:, :3], element, r"x has shape \(3, 3\), but must be \[nodes, 4\]"),
        (x.long(), element, "x has type torch.int64"),
        (x, None, "element is missing: there are weights for 2"),
        (x, element[:2], "element has shape .* for each of 3 nodes"),
    ):
        with pytest.raises(ValueError, match=message):
            layer(features, choice)


class TestContract(Contract):
    @staticmethod
    def inputs(pos: Tensor, edge_index: Tensor, generator: torch.Generator) -> Typed:
        x = torch.randn(len(pos), 14, generator=generator, dtype=torch.float64)
        element = torch.randint(2, (len(pos),), generator=generator)
        return {"x": (x, "2x0e+2x1o+2x1e"), "element": (element, "scalar")}

    cases = (
        Case(
            "GauntPower",
            lambda: GauntPower("2x0e+2x1o+2x1e", "2x0e+2x2e", 3, elements=2),
            inputs.__func__,
            "2x0e+2x2e",
            groups=("O(3)",),
        ),
    )
