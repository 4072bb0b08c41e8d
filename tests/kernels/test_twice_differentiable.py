"""Functions with derivatives of their own are the plain ones, to every order that is trained."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.func import hessian, jacrev, vmap

from benchmarks.operations import Operations
from geqlib.kernels.batched_product import batched_product
from geqlib.kernels.cut_bessel import CutBessel
from geqlib.kernels.offsets import offsets
from geqlib.kernels.polar import length_and_direction
from geqlib.kernels.powers import divided_powers
from geqlib.kernels.safe_length import safe_length
from geqlib.kernels.silu import SiLU
from geqlib.radial import BesselBasis, PolynomialCutoff, safe_sqrt
from geqlib.sphere.harmonics import SolidHarmonics

CUT = CutBessel(4, 5.0, 5)
PLAIN_BASIS, PLAIN_CUTOFF = BesselBasis(4, 5.0), PolynomialCutoff(5.0, 5)
HARMONICS = SolidHarmonics(3)
Function = Callable[[Tensor], Tensor]


def cut_bessel(d: Tensor) -> Tensor:
    functions, envelope = CUT(d.flatten())
    return torch.cat([functions, envelope.unsqueeze(1)], 1)


def plain_cut_bessel(d: Tensor) -> Tensor:
    envelope = PLAIN_CUTOFF(d.flatten()).unsqueeze(1)
    return torch.cat([PLAIN_BASIS(d.flatten()) * envelope, envelope], 1)


def polar(v: Tensor) -> Tensor:
    length, direction = length_and_direction(v, 0.1)
    return torch.cat([length.unsqueeze(1), direction], 1)


def plain_polar(v: Tensor) -> Tensor:
    length = (v.square().sum(1, keepdim=True) + 0.01).sqrt()
    return torch.cat([length, v / length], 1)


def four_powers(x: Tensor) -> Tensor:
    return divided_powers(x, 1 / torch.arange(1, 5).to(x))


def first_power(x: Tensor) -> Tensor:
    return divided_powers(x, torch.ones(1).to(x))


def edges(x: Tensor) -> tuple[Tensor, Tensor]:
    """Repeats and a loop, at most between two nodes."""
    return torch.tensor([[0, 0, -1, -1], [-1, -1, 0, -1]]).remainder(max(len(x), 1)).unbind()


def ends(x: Tensor) -> Tensor:
    return offsets(x, *edges(x)) if len(x) else x


def plain_ends(x: Tensor) -> Tensor:
    source, target = edges(x)
    return x[source] - x[target] if len(x) else x


def factors(x: Tensor) -> tuple[Tensor, Tensor]:
    """Two matrices each, all of which depend on x."""
    square = x.T @ x
    return torch.stack([x, x.cos()]), torch.stack([square[:, :2], square.sin()[:, 1:]])


PAIRS: dict[str, tuple[Function, Function]] = {
    "silu": (SiLU(), torch.nn.functional.silu),
    "polar": (polar, plain_polar),
    "powers": (
        four_powers,
        lambda x: torch.stack([x, x**2 / 2, x**3 / 6, x**4 / 24]),
    ),
    "first power": (first_power, lambda x: x.unsqueeze(0)),
    "offsets": (ends, plain_ends),
    "batched product": (
        lambda x: batched_product(*factors(x)),
        lambda x: torch.bmm(*factors(x)),
    ),
    "scaled product, rows first": (
        lambda x: batched_product(*factors(x), 0.5, rows_first=True),
        lambda x: torch.bmm(*factors(x)) * 0.5,
    ),
    "length": (safe_length, lambda v: safe_sqrt(v.square().sum(1, keepdim=True))),
    "harmonics": (HARMONICS, HARMONICS._values),
    "cut Bessel": (cut_bessel, plain_cut_bessel),
}


def points(name: str, count: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, 3, generator=generator, dtype=torch.float64)
    return x.abs() * 2.5 + 0.3 if name == "cut Bessel" else x  # some beyond the cutoff


@pytest.mark.parametrize("count", [0, 1, 4])
@pytest.mark.parametrize("name", PAIRS)
def test_values_are_the_plain_ones(name: str, count: int) -> None:
    function, plain = PAIRS[name]
    x = points(name, count)
    torch.testing.assert_close(function(x), plain(x), atol=1e-13, rtol=1e-13)
    torch.testing.assert_close(function(x.float()), plain(x).float(), atol=2e-6, rtol=2e-6)


@pytest.mark.parametrize("name", PAIRS)
def test_derivatives(name: str) -> None:
    function, x = PAIRS[name][0], points(name, 2).requires_grad_()
    assert gradcheck(function, x, check_forward_ad=True)
    assert gradgradcheck(function, x)


@pytest.mark.parametrize("name", PAIRS)
def test_transforms_of_functions(name: str) -> None:
    function, plain = PAIRS[name]
    x = points(name, 2)
    weights = torch.arange(1.0, function(x).numel() + 1, dtype=torch.float64).view_as(function(x))
    first, second = (lambda x, f=f: (f(x) * weights).square().sum() for f in (function, plain))
    for transform in (hessian, lambda f: jacrev(jacrev(jacrev(f)))):
        torch.testing.assert_close(transform(first)(x), transform(second)(x), rtol=1e-9, atol=1e-9)
    stacked = torch.stack([x, x + 0.1])
    torch.testing.assert_close(vmap(function)(stacked), torch.stack([*map(function, stacked)]))


def test_lengths_and_directions_are_smooth_at_zero() -> None:
    assert gradgradcheck(polar, torch.zeros(1, 3, dtype=torch.float64, requires_grad=True))


def test_lengths_have_no_derivatives_at_zero() -> None:
    v = torch.tensor([[0.0, 0.0, 0.0], [0.0, 3.0, 4.0]], dtype=torch.float64)
    assert torch.equal(jacrev(safe_length)(v)[0], torch.zeros(1, 2, 3).double())
    for function in (safe_length, lambda v: safe_sqrt(v.square().sum(1, keepdim=True))):
        third = jacrev(hessian(lambda v, f=function: f(v).sum()))(v)
        assert third.isfinite().all() and not third[0].any() and third[1].any()


def test_powers_are_smooth_at_zero() -> None:
    for function in (four_powers, first_power):
        assert gradgradcheck(function, torch.zeros(1, dtype=torch.float64, requires_grad=True))


def test_derivatives_beyond_the_prepared_orders() -> None:
    d = torch.tensor([0.7, 2.1, 4.9], dtype=torch.float64)
    for order in range(1, 5):
        # of the derivative one order below, by central differences
        step = 1e-5
        above, below = (CUT.derivative(d + s, order - 1) for s in (step, -step))
        for value, high, low in zip(CUT.derivative(d, order), above, below, strict=True):
            torch.testing.assert_close(value, (high - low) / (2 * step), rtol=1e-5, atol=1e-5)


def test_nothing_beyond_the_cutoff() -> None:
    functions, envelope = CUT(torch.tensor([5.0, 7.0]))
    assert not functions.any() and not envelope.any()


def test_layouts_of_products() -> None:
    x, weight = torch.randn(3, 4, 5), torch.randn(3, 5, 2)
    y = batched_product(x, weight, 2.0, rows_first=True)
    assert y.transpose(0, 1).is_contiguous() and batched_product(x, weight).is_contiguous()
    torch.testing.assert_close(y, 2 * torch.bmm(x, weight))


def test_derivatives_that_are_not_asked_for_are_not_computed() -> None:
    """As those of the weights where forces are."""
    x, leaf = (torch.randn(2, 3, 3, requires_grad=True) for _ in range(2))
    for weight in (leaf, leaf * 2):
        y = batched_product(x, weight).sum()
        with Operations() as operations:
            (by_x,) = torch.autograd.grad(y, x, create_graph=True)
        assert operations.counts["bmm"] == 1
        with Operations() as operations:
            torch.autograd.grad(by_x.square().sum(), leaf, retain_graph=True)
        assert operations.counts["bmm"] == 1  # and none by x, of which it is linear
        assert len(torch.autograd.grad(y, [x, leaf])) == 2


def test_forces_and_their_training_need_no_second_derivative_by_the_distance() -> None:
    d = torch.tensor([0.7, 2.1], dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, dtype=torch.float64, requires_grad=True)
    functions, envelope = CUT(d)
    energy = (functions @ weight * envelope).sum()
    with Operations() as first:
        (force,) = torch.autograd.grad(energy, d, create_graph=True)
    with Operations() as second:
        torch.autograd.grad(force.square().sum(), weight)
    assert not first.counts["sin"] and not second.counts["sin"]  # all computed with the values
    assert gradgradcheck(lambda d, w: CUT(d)[0] @ w * CUT(d)[1], (d, weight))


def test_one_of_two_outputs() -> None:
    d = torch.tensor([0.7, 2.1], dtype=torch.float64, requires_grad=True)
    for n in range(2):
        assert gradcheck(lambda d, n=n: CUT(d)[n], d) and gradgradcheck(lambda d, n=n: CUT(d)[n], d)
