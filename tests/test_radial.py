"""Monomials, envelopes and radial functions are what their formulas say."""

from __future__ import annotations

from itertools import product
from math import exp, log, pi, prod, sin, sqrt

import pytest
import torch
from torch import Tensor

from geqlib.nn import (
    BesselBasis,
    LogGaussianBasis,
    PolynomialCutoff,
    PolynomialFeatures,
    RadialNetwork,
)


def derivatives(fn: torch.nn.Module, at: float, order: int) -> list[float]:
    """Value and derivatives at a point."""
    x = torch.tensor(at, dtype=torch.float64, requires_grad=True)
    values: list[Tensor] = [fn(x)]
    for _ in range(order):
        values += torch.autograd.grad(values[-1], x, create_graph=True)
    return [value.item() for value in values]


@pytest.mark.parametrize(("count", "degree"), [(1, 1), (1, 4), (2, 3), (3, 2), (9, 2)])
def test_monomials_stand_once_each(count: int, degree: int) -> None:
    layer = PolynomialFeatures(count, degree)
    a = torch.randn(4, count, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    got = layer(a)
    powers = [p for p in product(range(degree + 1), repeat=count) if 1 <= sum(p) <= degree]
    assert got.shape == (4, len(powers)) == (4, layer.out_features)
    expected = torch.stack([prod(x**k for x, k in zip(a.T, p, strict=True)) for p in powers], 1)
    torch.testing.assert_close(got.sort(1).values, expected.sort(1).values, atol=1e-14, rtol=1e-12)


def test_monomials_keep_leading_dimensions_and_are_smooth_at_zero() -> None:
    layer = PolynomialFeatures(2, 3)
    assert layer(torch.zeros(0, 5, 2)).shape == (0, 5, 9)
    slopes = torch.autograd.functional.jacobian(layer, torch.zeros(2))
    assert bool(slopes.isfinite().all()) and slopes.sum() == 2


@pytest.mark.parametrize("p", [2, 3, 6])
def test_envelope_falls_smoothly_from_one_to_zero(p: int) -> None:
    cutoff = PolynomialCutoff(2.0, p)
    assert derivatives(cutoff, 0.0, p - 1) == [1.0] + [0.0] * (p - 1)
    assert derivatives(cutoff, 2.0 - 1e-9, 2) == pytest.approx([0.0, 0.0, 0.0], abs=1e-6)
    assert derivatives(cutoff, 2.0, 2) == pytest.approx([0.0, 0.0, 0.0], abs=1e-12)
    beyond = cutoff(torch.tensor([2.0, 2.5, 1e6]))
    assert beyond.tolist() == [0.0, 0.0, 0.0]
    inside = cutoff(torch.linspace(0, 2, 50, dtype=torch.float64))
    assert bool((inside.diff() <= 1e-12).all())


def test_envelope_is_the_formula() -> None:
    p, t = 6, 0.7
    terms = (p + 1) * (p + 2) / 2 * t**p, p * (p + 2) * t ** (p + 1), p * (p + 1) / 2 * t ** (p + 2)
    expected = 1 - terms[0] + terms[1] - terms[2]
    assert derivatives(PolynomialCutoff(3.0), 3 * t, 0) == pytest.approx([expected], rel=1e-12)


def test_log_gaussians_are_the_formula() -> None:
    basis = LogGaussianBasis(5, 0.1, 10.0)
    width = log(10.0 / 0.1) / 4
    centres = [0.1 * exp(k * width) for k in range(5)]
    for distance in (0.0, 1e-3, 0.1, 0.37, 25.0):
        expected = [exp(-(log((distance + 0.1) / c) ** 2) / (2 * width**2)) for c in centres]
        got = basis(torch.tensor(distance, dtype=torch.float64))
        assert got.tolist() == pytest.approx(expected, rel=1e-12)
    peaks = torch.tensor(centres, dtype=torch.float64) - 0.1
    assert basis(peaks).diagonal().tolist() == pytest.approx([1.0] * 5)


def test_log_gaussians_keep_shape_and_dtype() -> None:
    for dtype in (torch.float32, torch.float64):
        basis = LogGaussianBasis(3)(torch.ones(2, 0, 4, dtype=dtype))
        assert basis.shape == (2, 0, 4, 3) and basis.dtype == dtype


def test_bessel_functions_are_the_formula() -> None:
    basis = BesselBasis(3, 4.0)
    for d in (0.1, 1.7, 3.9):
        expected = [sqrt(2 / 4.0) * sin(n * pi * d / 4.0) / d for n in (1, 2, 3)]
        got = basis(torch.tensor(d, dtype=torch.float64))
        torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float64))


def test_bessel_functions_are_orthonormal_in_a_ball() -> None:
    """By the midpoint rule, whose error is about (step / cutoff)^2."""
    step = 1e-3
    d = torch.arange(step / 2, 5.0, step, dtype=torch.float64)
    b = BesselBasis(4, 5.0)(d) * d.unsqueeze(1)
    torch.testing.assert_close(step * b.T @ b, torch.eye(4).double(), atol=1e-5, rtol=0)


def test_network_vanishes_at_the_cutoff() -> None:
    """Like the envelope, whose first two derivatives are 0 there: by (1 - d / c)^3."""
    torch.manual_seed(0)
    network = RadialNetwork(3, 2.0, hidden=8).double()
    assert not network(torch.tensor([2.0, 2.5], dtype=torch.float64)).any()
    near = network(2 - torch.tensor([2e-4, 1e-4], dtype=torch.float64))
    torch.testing.assert_close(near[0] / near[1], torch.full((3,), 8.0).double(), rtol=0.01, atol=0)


def test_second_derivatives_of_the_network() -> None:
    torch.manual_seed(0)
    network = RadialNetwork(2, 3.0, hidden=4).double()
    d = torch.tensor([0.3, 1.4, 2.9, 3.5], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(network, d)
    assert torch.autograd.gradgradcheck(network, d)


def test_reset_of_the_network() -> None:
    torch.manual_seed(0)
    network = RadialNetwork(2, 3.0, hidden=64)
    before = network.network[0].weight.clone()
    network.reset_parameters()
    after = network.network[0].weight
    assert not torch.equal(before, after)
    assert 0.8 < float(after.detach().norm() / before.detach().norm()) < 1.25


@pytest.mark.parametrize(("count", "cutoff"), [(0, 1.0), (2, 0.0)])
def test_errors_of_bessel_functions(count: int, cutoff: float) -> None:
    with pytest.raises(ValueError, match="count and cutoff must be positive"):
        BesselBasis(count, cutoff)


def test_repr() -> None:
    assert repr(PolynomialFeatures(2, 3)) == "PolynomialFeatures(2, degree=3)"
    assert repr(PolynomialCutoff(5.0)) == "PolynomialCutoff(5.0, p=6)"
    assert repr(LogGaussianBasis(8)) == "LogGaussianBasis(8, r_min=0.1, r_max=10.0)"


def test_errors() -> None:
    with pytest.raises(ValueError, match="degree must be at least 1, got 0"):
        PolynomialFeatures(2, 0)
    with pytest.raises(ValueError, match=r"cutoff must be positive, got 0\.0"):
        PolynomialCutoff(0.0)
    for arguments in ((1, 0.1, 1.0), (4, 0.0, 1.0), (4, 2.0, 1.0)):
        with pytest.raises(ValueError, match="count must be at least 2 and 0 < r_min < r_max"):
            LogGaussianBasis(*arguments)
