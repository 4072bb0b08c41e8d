"""Irreducible representations of O(3) in float64."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def act_irreps(x: Tensor, irreps: str, matrix: Tensor) -> Tensor:
    from e3nn import o3

    sign = torch.linalg.det(matrix).sign()
    parts: list[tuple[int, Any]] = [(mul, ir) for mul, ir in o3.Irreps(irreps)]
    blocks = []
    for block, (mul, ir) in zip(
        x.split([m * ir.dim for m, ir in parts], dim=-1), parts, strict=True
    ):
        d = wigner(ir.l, sign * matrix) * (ir.p if sign < 0 else 1)
        blocks.append((block.unflatten(-1, (mul, ir.dim)) @ d.T).flatten(-2))
    return torch.cat(blocks, dim=-1)


def wigner(degree: int, rotation: Tensor) -> Tensor:
    """D^l of e3nn from D^k = (2k+1) C (R x D^(k-1)) C, C = wigner_3j(1, k-1, k) and D^1 = R.

    e3nn's D_from_matrix is off by 1e-6 in float64, for its generators are made in float32.
    """
    from e3nn import o3

    d = torch.ones(1, 1, dtype=torch.float64)
    for k in range(1, degree + 1):
        c = o3.wigner_3j(1, k - 1, k, dtype=torch.float64)
        d = (2 * k + 1) * torch.einsum("ijk,ia,jb,abc->kc", c, rotation, d, c)
    return d
