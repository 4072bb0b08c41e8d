"""Half a sphere of points integrates even polynomials."""

from __future__ import annotations

from math import pi, sqrt

import pytest
import torch

from geqlib.sphere.harmonics import spherical_harmonics
from geqlib.sphere.quadrature import hemisphere

DEGREES = (0, 1, 2, 6, 12, 18, 24, 25, 60, pytest.param(135, marks=pytest.mark.slow))


@pytest.mark.parametrize("degree", DEGREES)
def test_even_harmonics_integrate_to_zero(degree: int) -> None:
    """All but that of degree 0. Weights of one sign round to some 1e-14; the three rules of both
    signs sum to less than twice their integral."""
    polar, azimuth, weight = hemisphere(degree)
    x, y, z = (polar.sin() * azimuth.sin(), polar.cos(), polar.sin() * azimuth.cos())
    even = [k for n in range(0, degree + 1, 2) for k in range(n * n, (n + 1) ** 2)]
    # all harmonics at all points would take gigabytes
    parts = zip(weight.split(256), torch.stack([x, y, z], -1).split(256), strict=True)
    integral = sum(part @ spherical_harmonics(degree, points) for part, points in parts)[even]
    assert float(integral[0]) == pytest.approx(sqrt(4 * pi), rel=1e-13)
    assert integral[1:].numel() == 0 or float(integral[1:].abs().max()) < 2e-13
    assert float(weight.abs().sum()) < 2 * 4 * pi


def test_no_point_has_its_antipode() -> None:
    polar, azimuth, _ = hemisphere(24)
    points = torch.stack(
        [polar.sin() * azimuth.sin(), polar.cos(), polar.sin() * azimuth.cos()], -1
    )
    assert len(points) == 115  # of 230
    assert float((points @ points.T).min()) > -1 + 1e-6
