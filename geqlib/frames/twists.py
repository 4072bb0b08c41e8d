"""How fast tensors change when they are turned."""

from __future__ import annotations

from functools import cache
from math import sqrt

import torch
from torch import Tensor


def twists(x: Tensor, degree: int) -> Tensor:
    """M with n.M n = |dx/dt|^2, the squared rate of change of tensors turned about n.

    M turns with the tensors, whatever their degree: a frame can be read from it. For a vector it is
    |x|^2 - x x^T, and directions in the kernel of M are axes of continuous symmetry.

    Args:
        x: [..., 2 degree + 1] in e3nn's basis.
        degree: l, at least 1.

    Returns:
        [..., 3, 3], in the type of x.

    Example:
        >>> twists(torch.tensor([0.0, 2.0, 0.0]), 1)
        tensor([[4., 0., 0.],
                [0., 0., 0.],
                [0., 0., 4.]])
    """
    rate = torch.einsum("ijk,...k->...ij", _generators(degree).to(x), x)
    return rate @ rate.mT


@cache
def _generators(degree: int) -> Tensor:
    """[3, 2l + 1, 2l + 1]: e3nn's coupling of 1 x l to l is proportional to them."""
    from e3nn import o3

    found = o3.wigner_3j(1, degree, degree, dtype=torch.float64)
    # sum_i tr(L_i L_i^T) = l (l + 1) (2l + 1), and the coupling has norm 1
    return found * sqrt(degree * (degree + 1) * (2 * degree + 1))
