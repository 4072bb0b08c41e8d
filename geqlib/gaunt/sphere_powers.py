"""Powers of functions on the sphere, point by point."""

from __future__ import annotations

from functools import lru_cache
from math import factorial, pi

import numpy as np
import torch
from e3nn import o3
from scipy.integrate import lebedev_rule
from torch import Tensor

from geqlib.gaunt.layout import read_irreps
from geqlib.sphere.harmonics import spherical_harmonics
from geqlib.sphere.tables import Constants

LEBEDEV = (*range(3, 32, 2), *range(35, 132, 6))  # degrees for which there is a rule


class SpherePowers(Constants):
    """Coefficients of f, f^2, ..., f^order, for f given by its coefficients.

    The values of f at the points of a Lebedev rule that is exact for all that is asked, about a
    third of (D + 1)^2 points for D = order L + L_out: one matrix product there, one product of
    values an order, one matrix product back for each.

    Irreps of both types tau = p (-1)^l are two functions a and b, which reflections tell apart; in
    powers of a + b and of a - b, sums and differences separate the types again.

    Args:
        irreps_in, irreps_out: multiplicities do not matter.
        order: the highest power.

    Shapes:
        rows [k_in, W], one for each component of each irrep in their order, to a list of `order`
        tensors [k_out, W].
    """

    def __init__(self, irreps_in: o3.Irreps, irreps_out: o3.Irreps, order: int) -> None:
        points, weights = sphere_rule(order * max(irreps_in.ls) + max(irreps_out.ls))
        there, back = _values(irreps_in, points), _values(irreps_out, points) * weights
        types = {ir.p * (-1) ** ir.l for _, ir in irreps_in}
        if types != {1}:
            mirror = [_types(irreps).unsqueeze(1) for irreps in (irreps_in, irreps_out)]
            there = torch.cat([there, there * mirror[0]], 1)
            back = torch.cat([back, back * mirror[1]], 1) / 2
        super().__init__(there=there.T.contiguous(), back=back.contiguous())
        self.order = order

    def forward(self, rows: Tensor) -> list[Tensor]:
        value, back = self.table("there", rows) @ rows, self.table("back", rows)
        power = value
        found = [back @ power]
        for _ in range(1, self.order):
            power = power * value
            found.append(back @ power)
        return found

    def __repr__(self) -> str:
        return f"{type(self).__name__}(points={len(self.get_buffer('there'))}, order={self.order})"


def sphere_rule(degree: int) -> tuple[Tensor, Tensor]:
    """Points [n, 3] and weights [n] that integrate polynomials up to `degree` exactly (Lebedev).

    Raises:
        ValueError: for degrees above 131.

    Example:
        >>> points, weights = sphere_rule(7)
        >>> len(points), round(float(weights.sum() / torch.pi), 6)
        (26, 4.0)
    """
    known = [rule for rule in LEBEDEV if rule >= degree]
    if not known:
        raise ValueError(
            f"Powers need a rule of degree {degree} on the sphere, and rules end at "
            f"{LEBEDEV[-1]}: lower the order or the degrees of the irreps."
        )
    points, weights = lebedev_rule(known[0])
    return torch.from_numpy(points.T.copy()), torch.from_numpy(weights)


@lru_cache(maxsize=64)
def power_variances(irreps_in: str, irreps_out: str, order: int) -> list[list[float]]:
    """Mean square of a component of each output irrep, for f, ..., f^order, [order][irreps].

    For inputs that are normal with unit variances, by Wick's theorem: f is a Gaussian process with
    the covariance K(t) = sum_l (2l + 1) / 4pi P_l(t) between points at distance arccos t, and

        <f(q)^n f(q')^n> = sum_j (n! / (2^h h!))^2 / j! K(1)^(2h) K(t)^j,    h = (n - j) / 2.

    0 where the power does not reach the irrep.
    """
    first, out = read_irreps("irreps_in", irreps_in), read_irreps("irreps_out", irreps_out)
    top = order * max(first.ls) + max(out.ls)
    nodes, weights = (torch.from_numpy(x) for x in np.polynomial.legendre.leggauss(top + 1))
    polynomials = _legendre(max(*first.ls, *out.ls), nodes)
    natural, pseudo = (
        sum((2 * ir.l + 1) / (4 * pi) * polynomials[ir.l] for _, ir in first if _type(ir) == tau)
        + torch.zeros_like(nodes)
        for tau in (1, -1)
    )
    total = sum(ir.dim for _, ir in first) / (4 * pi)
    found = []
    for n in range(1, order + 1):
        same, other = (_wick(n, total, natural + sign * pseudo) for sign in (1, -1))
        means = [(same + _type(ir) * other) / 2 for _, ir in out]
        parts = [2 * pi * weights * polynomials[ir.l] for _, ir in out]
        found.append([float(part @ mean) for part, mean in zip(parts, means, strict=True)])
    return [[v if v > 1e-10 * total**n else 0.0 for v in row] for n, row in enumerate(found, 1)]


def _wick(n: int, variance: float, covariance: Tensor) -> Tensor:
    total = torch.zeros_like(covariance)
    for j in range(n % 2, n + 1, 2):
        h = (n - j) // 2
        pairings = factorial(n) / (2**h * factorial(h))
        total = total + pairings**2 / factorial(j) * variance ** (2 * h) * covariance**j
    return total


def _legendre(degree: int, nodes: Tensor) -> list[Tensor]:
    found = [torch.ones_like(nodes), nodes]
    for ell in range(2, degree + 1):
        found.append(((2 * ell - 1) * nodes * found[-1] - (ell - 1) * found[-2]) / ell)
    return found


def _values(irreps: o3.Irreps, points: Tensor) -> Tensor:
    """[k, points]."""
    return spherical_harmonics(max(irreps.ls), points)[:, _places(irreps)].T


def _places(irreps: o3.Irreps) -> list[int]:
    """l^2 + l + m of each row."""
    return [k for _, ir in irreps for k in range(ir.l**2, (ir.l + 1) ** 2)]


def _type(ir: o3.Irrep) -> int:
    return ir.p * (-1) ** ir.l


def _types(irreps: o3.Irreps) -> Tensor:
    return torch.tensor([float(_type(ir)) for _, ir in irreps for _ in range(ir.dim)]).double()
