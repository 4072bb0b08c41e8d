"""The activation and the switch of DPA3 against their formulas."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import grad, gradcheck, gradgradcheck

from geqlib.dpa3.functions import SiLUT, Switch
from tests.dpa3 import oracle_dpa3


@pytest.mark.parametrize("threshold", [3.0, 10.0])
def test_silut_is_its_formula(threshold: float) -> None:
    x = torch.linspace(-30, 60, 181, dtype=torch.float64)
    expected = [oracle_dpa3.silut(float(v), threshold) for v in x]
    expected = torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(SiLUT(threshold)(x), expected, atol=1e-12, rtol=1e-12)
    points = torch.tensor([-2.0, 0.3, 2.9, 3.1, 9.0, 11.0], dtype=torch.float64).requires_grad_()
    assert gradcheck(SiLUT(threshold), points) and gradgradcheck(SiLUT(threshold), points)


def test_silut_and_its_slope_are_continuous() -> None:
    act = SiLUT()
    x = torch.tensor([10 - 1e-9, 10 + 1e-9], dtype=torch.float64, requires_grad=True)
    y = act(x)
    (slope,) = grad(y.sum(), x, create_graph=True)
    (curve,) = grad(slope.sum(), x)
    assert (y[1] - y[0]).abs() < 1e-8 and (slope[1] - slope[0]).abs() < 1e-8
    # the jump of the second derivative that the docstring tells
    assert float(curve[1] - curve[0]) == pytest.approx(3.6e-4, rel=0.02)


@pytest.mark.parametrize(("start", "cutoff"), [(5.3, 6.0), (3.5, 4.0), (2.9, 3.0)])
def test_switch_is_its_formula(start: float, cutoff: float) -> None:
    d = torch.linspace(0, 2 * cutoff, 401, dtype=torch.float64)
    expected = [oracle_dpa3.switch(float(v), start, cutoff) for v in d]
    expected = torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(Switch(start, cutoff)(d), expected, atol=1e-14, rtol=1e-12)


def test_switch_has_two_continuous_derivatives() -> None:
    switch = Switch(2.9, 3.0)
    for edge in (2.9, 3.0):
        d = torch.tensor([edge - 1e-8, edge + 1e-8], dtype=torch.float64, requires_grad=True)
        w = switch(d)
        (slope,) = grad(w.sum(), d, create_graph=True)
        (curve,) = grad(slope.sum(), d)
        for value, largest in ((w, 1.0), (slope, 20.0), (curve, 1e3)):
            assert (value[1] - value[0]).abs() < 1e-5 * largest
    far = torch.tensor([3.0, 10.0, 1e4], requires_grad=True)
    (slope,) = grad(switch(far).sum(), far)
    assert switch(far).eq(0).all() and slope.eq(0).all()


def test_difference_from_the_published_switch() -> None:
    d = torch.linspace(0, 6, 6001, dtype=torch.float64)
    published = torch.exp(-torch.exp(20 * (d - 5.3) / 5.3))
    assert float((Switch(5.3, 6.0)(d) - published).abs().max()) == pytest.approx(0.019, abs=5e-4)
    assert float(published[-1]) == pytest.approx(8e-7, rel=0.1)


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="threshold must be positive, got 0"):
        SiLUT(0.0)
    for start, cutoff in ((0.0, 1.0), (2.0, 2.0), (3.0, 2.0)):
        with pytest.raises(ValueError, match="choose 0 < start < cutoff"):
            Switch(start, cutoff)
