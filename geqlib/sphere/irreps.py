"""Irreducible representations of SO(3) in float64."""

from __future__ import annotations

import torch
from torch import Tensor


def wigner(degree: int, rotation: Tensor) -> Tensor:
    """D^l of e3nn from D^k = (2k+1) C (R x D^(k-1)) C, C = wigner_3j(1, k-1, k) and D^1 = R.

    e3nn's D_from_matrix is off by 1e-6 in float64, for its generators are made in float32.
    """
    from e3nn import o3

    d = rotation.new_ones(1, 1, dtype=torch.float64)
    for k in range(1, degree + 1):
        c = o3.wigner_3j(1, k - 1, k, dtype=torch.float64).to(d.device)
        d = (2 * k + 1) * torch.einsum("ijk,ia,jb,abc->kc", c, rotation, d, c)
    return d
