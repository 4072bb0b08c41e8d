"""Wigner matrices of many rotations at once, by a recurrence in the degree."""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor

from geqlib.sphere.tables import Constants


class WignerMatrices(Constants):
    """D^l(R) for l = 0, ..., degree: harmonics of degree l turn by Y(R q) = D^l(R) Y(q).

    D^1 = R in e3nn's basis, and with C the coupling of 1 x (l - 1) to l, of C^T C = 1,

        D^l = C^T (R x D^(l-1)) C.

    Polynomials in R, so that all derivatives exist. Of a reflection they are the matrices of the
    parity (-1)^l, those of harmonics; of the other parity they are these times det R.

    Args:
        degree: highest l, at least 0.

    Shapes:
        [N, 3, 3] to a list of [N, 2l + 1, 2l + 1].

    Raises:
        ValueError: a negative degree.

    Example:
        >>> turn = torch.tensor([[[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]])
        >>> [d.shape[1] for d in WignerMatrices(2)(turn)]
        [1, 3, 5]
    """

    def __init__(self, degree: int) -> None:
        from e3nn import o3  # here, as e3nn takes a second to import

        if degree < 0:
            raise ValueError(f"degree must be at least 0, got {degree}.")
        tables = {}
        for ell in range(2, degree + 1):
            couple = o3.wigner_3j(1, ell - 1, ell, dtype=torch.float64) * sqrt(2 * ell + 1)
            tables[f"up{ell}"] = couple.flatten(0, 1)
        super().__init__(**tables)
        self.degree = degree

    def forward(self, rotation: Tensor) -> list[Tensor]:
        powers = [torch.ones_like(rotation[:, :1, :1]), rotation]
        for ell in range(2, self.degree + 1):
            couple, size = self.table(f"up{ell}", rotation), 3 * (2 * ell - 1)
            outer = rotation[:, :, None, :, None] * powers[-1][:, None, :, None, :]
            powers.append(couple.T @ outer.reshape(-1, size, size) @ couple)
        return powers[: self.degree + 1]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.degree})"
