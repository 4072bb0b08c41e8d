"""Products in pieces, and their derivatives as the same function with exchanged matrices."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import grad, gradcheck
from torch.func import hessian, jacfwd, jacrev, vmap

from geqlib.gaunt import methods as gaunt_methods
from geqlib.gaunt import product as gaunt_product
from geqlib.gaunt.layout import Columns, read_irreps, signals
from geqlib.nn import GauntTensorProduct

METHODS = ("sparse", "grid", "separable", "fft")
IRREPS = ("2x1o+2x0e+2x1e", "2x0e+2x2e+2x1o", "2x1o+2x1e+2x0e")


def build(method: Any, **options: Any) -> GauntTensorProduct:
    return GauntTensorProduct(*IRREPS, method=method, paths="all", **options)  # type: ignore


def inputs(rows: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(rows, dim, generator=generator, dtype=torch.float64, requires_grad=True)
        for dim in (14, 18)
    ]


def derivatives(layer: GauntTensorProduct, x: Tensor, y: Tensor) -> list[Tensor]:
    """The product, its gradients, and gradients of their squares."""
    z = layer(x, y)
    first = grad(z.sin().sum(), (x, y), create_graph=True)
    second = grad(sum((g.square().sum() for g in first), z.sum()), (x, y))
    return [z.detach(), *first, *second]


@pytest.mark.parametrize("method", METHODS)
def test_pieces_are_the_whole(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One row in each piece against all at once: sums within a row round alike or nearly so."""
    layer, (x, y) = build(method), inputs(7)
    expected = derivatives(layer, x, y)
    monkeypatch.setattr(gaunt_product, "PIECE", 1)
    for got, want in zip(derivatives(layer, x, y), expected, strict=True):
        torch.testing.assert_close(got, want, atol=1e-13, rtol=1e-13)


@pytest.mark.parametrize("method", METHODS)
def test_third_derivatives(method: str) -> None:
    layer = build(method)
    x, y = inputs(1)

    def second(x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        first = grad(layer(x, y).square().sum(), (x, y), create_graph=True)
        return grad(first[0].sum() + first[1].square().sum(), (x, y), create_graph=True)

    assert gradcheck(second, (x, y), fast_mode=True)


@pytest.mark.parametrize("wanted", [(True, False), (False, True)], ids=str)
def test_gradients_of_one_argument(wanted: tuple[bool, bool]) -> None:
    layer, pair = build("grid"), inputs(5)
    expected = grad(layer(*pair).sin().sum(), pair)
    supplied = [v.detach().requires_grad_(w) for v, w in zip(pair, wanted, strict=True)]
    points = [v for v in supplied if v.requires_grad]
    first = grad(layer(*supplied).sin().sum(), points, create_graph=True)
    chosen = [e for e, w in zip(expected, wanted, strict=True) if w]
    torch.testing.assert_close(list(first), chosen, atol=1e-14, rtol=1e-13)
    assert first[0].requires_grad
    (second,) = grad(first[0].square().sum(), points)
    assert bool(second.isfinite().all())


def test_squares_count_both_arguments() -> None:
    """One tensor as both inputs: the gradient is the sum of both."""
    irreps = "2x0e+2x1o"
    layer = GauntTensorProduct(irreps, irreps, irreps, method="grid")
    x = torch.randn(3, 8, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda x: layer(x, x), (x,), fast_mode=True)


def test_nothing_but_the_arguments_is_kept() -> None:
    layer, (x, y) = build("grid"), inputs(6)
    remaining: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: remaining.append(t) or t, lambda t: t):
        layer(x, y)
    assert sum(t.numel() for t in remaining) == x.numel() + y.numel()


def test_inputs_without_a_path_have_zero_gradients() -> None:
    """0o meets no other irrep on a path to the output."""
    layer = GauntTensorProduct("1x0o+1x1o", "1x1o", "1x0e+1x2e", method="grid")
    x = torch.randn(4, 4, requires_grad=True)
    (actual,) = grad(layer(x, torch.randn(4, 3)).sum(), x)
    assert not actual[:, 0].any() and bool(actual[:, 1:].any())


@pytest.mark.parametrize("irreps", ["3x1o+3x0e+3x2e+3x1e", "1x4e+1x0o", "5x0e"])
def test_columns_are_the_blocks_in_the_order_of_signals(irreps: str) -> None:
    parsed = read_irreps("irreps", irreps)
    parts = signals(parsed, split=True)
    columns = Columns(parsed, parts)
    x = torch.randn(6, parsed.dim)
    blocks = [
        b.unflatten(-1, (mul, -1))
        for b, (mul, _) in zip(x.split([i.dim for i in parsed], -1), parsed, strict=True)
    ]
    coefficients = columns.split(x)
    for got, part in zip(coefficients, parts, strict=True):
        expected = torch.cat([blocks[place] for place in part.blocks], -1)
        assert torch.equal(got, expected.flatten(0, 1).T)
    assert torch.equal(columns.join(coefficients), x)


def test_double_backward_is_compiled() -> None:
    """Second derivatives of the module, and of compiled code, which has no custom function."""
    layer, pair = build("grid", weights="degree").double(), inputs(4)
    compiled: Any = torch.compile(layer, fullgraph=True, backend="eager")
    for got, want in zip(derivatives(compiled, *pair), derivatives(layer, *pair), strict=True):
        torch.testing.assert_close(got, want, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_transforms_of_functions(method: str) -> None:
    """vmap, in rows of its own and shared, and Jacobians and Hessians both ways."""
    layer, (x, y) = build(method, weights=2).double(), inputs(3)
    x, y = x.detach(), y.detach()
    expected = layer(x, y)
    for got in (vmap(layer)(x, y), vmap(layer, (1, 0))(x.T, y)):
        torch.testing.assert_close(got, expected, atol=1e-12, rtol=1e-12)
    shared = vmap(layer, (0, None))(x, y[0])
    torch.testing.assert_close(shared, layer(x, y[:1].expand(3, -1)), atol=1e-12, rtol=1e-12)

    def square(x: Tensor, y: Tensor) -> Tensor:
        return layer(x, y).square().sum()

    each = vmap(jacrev(layer))(x, y)
    whole = jacrev(layer)(x, y)
    for n in range(3):
        torch.testing.assert_close(each[n], whole[n, :, n], atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(jacfwd(layer)(x, y), whole, atol=1e-12, rtol=1e-12)
    twice = jacrev(jacrev(square))(x, y)
    torch.testing.assert_close(hessian(square)(x, y), twice, atol=1e-11, rtol=1e-11)


@pytest.mark.parametrize("paths", ["gaunt", "bracket", "all"])
def test_half_and_full_sphere_agree(paths: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    options: Any = {"method": "grid", "paths": paths}
    irreps = "2x1o+2x0e+2x1e", "2x0e+2x2e+2x1o", "2x1o" if paths == "gaunt" else "2x1o+2x1e"
    full = GauntTensorProduct(*irreps, **options)
    monkeypatch.setattr(gaunt_methods, "HALF", 0)
    half = GauntTensorProduct(*irreps, **options)
    assert full.transforms[0].points == 2 * half.transforms[0].points
    pair = inputs(5)
    for got, want in zip(derivatives(half, *pair), derivatives(full, *pair), strict=True):
        torch.testing.assert_close(got, want, atol=1e-12, rtol=1e-12)
