"""Vectors to and from functions of orientation."""

from __future__ import annotations

from torch import Tensor

from geqlib.ponita.invariants import safe_sqrt


def orientation_axes(directions: Tensor, single: bool) -> Tensor:
    """[1 or N, O, A, d] axes of a grid, or of one orientation a node.

    A unit vector has itself for its axis (A = 1), a rotation its columns (A = 3).

    Args:
        directions: unit vectors [K, d] or rotations [K, 3, 3].
        single: whether there is one a node (O = 1), not one grid for all nodes.
    """
    axes = directions[:, None] if directions.dim() == 2 else directions.transpose(-1, -2)
    return axes[:, None] if single else axes[None]


def lift_vectors(vec: Tensor, axes: Tensor) -> Tensor:
    """Components of vectors along the axes: x[n, o, (a, v)] = vec[n, v] . axes[o, a].

    Args:
        vec: [N, V, d].
        axes: [1 or N, O, A, d].

    Returns:
        [N, O, A * V].
    """
    _, orientations, per, _ = axes.shape
    seen = axes.flatten(1, 2) @ vec.transpose(1, 2)
    return seen.reshape(vec.size(0), orientations, per * vec.size(1))


def read_vectors(f: Tensor, axes: Tensor) -> Tensor:
    """Vectors of a signal: vec[n, v] = 1/O sum_(o, a) f[n, o, (a, v)] axes[o, a].

    Lifting and reading give back v / d from unit vectors (where the grid has sum o o^T = O/d),
    and v from rotations.

    Args:
        f: [N, O, A * V].
        axes: [1 or N, O, A, d].

    Returns:
        [N, V, d].

    Example:
        >>> import torch
        >>> from geqlib.sphere.grids import sphere_grid
        >>> axes = orientation_axes(sphere_grid(12), single=False)
        >>> v = torch.randn(5, 2, 3, dtype=torch.float64)
        >>> torch.allclose(3 * read_vectors(lift_vectors(v, axes), axes), v)
        True
    """
    nodes, orientations, width = f.shape
    per = axes.size(2)
    signal = f.reshape(nodes, orientations * per, width // per)
    return signal.transpose(1, 2) @ axes.flatten(1, 2) / orientations


def lengths(vec: Tensor) -> Tensor:
    """|v| of vectors [N, V, d], with derivative 0 where v = 0."""
    return safe_sqrt((vec * vec).sum(-1))
