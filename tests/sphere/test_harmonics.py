"""Harmonics are e3nn's and scipy's; integrals of three are e3nn's coefficients times a number."""

from __future__ import annotations

from itertools import product
from math import pi, sqrt

import numpy as np
import pytest
import torch
from e3nn import o3
from scipy.special import sph_harm_y

from geqlib.gaunt.fourier import polar_series
from geqlib.sphere.coefficients import gaunt_coefficients, nonzero_coefficients, path_variances
from geqlib.sphere.harmonics import spherical_harmonics

POINTS = torch.nn.functional.normalize(
    torch.randn(40, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64), dim=-1
)


def test_harmonics_are_those_of_e3nn() -> None:
    expected = o3.spherical_harmonics(list(range(12)), POINTS, True, "integral")
    # e3nn's unrolled polynomials lose a digit or two
    torch.testing.assert_close(spherical_harmonics(11, POINTS), expected, atol=1e-13, rtol=0)


def test_degree_20_is_that_of_scipy() -> None:
    got = spherical_harmonics(20, POINTS).numpy()
    polar = np.arccos(POINTS[:, 1].numpy())
    azimuth = np.arctan2(POINTS[:, 0].numpy(), POINTS[:, 2].numpy())
    for n, m in product((0, 7, 13, 20), (-20, -7, -1, 0, 2, 13)):
        if abs(m) > n:
            continue
        y = sph_harm_y(n, abs(m), polar, azimuth) * (-1) ** m * (sqrt(2) if m else 1)
        np.testing.assert_allclose(got[:, n * n + n + m], y.imag if m < 0 else y.real, atol=1e-12)


def test_harmonics_are_smooth_at_the_poles() -> None:
    poles = torch.tensor([[0.0, 1.0, 0.0], [0.0, -1.0, 0.0]], dtype=torch.float64)
    slopes = torch.autograd.functional.jacobian(lambda p: spherical_harmonics(5, p), poles)
    assert bool(slopes.isfinite().all())


def test_torus_series_is_the_harmonic() -> None:
    degree, angle = 6, torch.linspace(0, pi, 7, dtype=torch.float64)
    points = torch.stack([0 * angle, angle.cos(), angle.sin()], -1)  # p = 0
    wave = torch.exp(1j * angle[:, None] * torch.arange(-degree, degree + 1))
    series = torch.einsum("mlu,au->aml", polar_series(degree).value, wave)
    expected = spherical_harmonics(degree, points)
    for n in range(degree + 1):
        for m in range(n + 1):
            got = series[:, m, n]
            torch.testing.assert_close(got.real, expected[:, n * n + n + m], atol=1e-13, rtol=0)
            assert float(got.imag.abs().max()) < 1e-13


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gaunt", "bracket"])
def test_coefficients_are_wigner_3j_times_the_known_factor(kind: str) -> None:
    """To l = 6. The factor of a bracket is known up to its sign."""
    variances = path_variances(6, 6, 6, kind)
    for path in product(range(7), repeat=3):
        a, b, c = path
        got = gaunt_coefficients(*path, kind=kind)
        if not abs(a - b) <= c <= a + b or (a + b + c) % 2 != (kind == "bracket"):
            assert not got.any() and variances[path] == 0
            continue
        w = o3.wigner_3j(*path, dtype=torch.float64)
        factor = float((got * w).sum())
        size = sqrt((2 * a + 1) * (2 * b + 1) * (2 * c + 1) / (4 * pi))
        if kind == "gaunt":
            complete = abs(three_j(path, 0))
        else:
            complete = sqrt(a * (a + 1) * b * (b + 1)) * abs(three_j(path, 1))
            factor = abs(factor)
        assert factor == pytest.approx(size * complete, rel=1e-12)
        scale = max(1.0, factor)
        sign = float((got * w).sum().sign())
        torch.testing.assert_close(got, sign * factor * w, atol=1e-12 * scale, rtol=0)
        assert float(variances[path]) == pytest.approx(
            factor**2 / (2 * c + 1), rel=1e-12, abs=1e-14
        )


def three_j(path: tuple[int, int, int], m: int) -> float:
    """(l1 l2 l3; m -m 0) by exact arithmetic."""
    from sympy import N
    from sympy.physics.wigner import wigner_3j

    return float(N(wigner_3j(*path, m, -m, 0)))


def test_bracket_has_the_sign_of_the_cross_product() -> None:
    """{x, y} = z on the unit sphere."""
    block = gaunt_coefficients(1, 1, 1, kind="bracket")
    assert float(block[0, 1, 2]) == pytest.approx(sqrt(3 / (4 * pi)), rel=1e-13)


def test_number_of_coefficients() -> None:
    assert [len(nonzero_coefficients(n, n, n, "gaunt")[1]) for n in range(1, 5)] == [
        10,
        83,
        353,
        1158,
    ]


def test_errors() -> None:
    with pytest.raises(ValueError, match="degree must be at least 0, got -1"):
        spherical_harmonics(-1, POINTS)
    with pytest.raises(ValueError, match=r"points must have shape \[\.\.\., 3\], got \(2,\)"):
        spherical_harmonics(1, torch.zeros(2))
