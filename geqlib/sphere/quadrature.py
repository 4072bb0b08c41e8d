"""Lebedev quadrature on the sphere, and on half of it for integrands with f(-q) = f(q)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from scipy.integrate import lebedev_rule
from torch import Tensor

from geqlib.sphere.harmonics import gauss_legendre, uniform_angles

# degrees of the rules by Lebedev and Laikov (Doklady Mathematics 59, 1999)
LEBEDEV = (*range(3, 32, 2), *range(35, 132, 6))


class Hemisphere(NamedTuple):
    """Polar angles, azimuths and weights of points, [points] each in float64."""

    polar: Tensor
    azimuth: Tensor
    weight: Tensor


def sphere_rule(degree: int) -> tuple[Tensor, Tensor]:
    """Points [n, 3] and weights [n] that integrate polynomials up to `degree` exactly (Lebedev).

    Raises:
        ValueError: for degrees above 131.

    Example:
        >>> points, weights = sphere_rule(7)
        >>> len(points), round(float(weights.sum() / torch.pi), 6)
        (26, 4.0)
    """
    rule = next((d for d in LEBEDEV if d >= degree), None)
    if rule is None:
        raise ValueError(
            f"Powers need a rule of degree {degree} on the sphere, and rules end at "
            f"{LEBEDEV[-1]}: lower the order or the degrees of the irreps."
        )
    points, weights = lebedev_rule(rule)
    return torch.from_numpy(points.T.copy()), torch.from_numpy(weights)


def rotation_rule(degree: int) -> tuple[Tensor, Tensor]:
    """Rotations [n, 3, 3] and weights [n] of sum 1 whose mean is exact for Wigner functions.

    Euler angles: uniform about the polar axis y, before and after a Gauss-Legendre tilt about z.

    Args:
        degree: up to which entries of D^l are averaged exactly: all but those of l = 0 to 0.

    Example:
        >>> rotations, weights = rotation_rule(2)
        >>> len(rotations), bool(torch.einsum("n,nij->ij", weights, rotations).abs().max() < 1e-15)
        (18, True)
    """
    tilt, share = gauss_legendre(degree)
    around = _turns(uniform_angles(degree), 2, 0)
    matrices = torch.einsum("aij,bjk,ckl->abcil", around, _turns(tilt, 0, 1), around)
    weights = share.expand(len(around), len(around), -1).mT
    return matrices.reshape(-1, 3, 3), (weights / weights.sum()).reshape(-1)


def _turns(angle: Tensor, i: int, j: int) -> Tensor:
    """Rotations in the plane of two axes."""
    matrices = torch.eye(3, dtype=torch.float64).repeat(len(angle), 1, 1)
    matrices[:, i, i] = matrices[:, j, j] = angle.cos()
    matrices[:, j, i], matrices[:, i, j] = angle.sin(), -angle.sin()
    return matrices


def hemisphere(degree: int) -> Hemisphere:
    """Points that integrate even polynomials up to `degree` over the whole sphere exactly.

    Half of a Lebedev grid, about (degree + 1)^2 / 6 points, one of each antipodal pair; beyond
    degree 131 half of a Gauss-Legendre times uniform grid, with 1.5 times the points. Three of the
    rules have negative weights, which cost a factor below 2 in rounding and nothing else.

    Example:
        >>> points = hemisphere(4)
        >>> len(points.weight), float(points.weight @ points.polar.cos() ** 2 * 3 / 4 / torch.pi)
        (7, 1.0)
    """
    if degree > LEBEDEV[-1]:
        return _rings(degree)
    points, weight = sphere_rule(degree)
    x, y, z = points.T
    # the first coordinate that is not zero says which of a pair it is
    near = 1e-9
    first = torch.where(y.abs() > near, y, torch.where(z.abs() > near, z, x))
    x, y, z, weight = (v[first > 0] for v in (x, y, z, weight))
    return Hemisphere(torch.atan2(torch.hypot(x, z), y), torch.atan2(x, z), 2 * weight)


def _rings(degree: int) -> Hemisphere:
    angle, weight = gauss_legendre(degree)
    turns, half = uniform_angles(degree), len(angle) // 2
    weight = weight[:half] * (4 * torch.pi / len(turns))
    return Hemisphere(
        angle[:half].repeat_interleave(len(turns)),
        turns.repeat(half),
        weight.repeat_interleave(len(turns)),
    )
