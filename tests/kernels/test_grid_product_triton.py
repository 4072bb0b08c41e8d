"""The fused product on the sphere equals the plain one, to second derivatives."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from geqlib.gaunt.product import GauntTensorProduct
from geqlib.kernels import plain, watch

IRREPS = "3x0e+3x1o"


def product(first: str, second: str, out: str, device: str) -> GauntTensorProduct:
    return GauntTensorProduct(first, second, out, method="grid").to(device)


def results(tp: GauntTensorProduct, x: Tensor, y: Tensor) -> list[Tensor]:
    """Values, gradients and gradients of gradients."""
    x, y = (t.clone().requires_grad_() for t in (x, y))
    z = tp(x, y)
    first = torch.autograd.grad(z.sin().sum(), (x, y), create_graph=True)
    square = sum((g.square().sum() for g in first), torch.zeros((), device=x.device))
    return [z, *first, *torch.autograd.grad(square, (x, y))]


@pytest.mark.parametrize(
    ("first", "second", "out", "nodes"),
    [
        ("1x0e", "1x0e", "1x0e", 1),
        ("3x0e+3x1o", "3x0e+3x1o", "3x0e+3x1o+3x2e", 5),
        ("5x1o+5x0e", "5x2e", "5x3o+5x1o", 3),  # degrees in another order, and missing ones
        ("20x0e+20x1o", "20x0e+20x1o", "20x0e", 2),
        (*["1x0e+1x1o+1x2e+1x3o+1x4e"] * 3, 2),
        (IRREPS, IRREPS, IRREPS, 0),
    ],
)
def test_it_is_the_plain_product(
    first: str, second: str, out: str, nodes: int, only_fused: str
) -> None:
    tp = product(first, second, out, only_fused)
    generator = torch.Generator().manual_seed(0)
    exact = [
        torch.randn(
            nodes, tp.get_submodule(f"transforms.{n}.columns").order.numel(), generator=generator
        ).double()
        for n in range(2)
    ]
    exact = [t.to(only_fused) for t in exact]
    with plain():
        expected = results(tp, *exact)
    for dtype, error in ((torch.float64, 1e-11), (torch.float32, 2e-4)):
        got = results(tp, *(t.to(dtype) for t in exact))
        for a, b in zip(got, expected, strict=True):
            assert a.dtype == dtype
            torch.testing.assert_close(a.double(), b, atol=error, rtol=error)


def test_derivatives(only_fused: str) -> None:
    tp = product("1x0e+1x1o", "1x0e+1x1o", "1x1o", only_fused)
    x, y = (torch.randn(1, 4, device=only_fused).double().requires_grad_() for _ in range(2))
    assert gradcheck(tp, (x, y), fast_mode=True)
    assert gradgradcheck(tp, (x, y), fast_mode=True)


def test_strided_inputs(only_fused: str) -> None:
    tp = product(IRREPS, IRREPS, IRREPS, only_fused)
    x, y = torch.randn(2, 12, 4, device=only_fused).double().mT
    with plain():
        expected = tp(x, y)
    torch.testing.assert_close(tp(x, y), expected)
    (got,) = torch.autograd.grad(tp(x.requires_grad_(), y).sum(), x)  # of an expanded number
    with plain():
        torch.testing.assert_close(got, torch.autograd.grad(tp(x, y).sum(), x)[0])


@pytest.mark.parametrize(
    ("irreps", "options"),
    [
        ("1x0e+1x1e", {}),  # two functions a side
        ("1x0e+1x1o", {"method": "sparse"}),
        ("1x5o+1x0e", {}),  # 37 coefficients are out of reach, for one degree they are not
    ],
)
def test_other_products_take_the_twin_or_are_equal(
    irreps: str, options: dict[str, str], device: str
) -> None:
    tp = GauntTensorProduct(irreps, irreps, irreps, **({"method": "grid"} | options)).to(device)  # type: ignore[arg-type]
    x, y = torch.randn(2, 2, tp.irreps_in1.dim, device=device).double()
    with plain():
        expected = tp(x, y)
    torch.testing.assert_close(tp(x, y), expected)


def test_when_the_twin_is_taken(device: str) -> None:
    tp = product(IRREPS, IRREPS, IRREPS, device)
    x, y = torch.randn(2, 2, 12, device=device).double()
    expected = tp(x, y)
    with watch() as choices, plain():
        torch.testing.assert_close(tp(x, y), expected)
    assert dict(choices) == {("grid_product", "switched off"): 1}
    with watch() as choices:
        torch.testing.assert_close(torch.compile(tp, backend="eager")(x, y), expected)
    assert not choices
    hessian = torch.func.hessian(lambda v: tp(v, y).sin().sum())(x)
    with plain():
        again = torch.func.hessian(lambda v: tp(v, y).sin().sum())(x)
    torch.testing.assert_close(hessian, again)
