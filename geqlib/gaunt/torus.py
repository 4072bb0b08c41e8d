"""Spherical harmonics as functions on a torus: finite Fourier series in both angles.

Continued to polar angles in [0, 2 pi), P_lm is a trigonometric polynomial of degree l, so that
Y_lm = sum over |u| <= l and v = +-m of y_uv exp(i (u t + v p)) exactly (Luo et al., ICLR 2024,
arXiv 2401.10216, section 3.2).
"""

from __future__ import annotations

from math import pi

import numpy as np
import torch
from torch import Tensor

from geqlib.sphere.harmonics import PolarParts, polar_parts


def polar_series(degree: int) -> PolarParts:
    """Coefficients of exp(i u t), u = -degree, ..., degree, of the three polar parts.

    Returns:
        Complex [|m|, l, u + degree] each.
    """
    count = 2 * degree + 2
    angle = (torch.arange(count, dtype=torch.float64) + 0.5) * (2 * pi / count)
    u = torch.arange(-degree, degree + 1, dtype=torch.float64)
    wave = torch.exp(-1j * angle[:, None] * u) / count
    value, slope, azimuthal = (part.to(wave.dtype) @ wave for part in polar_parts(degree, angle))
    return PolarParts(value, slope, azimuthal)


def polar_projection(degree: int, bandwidth: int) -> Tensor:
    """Integrals over t in [0, pi] of exp(i u t) P_lm sin t, |u| <= bandwidth.

    By Gauss-Legendre quadrature in t itself, with nodes enough for full precision: the integrands
    are entire functions of exponential type degree + bandwidth + 1.

    Returns:
        Complex [|m|, l, u + bandwidth].
    """
    nodes, weights = np.polynomial.legendre.leggauss(degree + bandwidth + 24)
    angle = torch.from_numpy(nodes + 1) * (pi / 2)
    weight = torch.from_numpy(weights) * (pi / 2) * angle.sin()
    u = torch.arange(-bandwidth, bandwidth + 1, dtype=torch.float64)
    wave = torch.exp(1j * angle[:, None] * u)
    return (polar_parts(degree, angle).value * weight).to(wave.dtype) @ wave
