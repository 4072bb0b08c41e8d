"""Gaunt products from scipy's spherical harmonics, a fine quadrature and e3nn's coefficients."""

from __future__ import annotations

from math import pi, sqrt

import numpy as np
import torch
from scipy.special import sph_harm_y
from torch import Tensor


def harmonics(degree: int, polar: np.ndarray, azimuth: np.ndarray) -> np.ndarray:
    """Real orthonormal harmonics [n, (degree + 1)^2] by scipy, e3nn's order and signs."""
    columns = []
    for n in range(degree + 1):
        for m in range(-n, n + 1):
            y = sph_harm_y(n, abs(m), polar, azimuth) * (-1) ** m  # no Condon-Shortley phase
            part = y.imag if m < 0 else y.real
            columns.append(part * (sqrt(2) if m else 1))
    return np.stack(columns, -1)


def product(degrees: tuple[int, int, int], x: Tensor, y: Tensor) -> Tensor:
    """z_lm = integral of f g Y_lm of [..., (L + 1)^2], on a grid finer than needed."""
    count = sum(degrees) + 6
    nodes, weights = np.polynomial.legendre.leggauss(count)
    azimuths = np.arange(2 * count) * pi / count
    polar, azimuth = (a.ravel() for a in np.meshgrid(np.arccos(nodes), azimuths, indexing="ij"))
    weight = torch.from_numpy(np.repeat(weights, 2 * count) * pi / count)
    first, second, out = (torch.from_numpy(harmonics(d, polar, azimuth)) for d in degrees)
    return ((x @ first.T) * (y @ second.T) * weight) @ out
