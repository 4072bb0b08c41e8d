"""Invariant attributes of pairs of positions and orientations.

Source: Bekkers et al., "Fast, expressive SE(n) equivariant networks through weight-sharing in
position-orientation space" (ICLR 2024, arXiv 2310.02970), Theorem 1. With r = p_source - p_target,
o the orientation at the target and o' the one at the source:

    R^n         |r|
    R^2 x S^1   R_o^T r,  o.o'
    R^3 x S^2   o.r,  |r - (o.r) o|,  o.o'
    SE(3)       R_o^T r,  R_o^T R_o'

Their Jacobian has rank 1, 3, 3 and 6 on generic pairs. The pairs of R^3 x S^2 have four invariants:
o'.r completes them. All but those of R^2 x S^1 and SE(3) do not see reflections; the handedness
r.(o x o') distinguishes mirror images.
"""

from __future__ import annotations

from math import sqrt
from typing import Literal, get_args

import torch
from e3nn.o3 import spherical_harmonics
from torch import Tensor

from geqlib.kernels.safe_length import safe_length
from geqlib.sphere.harmonics import legendre_polynomials

Space = Literal["R2", "R3", "R2xS1", "R3xS2", "SE3"]
DIMENSION: dict[str, int] = {"R2": 2, "R3": 3, "R2xS1": 2, "R3xS2": 3, "SE3": 3}
SPATIAL: dict[str, int] = {"R2": 1, "R3": 1, "R2xS1": 2, "R3xS2": 2, "SE3": 3}
FIBER: dict[str, int] = {"R2": 0, "R3": 0, "R2xS1": 1, "R3xS2": 1, "SE3": 9}
ORIENTED = ("R2xS1", "R3xS2", "SE3")


def check_space(space: str) -> None:
    """Raise a ValueError that lists the spaces if `space` is none of them."""
    if space not in get_args(Space):
        raise ValueError(f"space {space!r} is unknown: choose one of {', '.join(get_args(Space))}.")


def spatial_attributes(
    space: Space, offset: Tensor, ori: Tensor | None = None, *, smooth: bool = False
) -> Tensor:
    """Attributes of the offset as seen from the orientation at the target.

    Args:
        space: one of the spaces above.
        offset: r, [..., d]; its leading dimensions broadcast with those of `ori`.
        ori: o, unit vectors [..., d], or rotations [..., 3, 3] for SE(3); None for R^n.
        smooth: |r|^2 and |r - (o.r) o|^2 instead of the norms, which have a kink at zero.

    Returns:
        [..., 1] for R^n, [..., 2] for R^2 x S^1 and R^3 x S^2, [..., 3] for SE(3).
    """
    if space in ("R2", "R3"):
        return _length(offset, smooth)
    if ori is None:
        raise ValueError(f"space {space!r} needs orientations, got ori=None.")
    if space == "SE3":
        return (ori * offset.unsqueeze(-1)).sum(-2)
    if offset.dim() > 1 and offset.size(-2) == 1 and ori.dim() == 2:  # a grid
        along = (offset @ ori.mT).mT
    else:
        along = (ori * offset).sum(-1, keepdim=True)
    if space == "R2xS1":
        return torch.cat([along, _cross2(ori, offset)], -1)
    across = torch.addcmul(offset, along, ori, value=-1)
    return torch.cat([along, _length(across, smooth)], -1)


def fiber_attributes(space: Space, target: Tensor, source: Tensor) -> Tensor:
    """Attributes of two orientations alone: o.o' [..., 1], or R_o^T R_o' [..., 9] for SE(3)."""
    if space == "SE3":
        return (target.transpose(-1, -2) @ source).flatten(-2)
    return (target * source).sum(-1, keepdim=True)


def pair_attributes(
    space: Space,
    offset: Tensor,
    target: Tensor,
    source: Tensor,
    *,
    smooth: bool = False,
    fourth: bool = False,
    chiral: bool = False,
) -> Tensor:
    """Every attribute of a pair, for kernels that see both orientations at once.

    Args:
        space: R2xS1, R3xS2 or SE3.
        offset: r, [..., d].
        target, source: o and o', [..., d], or [..., 3, 3] for SE(3); all leading dimensions
            broadcast together.
        smooth: see `spatial_attributes`.
        fourth: add o'.r.
        chiral: add r.(o x o') in space, o x o' in the plane.

    Returns:
        [..., K], K the number of attributes (`pair_count`).
    """
    seen = spatial_attributes(space, offset, target, smooth=smooth)
    parts = [seen, fiber_attributes(space, target, source)]
    if fourth:
        parts.append((source * offset).sum(-1, keepdim=True))
    if chiral:
        parts.append(_handedness(space, offset, target, source))
    lead = torch.broadcast_shapes(*[p.shape[:-1] for p in parts])
    return torch.cat([p.expand(*lead, p.size(-1)) for p in parts], -1)


def pair_count(space: Space, *, fourth: bool = False, chiral: bool = False) -> int:
    """How many attributes `pair_attributes` returns."""
    return SPATIAL[space] + FIBER[space] + fourth + chiral


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
        [1.0, 1.73205, 2.23607]
    """
    if space not in ORIENTED:
        raise ValueError(f"space {space!r} has no directions: choose one of {', '.join(ORIENTED)}.")
    if space == "R3xS2":
        polynomials = legendre_polynomials(degree, (ori * direction).sum(-1))
        return torch.stack([sqrt(2 * k + 1) * p for k, p in enumerate(polynomials)], -1)
    seen = spatial_attributes(space, direction, ori)
    if space == "R2xS1":
        return _circular(seen[..., 0], seen[..., 1], degree)
    degrees = list(range(degree + 1))
    return spherical_harmonics(degrees, seen, normalize=False, normalization="component")


def _length(v: Tensor, squared: bool) -> Tensor:
    return (v * v).sum(-1, keepdim=True) if squared else safe_length(v)


def _cross2(a: Tensor, b: Tensor) -> Tensor:
    return a[..., :1] * b[..., 1:] - a[..., 1:] * b[..., :1]


def _handedness(space: Space, offset: Tensor, target: Tensor, source: Tensor) -> Tensor:
    if space == "R2xS1":
        return _cross2(target, source)
    normal = torch.linalg.cross(*torch.broadcast_tensors(target, source))
    return (offset * normal).sum(-1, keepdim=True)


def _circular(cosine: Tensor, sine: Tensor, degree: int) -> Tensor:
    c, s = torch.ones_like(cosine), torch.zeros_like(sine)
    values = [c]
    for _ in range(degree):
        c, s = c * cosine - s * sine, c * sine + s * cosine
        values += [sqrt(2) * c, sqrt(2) * s]
    return torch.stack(values, -1)
