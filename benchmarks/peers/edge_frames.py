"""Rotations that turn edges to the polar axis, as matrices on spherical harmonics."""

from __future__ import annotations

import torch
from e3nn import o3
from torch import Tensor

from geqlib.sphere.tables import Constants


class EdgeFrames(Constants):
    """Wigner matrices D^l(R), l = 0, ..., degree, of rotations R with R v = |v| y.

    D^1 = R in e3nn's basis and D^l = (2l + 1) C (R x D^(l-1)) C with C = wigner_3j(1, l - 1, l). R
    is the shortest rotation to y for vectors in the upper half space; vectors in the lower one are
    turned about x by pi first. What is built of it and does not depend on the choice of R is
    therefore smooth everywhere but at v = 0.

    Args:
        degree: highest l.

    Shapes:
        unit vectors [E, 3] to a list of [E, 2l + 1, 2l + 1].

    Example:
        >>> v = torch.nn.functional.normalize(torch.tensor([[1.0, -2.0, 3.0]]), dim=1)
        >>> (EdgeFrames(1)(v)[1] @ v[0]).round(decimals=4).abs()
        tensor([[0., 1., 0.]])
    """

    def __init__(self, degree: int) -> None:
        tables = {}
        for ell in range(2, degree + 1):
            couple = o3.wigner_3j(1, ell - 1, ell, dtype=torch.float64) * (2 * ell + 1) ** 0.5
            tables[f"up{ell}"] = couple.flatten(0, 1)
        super().__init__(**tables)
        self.degree = degree

    def forward(self, v: Tensor) -> list[Tensor]:
        frame = _frame(v)
        powers = [torch.ones_like(frame[:, :1, :1]), frame]
        for ell in range(2, self.degree + 1):
            couple, size = self.table(f"up{ell}", v), 2 * ell - 1
            outer = torch.einsum("eij,ekl->eikjl", frame, powers[-1]).reshape(
                -1, 3 * size, 3 * size
            )
            powers.append(couple.T @ outer @ couple)
        return powers[: self.degree + 1]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.degree})"


def _frame(v: Tensor) -> Tensor:
    """[E, 3, 3] rotations R with R v = y."""
    below = v[:, 1] < 0
    flip = torch.where(below, -1.0, 1.0).to(v.dtype)
    a, b, c = v[:, 0], v[:, 1] * flip, v[:, 2] * flip
    p = 1 / (1 + b)
    rows = [1 - a * a * p, -a, -a * c * p, a, b, c, -a * c * p, -c, 1 - c * c * p]
    turn = torch.stack(rows, 1).view(-1, 3, 3)
    sign = torch.stack([torch.ones_like(flip), flip, flip], 1)
    return turn * sign.unsqueeze(1)
