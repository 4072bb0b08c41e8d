"""Random elements of GL+(n), SL(n) and scalings, and their Haar measures.

These groups are not compact: their Haar measures are infinite, and no element is uniformly
distributed. As Mironenco and Forré do (ICLR 2024, arXiv 2310.11366), a sample is

    g = exp(Y) R,     Y = log P ~ N(0, scale^2 1),     R uniform in SO(n),

where Y has the coordinates of `geqlib.symmetry.polar`. (They draw X = 2 Y of variance b: a scale of
sqrt(b) / 2, of which their b = 0.2 is 0.22.) `haar_weights` turns means over samples into integrals
over the Haar measure.
"""

from __future__ import annotations

from math import inf, log, pi
from typing import Literal, get_args

import torch
from torch import Tensor

from geqlib.symmetry.polar import check_proper, check_special, matrix_exp, polar_basis
from geqlib.symmetry.rotations import random_rotation, random_rotations

Linear = Literal["GL+", "SL", "R+"]  # R+: scalings x -> s x with s > 0
SCALE = 0.2
ROUND = 1e-2  # differences below which sinh(x) / x is summed


def random_matrices(
    count: int,
    dim: int,
    group: Linear = "GL+",
    *,
    scale: float = SCALE,
    dtype: torch.dtype | None = None,
    device: torch.device | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """[count, n, n] random matrices of GL+(n), SL(n), or scalings.

    Args:
        count: how many.
        dim: n.
        group: "GL+", of positive determinant; "SL", of determinant 1; "R+", positive multiples of
            the identity.
        scale: standard deviation of each coordinate of log P; 0 leaves rotations alone.
        dtype, device: of the matrices.
        generator: of the draws; torch's own random stream by default.

    Raises:
        ValueError: another group, or a scale that is negative, infinite or NaN.

    Example:
        >>> g = random_matrices(4, 3, "SL", dtype=torch.float64)
        >>> bool((torch.linalg.det(g) - 1).abs().max() < 1e-12)
        True
    """
    basis = stretch_basis(dim, group).to(dtype=dtype or torch.get_default_dtype(), device=device)
    if not 0 <= scale < inf:
        raise ValueError(f"scale is a standard deviation, at least 0 and finite, got {scale}.")
    normal = torch.randn(count, len(basis), dtype=basis.dtype, device=device, generator=generator)
    with torch.autocast(basis.device.type, enabled=False):  # which would round determinants
        stretch = matrix_exp(torch.einsum("bk,kij->bij", scale * normal, basis))
        if group == "R+":
            return stretch
        if dim in (2, 3):
            return stretch @ random_rotations(
                count, dim, dtype=basis.dtype, device=device, generator=generator
            )
        own = generator or torch.default_generator
        rotations = [random_rotation(dim, own) for _ in range(count)]
        return stretch @ torch.stack(rotations).to(stretch) if count else stretch


def haar_weights(matrix: Tensor, group: Linear = "GL+", *, scale: float = SCALE) -> Tensor:
    """Weights w of samples for which the mean of w(g) f(g) estimates the Haar integral of f.

    The Haar measure is that of the symmetric space of stretches times the uniform distribution of
    rotations, and 1 at the identity in the coordinates of Y:

        dg = prod over i < j of  sinh(y_i - y_j) / (y_i - y_j)  dY dR,

    with the eigenvalues y of Y. It is invariant from the left and from the right. For affine maps
    x -> g x + t, dg dt / det g is invariant from the left, and dg dt from the right.

    Args:
        matrix: [..., n, n] of `random_matrices`.
        group, scale: with which they were drawn.

    Returns:
        [...], density of the Haar measure over density of the samples.

    Raises:
        ValueError: matrices that are not in the group, or a scale of 0.

    Example:
        >>> g = random_matrices(4, 2, scale=0.5)
        >>> haar_weights(g, scale=0.5).shape
        torch.Size([4])
    """
    dim = matrix.size(-1)
    count = len(stretch_basis(dim, group))
    if not 0 < scale < inf:
        raise ValueError(f"Samples of scale {scale} have no density: take one above 0.")
    (check_special if group == "SL" else check_proper)(matrix)
    y = torch.linalg.svdvals(matrix.detach()).log()
    normal = -y.square().sum(-1) / (2 * scale**2) - count / 2 * log(2 * pi * scale**2)
    if group == "R+":
        return torch.exp(-normal)
    i, j = torch.triu_indices(dim, dim, offset=1)
    return _sinhc(y[..., i] - y[..., j]).prod(-1) * torch.exp(-normal)


def stretch_basis(dim: int, group: Linear) -> Tensor:
    """[k, n, n] orthonormal basis of the logarithms of stretches.

    Raises:
        ValueError: another group.

    Example:
        >>> len(stretch_basis(3, "GL+")), len(stretch_basis(3, "SL")), len(stretch_basis(3, "R+"))
        (6, 5, 1)
    """
    if group not in get_args(Linear):
        raise ValueError(f"group must be one of {get_args(Linear)}, got {group!r}.")
    if group == "R+":
        return torch.eye(dim, dtype=torch.float64)[None] / dim**0.5
    basis = polar_basis(dim, traceless=group == "SL")
    return basis[: len(basis) - dim * (dim - 1) // 2]


def _sinhc(x: Tensor) -> Tensor:
    """sinh(x) / x."""
    small = x.abs() < ROUND
    square = x.square()
    far = torch.where(small, 1.0, x)
    return torch.where(small, 1 + square / 6 * (1 + square / 20), far.sinh() / far)
