"""Real spherical harmonics of any degree, their factors in both angles, solid harmonics.

The basis is that of e3nn: orthonormal on the unit sphere, polar axis y, m = -l, ..., l, no
Condon-Shortley phase. With y = cos t, z = sin t cos p, x = sin t sin p,

    Y_lm = P_l|m|(t) T_m(p),    T_m = cos(m p) for m >= 0,  sin(|m| p) for m < 0,

and (l, m) stands at index l^2 + l + m. e3nn's own functions end at l = 11; the recurrences here are
those of Holmes and Featherstone (J. Geodesy 76, 2002), stable to degrees in the hundreds.
"""

from __future__ import annotations

from math import pi, sqrt
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from geqlib.kernels.closed_functions import closed_functions
from geqlib.sphere.tables import Constants


class PolarParts(NamedTuple):
    """P, its derivative dP/dt, and m P / sin t: each [|m|, l, angles], zero where l < |m|."""

    value: Tensor
    slope: Tensor
    azimuthal: Tensor


def legendre(degree: int, cosine: Tensor) -> Tensor:
    """Q_lm = P_lm / sin^m t, polynomials in cos t, as [|m|, l, ...]; zero where l < |m|.

    The factor sqrt(2) of m > 0 is included, so that Y_lm has norm 1.

    Example:
        >>> legendre(1, torch.tensor([0.5]))[0, 1] / legendre(1, torch.tensor([0.5]))[1, 1]
        tensor([0.5000])
    """
    zero = torch.zeros_like(cosine)
    columns, sectoral = [], zero + 1 / sqrt(4 * pi)
    for m in range(degree + 1):
        if m:
            sectoral = sectoral * sqrt((2 * m + 1) / (2 * m) * (2 if m == 1 else 1))
        columns.append(torch.stack([zero] * m + _degrees(m, degree, cosine, sectoral)))
    return torch.stack(columns)


def legendre_polynomials(degree: int, cosine: Tensor) -> list[Tensor]:
    """P_l for l = 0, ..., degree, with P_l(1) = 1.

    Example:
        >>> legendre_polynomials(2, torch.tensor([0.0, 1.0]))[2]
        tensor([-0.5000,  1.0000])
    """
    first = torch.full_like(cosine, 1 / sqrt(4 * pi))
    normalised = _degrees(0, degree, cosine, first)
    return [q * sqrt(4 * pi / (2 * ell + 1)) for ell, q in enumerate(normalised)]


def spherical_harmonics(degree: int, points: Tensor) -> Tensor:
    """Y_lm for l = 0, ..., degree at unit vectors.

    Polynomials in x, y and z, so that every derivative exists at every point, the poles included.

    Args:
        degree: highest l, at least 0.
        points: [..., 3] unit vectors.

    Returns:
        [..., (degree + 1)^2], in the type of `points`.

    Raises:
        ValueError: a negative degree, or points that are not [..., 3].

    Example:
        >>> 4 * torch.pi / 3 * spherical_harmonics(1, torch.tensor([0.0, 0.6, 0.8]))[1:] ** 2
        tensor([0.0000, 0.3600, 0.6400])
    """
    if degree < 0:
        raise ValueError(f"degree must be at least 0, got {degree}.")
    if points.dim() == 0 or points.size(-1) != 3:
        raise ValueError(f"points must have shape [..., 3], got {tuple(points.shape)}.")
    x, y, z = points.unbind(-1)
    q = legendre(degree, y)
    turns = [(torch.ones_like(x), torch.zeros_like(x))]
    for _ in range(degree):  # sin^m t e^(imp) = (z + ix)^m
        c, s = turns[-1]
        turns.append((c * z - s * x, c * x + s * z))
    pairs = orders(degree)
    return torch.stack([q[abs(m), ell] * turns[abs(m)][int(m < 0)] for ell, m in pairs], -1)


def orders(degree: int) -> list[tuple[int, int]]:
    """(l, m) of each index l^2 + l + m."""
    return [(ell, m) for ell in range(degree + 1) for m in range(-ell, ell + 1)]


