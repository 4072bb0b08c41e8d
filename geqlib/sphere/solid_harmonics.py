"""Solid harmonics: spherical ones times a power of the length."""

from __future__ import annotations

from math import pi, sqrt

import torch
from torch import Tensor

from geqlib.sphere.coefficients import gaunt_coefficients
from geqlib.sphere.tables import Constants


class SolidHarmonics(Constants):
    """S_lm(v) = |v|^l Y_lm(v / |v|), which are harmonic polynomials: smooth also at v = 0.

    Symmetry: the degree-l part turns like an irrep of degree l and parity (-1)^l. Each degree is
    the product of the one below with v, S_l ~ G (S_(l-1) x v), where G are the Gaunt coefficients:
    two operations a degree, which matters where second derivatives are wanted.

    Args:
        degree: highest l, at least 0.

    Shapes:
        [R, 3] to [R, (degree + 1)^2], the order and the normalisation of
        `geqlib.sphere.harmonics.spherical_harmonics`.

    Example:
        >>> 4 * torch.pi / 3 * SolidHarmonics(1)(torch.tensor([[0.0, 1.2, 1.6]]))[0, 1:] ** 2
        tensor([0.0000, 1.4400, 2.5600])
    """

    def __init__(self, degree: int) -> None:
        if degree < 0:
            raise ValueError(f"degree must be at least 0, got {degree}.")
        tables = {f"up{ell}": _raise(ell) for ell in range(2, degree + 1)}
        super().__init__(**tables)
        self.degree = degree

    def forward(self, v: Tensor) -> Tensor:
        parts = [torch.full_like(v[:, :1], 1 / sqrt(4 * pi))]
        if self.degree:
            parts.append(v * sqrt(3 / (4 * pi)))
        for ell in range(2, self.degree + 1):
            pairs = (parts[-1].unsqueeze(2) * v.unsqueeze(1)).flatten(1)
            parts.append(pairs @ self.table(f"up{ell}", v))
        return torch.cat(parts, 1)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.degree})"


def _raise(ell: int) -> Tensor:
    """[(2l - 1) 3, 2l + 1] from S_(l-1) x v to S_l.

    Gaunt coefficients of (l - 1, 1, l) have rows that are orthogonal over pairs. At the pole all
    but m = 0 vanish, which gives the constant.
    """
    table = gaunt_coefficients(ell - 1, 1, ell)
    pole = table[ell - 1, 1, ell] * sqrt((2 * ell - 1) / (4 * pi))
    return (table * (sqrt((2 * ell + 1) / (4 * pi)) / pole)).flatten(0, 1)
