"""Integrals of three spherical harmonics, and of their Poisson brackets.

    gaunt     integral of Y_1 Y_2 Y_3                     non-zero for even l1 + l2 + l3 only
    bracket   integral of {Y_1, Y_2} Y_3                  non-zero for odd l1 + l2 + l3 only

with {f, g} = r . (grad f x grad g) = (df/dt dg/dp - df/dp dg/dt) / sin t on the unit sphere. By
Schur's lemma each is e3nn's `wigner_3j` times one number a path (l1, l2, l3) that depends on no m.
Both integrands separate into a polynomial in cos t and a trigonometric polynomial in p, so
Gauss-Legendre times uniform quadrature is exact, to rounding, for every degree.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from typing import Literal

import torch
from torch import Tensor

from geqlib.sphere.harmonics import (
    PolarParts,
    azimuthal_parts,
    gauss_legendre,
    polar_parts,
    uniform_angles,
)

Kind = Literal["gaunt", "bracket"]
_ZERO = 1e-14


def path_exists(kind: Kind, l1: int, l2: int, l3: int) -> bool:
    """Whether the coefficients of a path are not all zero."""
    odd = (l1 + l2 + l3) % 2 == 1
    return abs(l1 - l2) <= l3 <= l1 + l2 and odd == (kind == "bracket")


def gaunt_coefficients(l1: int, l2: int, l3: int, *, kind: Kind = "gaunt") -> Tensor:
    """The coefficients of one path, [2 l1 + 1, 2 l2 + 1, 2 l3 + 1] in float64.

    Example:
        >>> gaunt_coefficients(0, 1, 1)[0].diagonal()
        tensor([0.2821, 0.2821, 0.2821], dtype=torch.float64)
        >>> gaunt_coefficients(1, 1, 1, kind="bracket")[0, 1, 2]  # {x, y} ~ z
        tensor(0.4886, dtype=torch.float64)
    """
    degrees = (l1, l2, l3)
    index, value = nonzero_coefficients(*degrees, kind)
    index = index - torch.tensor([[ell * ell] for ell in degrees])
    size = torch.tensor([[2 * ell + 1] for ell in degrees])
    inside = ((index >= 0) & (index < size)).all(0)
    dense = torch.zeros([2 * ell + 1 for ell in degrees], dtype=torch.float64)
    dense[tuple(index[:, inside])] = value[inside]
    return dense


@lru_cache(maxsize=16)
def nonzero_coefficients(l1: int, l2: int, l3: int, kind: Kind) -> tuple[Tensor, Tensor]:
    """All non-zero coefficients up to the degrees l1, l2, l3.

    Returns:
        Indices l^2 + l + m of the three harmonics [3, n], sorted by the third, and values [n].
    """
    angle, weight = gauss_legendre(l1 + l2 + l3)
    polar = [polar_parts(ell, angle) for ell in (l1, l2)]
    third = polar_parts(l3, angle).value * weight
    value, turned = _azimuthal_integrals(l1, l2, l3, kind)
    entries = [(torch.zeros(3, 0, dtype=torch.long), third.new_zeros(0))]
    allowed = _allowed(l1, l2, l3, kind)
    for m1, m2, m3 in _coupled_orders(value, turned, (l1, l2, l3)):
        a, b = (
            PolarParts(*(part[abs(m)] for part in p)) for p, m in zip(polar, (m1, m2), strict=True)
        )
        at, c = (m1 + l1, m2 + l2, m3 + l3), third[abs(m3)]
        if kind == "gaunt":
            block = value[at] * _polar_integrals(a.value, b.value, c)
        else:
            block = value[at] * _polar_integrals(a.slope, b.azimuthal, c)
            block = block - turned[at] * _polar_integrals(a.azimuthal, b.slope, c)
        entries.append(_entries(block, allowed, (m1, m2, m3)))
    index, values = (torch.cat(parts, -1) for parts in zip(*entries, strict=True))
    order = torch.argsort(index[2], stable=True)
    return index[:, order], values[order]


@lru_cache(maxsize=16)
def path_variances(l1: int, l2: int, l3: int, kind: Kind) -> Tensor:
    """Variance of an output component by path, if input components have independent variances 1.

    The sum of squared coefficients over m1 and m2, which is the same for every m3: taken at m3 = 0,
    where |m1| = |m2|. All paths up to the degrees given: [l1 + 1, l2 + 1, l3 + 1].
    """
    angle, weight = gauss_legendre(l1 + l2 + l3)
    m = min(l1, l2) + 1
    a, b = (PolarParts(*(part[:m] for part in polar_parts(ell, angle))) for ell in (l1, l2))
    c = polar_parts(l3, angle).value[0] * weight * torch.pi
    pairs = [(a.value, b.value)]
    if kind == "bracket":
        pairs = [(a.slope, b.azimuthal), (a.azimuthal, b.slope)]
    integral = sum(torch.einsum("mit,mjt,kt->mijk", f, g, c) for f, g in pairs)
    square = 2 * torch.as_tensor(integral).square()
    square[0] *= 2  # cos(0 p)^2 has the mean 1, the others 1/2
    return square.sum(0) * _allowed(l1, l2, l3, kind)


@lru_cache(maxsize=16)
def _allowed(l1: int, l2: int, l3: int, kind: Kind) -> Tensor:
    """[l1 + 1, l2 + 1, l3 + 1], whether the path exists."""
    shape = [ell + 1 for ell in (l1, l2, l3)]
    paths = product(*map(range, shape))
    return torch.tensor([path_exists(kind, *path) for path in paths]).view(shape)


def _azimuthal_integrals(l1: int, l2: int, l3: int, kind: Kind) -> tuple[Tensor, Tensor]:
    """Integrals over p of T T T; of the bracket's two terms, T T' T and T' T T, up to |m|."""
    angle = uniform_angles(l1 + l2 + l3)
    (a, da), (b, db), (c, _) = (azimuthal_parts(ell, angle) for ell in (l1, l2, l3))
    c = c * (2 * torch.pi / len(angle))
    pairs = ((a, b), (a, b)) if kind == "gaunt" else ((a, db), (da, b))
    first, second = (torch.einsum("ip,jp,kp->ijk", f, g, c) for f, g in pairs)
    return first, second


def _coupled_orders(
    value: Tensor, turned: Tensor, degrees: tuple[int, int, int]
) -> list[tuple[int, int, int]]:
    coupled = ((value.abs() > 1e-9) | (turned.abs() > 1e-9)).nonzero()
    shifts = torch.tensor(degrees)
    return [(int(i), int(j), int(k)) for i, j, k in (coupled - shifts).tolist()]


def _polar_integrals(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """[l1, l2, l3] from [l, angles] each."""
    pairs = (a[:, None] * b).flatten(0, 1)
    return (pairs @ c.T).unflatten(0, (len(a), len(b)))


def _entries(block: Tensor, allowed: Tensor, m: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    """Keep what the selection rules allow: the rest is zero, but for rounding."""
    index = (allowed & (block.abs() > _ZERO)).nonzero().T
    return index * (index + 1) + torch.tensor(m)[:, None], block[tuple(index)]
