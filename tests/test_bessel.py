"""Radial functions are the published ones, and vanish smoothly at the cutoff."""

from __future__ import annotations

from math import pi, sin, sqrt

import pytest
import torch

from geqlib.nn import BesselBasis, RadialNetwork


def test_basis_is_the_formula() -> None:
    basis = BesselBasis(3, 4.0)
    for d in (0.1, 1.7, 3.9):
        expected = [sqrt(2 / 4.0) * sin(n * pi * d / 4.0) / d for n in (1, 2, 3)]
        got = basis(torch.tensor(d, dtype=torch.float64))
        torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float64))


def test_basis_is_orthonormal_in_a_ball() -> None:
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


def test_second_derivatives() -> None:
    torch.manual_seed(0)
    network = RadialNetwork(2, 3.0, hidden=4).double()
    d = torch.tensor([0.3, 1.4, 2.9, 3.5], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(network, d)
    assert torch.autograd.gradgradcheck(network, d)


def test_reset() -> None:
    torch.manual_seed(0)
    network = RadialNetwork(2, 3.0, hidden=64)
    before = network.network[0].weight.clone()
    network.reset_parameters()
    after = network.network[0].weight
    assert not torch.equal(before, after)
    assert 0.8 < float(after.detach().norm() / before.detach().norm()) < 1.25


@pytest.mark.parametrize(("count", "cutoff"), [(0, 1.0), (2, 0.0)])
def test_bad_options(count: int, cutoff: float) -> None:
    with pytest.raises(ValueError, match="count and cutoff must be positive"):
        BesselBasis(count, cutoff)
