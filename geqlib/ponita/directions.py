"""Harmonics of the direction of an offset, as seen from an orientation."""

from __future__ import annotations

from math import sqrt

import torch
from e3nn.o3 import spherical_harmonics
from torch import Tensor

from geqlib.ponita.invariants import Space, spatial_attributes

ORIENTED = ("R2xS1", "R3xS2", "SE3")


def harmonic_count(space: Space, degree: int) -> int:
    """How many functions `direction_harmonics` returns."""
    return {"R2xS1": 2 * degree + 1, "R3xS2": degree + 1, "SE3": (degree + 1) ** 2}[space]


def direction_harmonics(space: Space, direction: Tensor, ori: Tensor, degree: int) -> Tensor:
    """Orthogonal functions of a direction u that are invariant when u and o turn together.

    R^3 x S^2: Legendre polynomials sqrt(2l + 1) P_l(o.u); R^2 x S^1: 1, and sqrt(2) cos and
    sqrt(2) sin of m times the angle from o to u; SE(3): real spherical harmonics of R_o^T u. Each
    has mean square 1 over all directions; degrees from 0 to `degree`.

    Args:
        space: "R2xS1", "R3xS2" or "SE3".
        direction: u, [..., d], of length 1, or less where there is no direction.
        ori: o, [..., d], or [..., 3, 3] for SE(3); leading dimensions broadcast with those of u.
        degree: L, at least 0.

    Returns:
        [..., M], M = `harmonic_count(space, degree)`.

    Example:
        >>> o = torch.tensor([0.0, 0.0, 1.0])
        >>> direction_harmonics("R3xS2", o, o, 2).tolist()
        [1.0, 1.7320507764816284, 2.2360680103302]
    """
    if space not in ORIENTED:
        raise ValueError(f"space {space!r} has no directions: choose one of {', '.join(ORIENTED)}.")
    if space == "R3xS2":
        return _legendre((ori * direction).sum(-1), degree)
    seen = spatial_attributes(space, direction, ori)
    if space == "R2xS1":
        return _circular(seen[..., 0], seen[..., 1], degree)
    degrees = list(range(degree + 1))
    return spherical_harmonics(degrees, seen, normalize=False, normalization="component")


def _legendre(cosine: Tensor, degree: int) -> Tensor:
    p = [torch.ones_like(cosine), cosine]
    for k in range(2, degree + 1):  # Bonnet's recurrence
        p.append(((2 * k - 1) * cosine * p[-1] - (k - 1) * p[-2]) / k)
    return torch.stack([sqrt(2 * k + 1) * p[k] for k in range(degree + 1)], -1)


def _circular(cosine: Tensor, sine: Tensor, degree: int) -> Tensor:
    c, s = torch.ones_like(cosine), torch.zeros_like(sine)
    found = [c]
    for _ in range(degree):
        c, s = c * cosine - s * sine, c * sine + s * cosine
        found += [sqrt(2) * c, sqrt(2) * s]
    return torch.stack(found, -1)
