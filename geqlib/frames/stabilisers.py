"""Finite sets of orthogonal matrices that average like the continuous groups they stand for."""

from __future__ import annotations

from itertools import product
from math import pi

import numpy as np

Array = np.ndarray


def sign_patterns(axes: int, *, even: bool = False) -> Array:
    """All rows of +1 and -1, or those whose product is +1.

    Example:
        >>> sign_patterns(2, even=True).tolist()
        [[1.0, 1.0], [-1.0, -1.0]]
    """
    found = np.array(list(product([1.0, -1.0], repeat=axes))).reshape(2**axes, axes)
    return found[found.prod(1) > 0] if even else found


def orthogonal_average(
    axes: int, degree: int, *, spatial: bool, proper: bool
) -> tuple[Array, Array]:
    """Matrices and weights whose mean over a representation is that of all of SO or O(axes).

    Tensors of degree at most 1 are averaged by sign patterns, which keep no vector. In a plane,
    C_(L+1) averages all degrees up to L, and in space a product of it, Gauss-Legendre angles and
    C_(L+1).

    Args:
        axes: 0 or more.
        degree: L, highest degree of what is averaged.
        spatial: whether these axes are among those of a space of 3 dimensions, where degrees
            above 1 occur.
        proper: SO instead of O. One axis has no SO: it is fixed.

    Returns:
        [n, axes, axes] and [n], which sums to 1.
    """
    if spatial and axes == 2:
        rotations, weight = _turns(degree + 1), np.full(degree + 1, 1 / (degree + 1))
    elif spatial and axes == 3:
        rotations, weight = _spherical(degree)
    else:
        patterns = sign_patterns(axes, even=proper)
        matrices = patterns[:, :, None] * np.eye(axes)
        return matrices, np.full(len(patterns), 1 / len(patterns))
    if proper:
        return rotations, weight
    mirror = np.diag([1.0] * (axes - 1) + [-1.0])
    return np.concatenate([rotations, rotations @ mirror]), np.concatenate([weight, weight]) / 2


def _turns(count: int) -> Array:
    angle = np.arange(count) * (2 * pi / count)
    c, s = np.cos(angle), np.sin(angle)
    return np.stack([c, -s, s, c], 1).reshape(-1, 2, 2)


def _spherical(degree: int) -> tuple[Array, Array]:
    """Euler angles: sums over them are exact for products of Wigner functions up to `degree`."""
    cosine, weight = np.polynomial.legendre.leggauss(degree // 2 + 1)
    around = np.zeros((degree + 1, 3, 3))
    around[:, :2, :2], around[:, 2, 2] = _turns(degree + 1), 1
    sine = np.sqrt(1 - cosine**2)
    tilt = np.zeros((len(cosine), 3, 3))
    tilt[:, 0, 0] = tilt[:, 2, 2] = cosine
    tilt[:, 0, 2], tilt[:, 2, 0], tilt[:, 1, 1] = sine, -sine, 1
    found = np.einsum("aij,bjk,ckl->abcil", around, tilt, around).reshape(-1, 3, 3)
    share = np.broadcast_to(weight[None, :, None], (degree + 1, len(cosine), degree + 1)).ravel()
    return found, share / share.sum()
