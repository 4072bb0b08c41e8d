"""Gaunt products from scipy's spherical harmonics, a fine quadrature and e3nn's coefficients."""

from __future__ import annotations

from functools import lru_cache
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
    table, weight = _grid(max(degrees), sum(degrees) + 6)
    first, second, out = (table[:, : (d + 1) ** 2] for d in degrees)
    return ((x @ first.T) * (y @ second.T) * weight) @ out


@lru_cache(maxsize=4)
def _grid(degree: int, count: int) -> tuple[Tensor, Tensor]:
    """Harmonics [points, (degree + 1)^2] and weights, exact up to the degree 2 count - 1."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    azimuths = np.arange(2 * count) * pi / count
    polar, azimuth = (a.ravel() for a in np.meshgrid(np.arccos(nodes), azimuths, indexing="ij"))
    weight = torch.from_numpy(np.repeat(weights, 2 * count) * pi / count)
    return torch.from_numpy(harmonics(degree, polar, azimuth)), weight