def polar_parts(degree: int, angle: Tensor) -> PolarParts:
    """P_lm, its derivative and m P_lm / sin t at polar angles t [n].

    All three are trigonometric polynomials in t, also beyond pi: there sin t is negative.
    """
    cosine, sine = angle.cos(), angle.sin()
    q, m = legendre(degree, cosine), torch.arange(degree + 1, dtype=angle.dtype)[:, None, None]
    ell = torch.arange(degree + 1, dtype=angle.dtype)[None, :, None]
    over = q * sine ** (m - 1).clamp(min=0)  # P / sin t, for m > 0
    below = torch.cat([torch.zeros_like(over[:, :1]), over[:, :-1]], 1)
    weight = ((ell**2 - m**2).clamp(min=0) * (2 * ell + 1) / (2 * ell - 1).clamp(min=1)).sqrt()
    slope = ell * cosine * over - weight * below
    slope[0] = -(ell[0] * (ell[0] + 1) / 2).sqrt() * over[1] * sine if degree else 0.0
    return PolarParts(q * sine**m, slope, m * over)


def azimuthal_parts(degree: int, angle: Tensor) -> tuple[Tensor, Tensor]:
    """T_m and T_m' / |m|, each [m + degree, angles] for m = -degree, ..., degree."""
    m = torch.arange(-degree, degree + 1, dtype=angle.dtype)[:, None]
    c, s = (m.abs() * angle).cos(), (m.abs() * angle).sin()
    return torch.where(m < 0, s, c), torch.where(m < 0, c, -s)


def gauss_legendre(degree: int) -> tuple[Tensor, Tensor]:
    """Polar angles and weights that integrate polynomials in cos t up to `degree` exactly.

    Their number is even, so that no angle is pi / 2 and the first half is one hemisphere.
    """
    nodes, weights = np.polynomial.legendre.leggauss(2 * (degree // 4 + 1))
    order = np.argsort(-nodes)
    return torch.from_numpy(np.arccos(nodes[order])), torch.from_numpy(weights[order])


def uniform_angles(degree: int) -> Tensor:
    """Angles on the circle whose mean integrates trigonometric polynomials up to `degree`."""
    return torch.arange(degree + 1, dtype=torch.float64) * (2 * pi / (degree + 1))


class SolidHarmonics(Constants):
    """S_lm(v) = |v|^l Y_lm(v / |v|), which are harmonic polynomials: smooth also at v = 0.

    Symmetry: the degree-l part turns like an irrep of degree l and parity (-1)^l. Each degree is
    the product of the one below with v, S_l ~ G (S_(l-1) x v), where G are the Gaunt coefficients.
    Derivatives of harmonic polynomials are combinations of those one degree below.

    Args:
        degree: highest l, at least 0.

    Shapes:
        [R, 3] to [R, (degree + 1)^2], the order and the normalisation of `spherical_harmonics`.

    Example:
        >>> 4 * torch.pi / 3 * SolidHarmonics(1)(torch.tensor([[0.0, 1.2, 1.6]]))[0, 1:] ** 2
        tensor([0.0000, 1.4400, 2.5600])
    """

    def __init__(self, degree: int) -> None:
        if degree < 0:
            raise ValueError(f"degree must be at least 0, got {degree}.")
        tables = {f"up{ell}": _next_degree(ell) for ell in range(2, degree + 1)}
        super().__init__(**tables, slopes=_slopes(degree, tables))
        self.degree = degree

    def forward(self, v: Tensor) -> Tensor:
        return closed_functions(v, self._values, self.table("slopes", v))

    def _values(self, v: Tensor) -> Tensor:
        parts = [torch.full_like(v[:, :1], 1 / sqrt(4 * pi))]
        if self.degree:
            parts.append(v * sqrt(3 / (4 * pi)))
        for ell in range(2, self.degree + 1):
            pairs = (parts[-1].unsqueeze(2) * v.unsqueeze(1)).flatten(1)
            parts.append(pairs @ self.table(f"up{ell}", v))
        return torch.cat(parts, 1)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.degree})"


