"""Rotations whose copies of a grid make a finer one together."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

DEGREE = 16
STARTS = 3


def compound_rotations(grid: Tensor, count: int) -> Tensor:
    """Rotations [count, 3, 3], the identity first, whose copies of a grid integrate well together.

    The mean over the points of all copies should see as little as possible of the spherical
    harmonics of degree l = 1, 2, ...: what is minimal is

        sum_l 2^-l mean_ij P_l(p_i . p_j)

    over those points p, where P_l are Legendre polynomials. An icosahedron is exact up to degree
    5; a compound of five leaves 4 % of the amplitude of degree 6.

    Args:
        grid: [O, 3] unit vectors.
        count: of rotations, at least 1.

    Example:
        >>> from geqlib.sphere.grids import sphere_grid
        >>> compound_rotations(sphere_grid(12), 2).shape
        torch.Size([2, 3, 3])
    """
    if count < 1:
        raise ValueError(f"The number of rotations must be at least 1, got {count}.")
    points = tuple(map(tuple, grid.detach().double().cpu().tolist()))
    return _found(points, count).clone()


@lru_cache(maxsize=8)
def _found(points: tuple[tuple[float, ...], ...], count: int) -> Tensor:
    grid = torch.tensor(points, dtype=torch.float64)
    if count == 1:
        return torch.eye(3, dtype=torch.float64)[None]

    def loss(vectors: np.ndarray) -> tuple[float, np.ndarray]:
        leaf = torch.tensor(vectors, requires_grad=True)
        value = _unevenness(torch.einsum("kij,oj->koi", _matrices(leaf), grid).flatten(0, 1))
        (slope,) = torch.autograd.grad(value, leaf)
        return value.item(), slope.numpy()

    rng = np.random.default_rng(0)
    with torch.enable_grad():
        ends = [
            minimize(loss, rng.normal(size=3 * (count - 1)), jac=True, method="BFGS")
            for _ in range(STARTS)
        ]
    best = min(ends, key=lambda end: end.fun)
    return _matrices(torch.from_numpy(best.x))


def _matrices(vectors: Tensor) -> Tensor:
    """The identity and the rotations by these vectors."""
    x, y, z = vectors.view(-1, 3).T
    zero = torch.zeros_like(x)
    rows = [torch.stack(row, -1) for row in ((zero, -z, y), (z, zero, -x), (-y, x, zero))]
    turns = torch.linalg.matrix_exp(torch.stack(rows, 1))
    return torch.cat([torch.eye(3, dtype=turns.dtype)[None], turns])


def _unevenness(points: Tensor) -> Tensor:
    cosine = points @ points.T
    before, now = torch.ones_like(cosine), cosine
    total = now.mean() / 2
    for degree in range(2, DEGREE + 1):
        before, now = now, ((2 * degree - 1) * cosine * now - (degree - 1) * before) / degree
        total = total + now.mean() / 2**degree
    return total
