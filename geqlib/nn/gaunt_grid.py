"""Gaunt products on a Gauss-Legendre times uniform grid: by dense matrices, or by separation.

The integrand is even under the antipode, so the grid covers one hemisphere: with
D = L1 + L2 + L3, floor(D/4) + 1 polar angles and D + 1 azimuths integrate it exactly.
"""

from __future__ import annotations

import torch
from torch import Size, Tensor

from geqlib.geometry.harmonics import (
    azimuthal_parts,
    gauss_legendre,
    orders,
    polar_parts,
    uniform_angles,
)
from geqlib.nn.constants import Constants
from geqlib.nn.gaunt_signals import Signal


class GridValues(Constants):
    """[..., k] to fields [..., points], one matrix product: O(L^4) for all k.

    Args:
        signal: whose coefficients come in.
        degree: D, the degree that the grid integrates.
        value, slopes: which fields come out: the values, both derivatives.
    """

    def __init__(self, signal: Signal, degree: int, *, value: bool, slopes: bool) -> None:
        fields = sphere_fields(signal, degree, value=value, slopes=slopes)
        super().__init__(matrix=torch.cat(fields, 1))
        self.fields = len(fields)

    def forward(self, x: Tensor) -> list[Tensor]:
        return list((x @ self.table("matrix", x)).chunk(self.fields, -1))


class GridCoefficients(Constants):
    """Field [..., points] to [..., k] by quadrature."""

    def __init__(self, signal: Signal, degree: int) -> None:
        (values,) = sphere_fields(signal, degree, value=True, slopes=False)
        super().__init__(matrix=(values * quadrature_weights(degree)).T)

    def forward(self, field: Tensor, lead: Size) -> Tensor:
        return field @ self.table("matrix", field)


class SeparableValues(Constants):
    """[..., k] to fields [azimuths, angles, width], Legendre sums then Fourier sums: O(L^3).

    The leading dimensions are joined and go last, so that no product needs a copy. Arguments are
    those of `GridValues`.
    """

    place: Tensor

    def __init__(self, signal: Signal, degree: int, *, value: bool, slopes: bool) -> None:
        parts, turn, turned = _separated(signal, degree)
        polar = ([parts[0]] if value else []) + ([parts[1], parts[2]] if slopes else [])
        azimuthal = ([turn] if value else []) + ([turn, turned] if slopes else [])
        place, mask = order_major(signal)
        super().__init__(
            place=place, mask=mask, polar=torch.stack(polar), azimuthal=torch.stack(azimuthal)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        rows = by_order(x, self.place, self.table("mask", x))
        polar, azimuthal = self.table("polar", x), self.table("azimuthal", x)
        return [
            (f @ torch.bmm(p, rows).flatten(1)).unflatten(1, (p.size(1), rows.size(2)))
            for p, f in zip(polar, azimuthal, strict=True)
        ]


class SeparableCoefficients(Constants):
    """Field [azimuths, angles, width] to [..., k]: Fourier sums, then Legendre sums."""

    place: Tensor

    def __init__(self, signal: Signal, degree: int) -> None:
        parts, turn, _ = _separated(signal, degree)
        weight = _angle_weights(degree)
        super().__init__(
            azimuthal=turn.T, polar=(parts[0] * weight[:, None]).mT, place=_inverse(signal)
        )

    def forward(self, field: Tensor, lead: Size) -> Tensor:
        azimuthal, polar = self.table("azimuthal", field), self.table("polar", field)
        rows = (azimuthal @ field.flatten(1)).unflatten(1, field.shape[1:])
        z = torch.bmm(polar, rows).flatten(0, 1).index_select(0, self.place)
        return z.T.reshape(*lead, len(self.place))


def sphere_fields(signal: Signal, degree: int, *, value: bool, slopes: bool) -> list[Tensor]:
    """Y, dY/dt and (dY/dp) / sin t on the hemisphere, each [k, points]."""
    top = signal.degrees[-1]
    angle = gauss_legendre(degree)[0]
    parts = polar_parts(top, angle[: len(angle) // 2])
    turn, turned = azimuthal_parts(top, uniform_angles(degree))
    ell, m = torch.tensor(orders(top))[signal.index].T
    polar = [part[m.abs(), ell] for part in parts]
    pairs = [(polar[0], turn)] if value else []
    pairs += [(polar[1], turn), (polar[2], turned)] if slopes else []
    return [(p[:, :, None] * t[m + top][:, None]).flatten(1) for p, t in pairs]


def quadrature_weights(degree: int) -> Tensor:
    """[points], of integrands that are even under the antipode."""
    return _angle_weights(degree).repeat_interleave(degree + 1)


def order_major(signal: Signal) -> tuple[Tensor, Tensor]:
    """Place in the signal of (m, l), [orders, degrees] flat, and whether there is one."""
    where = {int(i): n for n, i in enumerate(signal.index)}
    top = signal.degrees[-1]
    flat = [
        where.get(ell * ell + ell + m, -1) if abs(m) <= ell else -1
        for m in range(-top, top + 1)
        for ell in signal.degrees
    ]
    place = torch.tensor(flat)
    return place.clamp(min=0), (place >= 0).double().view(2 * top + 1, -1, 1)


def by_order(x: Tensor, place: Tensor, mask: Tensor) -> Tensor:
    """[..., k] to [orders, degrees, width]."""
    rows = x.reshape(-1, x.size(-1)).T.index_select(0, place)
    return rows.view(mask.size(0), mask.size(1), rows.size(1)) * mask


def _inverse(signal: Signal) -> Tensor:
    """Place in [orders, degrees] of each coefficient."""
    place, mask = order_major(signal)
    kept = mask.flatten().nonzero().flatten()
    return kept[torch.argsort(place[kept])]


def _angle_weights(degree: int) -> Tensor:
    weight = gauss_legendre(degree)[1]
    return weight[: len(weight) // 2] * (4 * torch.pi / (degree + 1))


def _separated(signal: Signal, degree: int) -> tuple[list[Tensor], Tensor, Tensor]:
    """Polar parts [orders, angles, degrees] and azimuthal ones [azimuths, orders]."""
    top = signal.degrees[-1]
    angle = gauss_legendre(degree)[0]
    parts = polar_parts(top, angle[: len(angle) // 2])
    m = torch.arange(-top, top + 1).abs()
    turn, turned = azimuthal_parts(top, uniform_angles(degree))
    polar = [part[m][:, list(signal.degrees)].mT for part in parts]
    return polar, turn.T, turned.T