def _next_degree(ell: int) -> Tensor:
    """[(2l - 1) 3, 2l + 1] from S_(l-1) x v to S_l.

    Integrals of Y_(l-1) v Y_l over the sphere, which have orthogonal rows over pairs. At the pole
    all harmonics but m = 0 vanish, which gives the constant.
    """
    angle, weight = gauss_legendre(2 * ell)
    turns = uniform_angles(2 * ell)
    t, p = angle.repeat_interleave(len(turns)), turns.repeat(len(angle))
    v = torch.stack([t.sin() * p.sin(), t.cos(), t.sin() * p.cos()], 1)
    values = spherical_harmonics(ell, v)
    weighted = values[:, ell**2 :] * weight.repeat_interleave(len(turns))[:, None]
    table = torch.einsum("pa,pi,pm->aim", values[:, (ell - 1) ** 2 : ell**2], v, weighted)
    pole = table[ell - 1, 1, ell] * sqrt((2 * ell - 1) / (4 * pi))
    return (table * (sqrt((2 * ell + 1) / (4 * pi)) / pole)).flatten(0, 1)


def _slopes(degree: int, up: dict[str, Tensor]) -> Tensor:
    """[a, 3, b] with dS_a / dv_i = sum_b slopes[a, i, b] S_b: integrals over the sphere."""
    angle, weight = gauss_legendre(2 * degree)
    turns = uniform_angles(2 * degree)
    t, p = angle.repeat_interleave(len(turns)), turns.repeat(len(angle))
    v = torch.stack([t.sin() * p.sin(), t.cos(), t.sin() * p.cos()], 1)
    values = spherical_harmonics(degree, v)
    weighted = values * (weight.repeat_interleave(len(turns)) * (2 * pi / len(turns)))[:, None]
    table = torch.zeros((degree + 1) ** 2, 3, (degree + 1) ** 2, dtype=torch.float64)
    slope = torch.eye(3, dtype=torch.float64).expand(len(v), 3, 3) * sqrt(3 / (4 * pi))
    for ell in range(1, degree + 1):
        here, below = slice(ell**2, (ell + 1) ** 2), slice((ell - 1) ** 2, ell**2)
        if ell > 1:  # of S_l = up (S_(l-1) x v)
            pairs = up[f"up{ell}"].unflatten(0, (-1, 3))
            slope = torch.einsum("aim,pak,pi->pmk", pairs, slope, v)
            slope = slope + torch.einsum("aim,pa->pmi", pairs, values[:, below])
        table[here, :, below] = torch.einsum("pmi,pb->mib", slope, weighted[:, below])
    return table


def _degrees(m: int, degree: int, cosine: Tensor, first: Tensor) -> list[Tensor]:
    """Q_lm for l = m, ..., degree from Q_mm, by the recurrence in l."""
    column, before = [first], torch.zeros_like(cosine)
    for ell in range(m + 1, degree + 1):
        a = sqrt((4 * ell * ell - 1) / (ell * ell - m * m))
        b = sqrt(((ell - 1) ** 2 - m * m) / (4 * (ell - 1) ** 2 - 1)) if ell > 1 else 0.0
        last = column[-1]
        column.append(a * (cosine * last - b * before))
        before = last
    return column


def wigner(degree: int, rotation: Tensor) -> Tensor:
    """D^l of e3nn, by which harmonics of degree l turn: Y(R q) = D^l(R) Y(q), in float64.

    D^k = (2k+1) C (R x D^(k-1)) C with C = wigner_3j(1, k-1, k) and D^1 = R, because e3nn's
    D_from_matrix is off by 1e-6 in float64: its generators are rounded to float32.

    Example:
        >>> identity = torch.eye(3, dtype=torch.float64)
        >>> torch.allclose(wigner(1, identity), identity)
        True
    """
    from e3nn import o3

    d = torch.ones(1, 1, dtype=torch.float64)
    for k in range(1, degree + 1):
        c = o3.wigner_3j(1, k - 1, k, dtype=torch.float64)
        d = (2 * k + 1) * torch.einsum("ijk,ia,jb,abc->kc", c, rotation, d, c)
    return d
