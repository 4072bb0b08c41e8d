"""Frame averages as explicit sums over group elements, in float64 and in Python."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import permutations, product

import numpy as np

Array = np.ndarray
Function = Callable[[Array], tuple[Array, Array]]


def eigen_frames(centred: Array, proper: bool) -> list[Array]:
    """All signs of the eigenvectors of sum_i x_i x_i^T, by descending eigenvalue."""
    _, axes = np.linalg.eigh(centred.T @ centred)
    axes = axes[:, ::-1]
    actual = [axes * np.array(signs) for signs in product([1, -1], repeat=axes.shape[1])]
    return [g for g in actual if not proper or np.linalg.det(g) > 0]


def stabiliser(centred: Array, proper: bool) -> list[Array]:
    """All orthogonal matrices that map a set of rank 3 to itself, by trying all relabellings."""
    actual = []
    for order in permutations(range(len(centred))):
        g = np.linalg.lstsq(centred, centred[list(order)], rcond=None)[0].T
        fits = np.allclose(centred @ g.T, centred[list(order)], atol=1e-9)
        if fits and np.allclose(g @ g.T, np.eye(3), atol=1e-9):
            actual.append(g)
    return [g for g in actual if not proper or np.linalg.det(g) > 0]


def average(fn: Function, pos: Array, frames: Iterable[Array]) -> tuple[Array, Array]:
    """Means of an invariant and of points: f(g^-1 x) and g f(g^-1 x), origin at the centroid."""
    frames, centre = list(frames), pos.mean(0)
    scalars, points = [], []
    for g in frames:
        scalar, point = fn((pos - centre) @ g)
        scalars.append(scalar)
        points.append(point @ g.T + centre)
    return np.mean(scalars, 0), np.mean(points, 0)
