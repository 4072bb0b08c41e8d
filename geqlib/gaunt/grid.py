"""Gaunt products by quadrature on half a sphere: by one dense matrix a signal, or by separation.

The integrand is even under the antipode, so that one hemisphere holds all of it, and even and odd
degrees are transformed apart. With D = L1 + L2 + L3 about (D + 1)^2 / 6 points of a Lebedev grid
integrate it exactly, or floor(D/4) + 1 polar angles times D + 1 azimuths, where sums over degrees
and over orders separate.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from geqlib.gaunt.form import Fields
from geqlib.gaunt.layout import Signal
from geqlib.gaunt.scratch import New, fresh
from geqlib.sphere.harmonics import (
    azimuthal_parts,
    gauss_legendre,
    orders,
    polar_parts,
    uniform_angles,
)
from geqlib.sphere.quadrature import hemisphere


class GridFields(Fields):
    """Columns [k, width] to fields [points, width], one matrix product: O(L^4) for all k.

    Args:
        signal: whose coefficients come in.
        degree: D, the degree that the grid integrates.
        value, slopes: which fields come out: the values, both derivatives.
        weighted: with the weights of the quadrature, which one of three factors needs.
    """

    def __init__(
        self, signal: Signal, degree: int, *, value: bool, slopes: bool, weighted: bool
    ) -> None:
        fields = torch.cat(sphere_fields(signal, degree, value=value, slopes=slopes), 1)
        self.count = value + 2 * slopes
        self.points = fields.size(1) // self.count
        weights = quadrature_weights(degree).repeat(self.count) if weighted else 1.0
        super().__init__(matrix=(fields * weights).T.contiguous())

    def tables(self, like: Tensor) -> tuple[Tensor, ...]:
        return (self.table("matrix", like),)

    def fields(self, x: Tensor, *tables: Tensor, new: New = fresh) -> list[Tensor]:
        found = torch.mm(tables[0], x, out=new(len(tables[0]), x.size(1)))
        return [found] if self.count == 1 else list(found.split(self.points))

    def adjoint(self, fields: Sequence[Tensor | None], *tables: Tensor, new: New = fresh) -> Tensor:
        matrices = tables[0].T.split(self.points, 1) if self.count > 1 else [tables[0].T]
        total: Tensor | None = None
        for matrix, field in zip(matrices, fields, strict=True):
            if field is None:
                continue
            if total is None:
                total = torch.mm(matrix, field, out=new(len(matrix), field.size(1)))
            else:
                total.addmm_(matrix, field)
        return torch.as_tensor(total)


class SeparableFields(Fields):
    """Columns [k, width] to fields [azimuths, angles, width], Legendre then Fourier sums: O(L^3).

    Arguments are those of `GridFields`.
    """

    place: Tensor
    inverse: Tensor

    def __init__(
        self, signal: Signal, degree: int, *, value: bool, slopes: bool, weighted: bool
    ) -> None:
        top, degrees = signal.degrees[-1], list(signal.degrees)
        angle, weight = gauss_legendre(degree)
        half = len(angle) // 2
        parts = polar_parts(top, angle[:half])
        m = torch.arange(-top, top + 1).abs()
        polar = torch.stack([part[m][:, degrees].mT for part in parts])
        turn, turned = azimuthal_parts(top, uniform_angles(degree))
        if weighted:
            polar = polar * (weight[:half] * (4 * torch.pi / (degree + 1)))[:, None]
        kept = [0] * value + [1, 2] * slopes
        azimuthal = torch.stack([turn.T, turn.T, turned.T])
        place, mask = order_major(signal)
        inverse = mask.flatten().nonzero().flatten()
        inverse = inverse[torch.argsort(place[inverse])]
        # there is no P_lm of l < |m|: its zeros in the table stand for the mask
        super().__init__(place=place, inverse=inverse, polar=polar[kept], azimuthal=azimuthal[kept])
        self.count, self.points = len(kept), half * (degree + 1)

    def tables(self, like: Tensor) -> tuple[Tensor, ...]:
        return self.table("polar", like), self.table("azimuthal", like)

    def fields(self, x: Tensor, *tables: Tensor, new: New = fresh) -> list[Tensor]:
        polar, azimuthal = tables
        rows = torch.index_select(x, 0, self.place, out=new(len(self.place), x.size(1)))
        rows = rows.unflatten(0, (polar.size(1), -1))
        found = []
        for p, f in zip(polar, azimuthal, strict=True):
            angles = torch.bmm(p, rows, out=new(len(p), p.size(1), x.size(1))).flatten(1)
            field = torch.mm(f, angles, out=new(len(f), angles.size(1)))
            found.append(field.unflatten(1, (p.size(1), -1)))
        return found

    def adjoint(self, fields: Sequence[Tensor | None], *tables: Tensor, new: New = fresh) -> Tensor:
        total: Tensor | None = None
        for polar, azimuthal, field in zip(*tables, fields, strict=True):
            if field is None:
                continue
            flat = field.flatten(1)
            rows = torch.mm(azimuthal.T, flat, out=new(azimuthal.size(1), flat.size(1)))
            rows = rows.unflatten(1, field.shape[1:])
            if total is None:
                shape = len(polar), polar.size(2), rows.size(2)
                total = torch.bmm(polar.mT, rows, out=new(*shape))
            else:
                total.baddbmm_(polar.mT, rows)
        flat = torch.as_tensor(total).flatten(0, 1)
        return torch.index_select(flat, 0, self.inverse, out=new(len(self.inverse), flat.size(1)))


def sphere_fields(signal: Signal, degree: int, *, value: bool, slopes: bool) -> list[Tensor]:
    """Y, dY/dt and (dY/dp) / sin t on the hemisphere, each [k, points]."""
    top, points = signal.degrees[-1], hemisphere(degree)
    parts = polar_parts(top, points.polar)
    turn, turned = azimuthal_parts(top, points.azimuth)
    ell, m = torch.tensor(orders(top))[signal.index].T
    polar = [part[m.abs(), ell] for part in parts]
    pairs = [(polar[0], turn)] if value else []
    pairs += [(polar[1], turn), (polar[2], turned)] if slopes else []
    return [p * t[m + top] for p, t in pairs]


def quadrature_weights(degree: int) -> Tensor:
    """[points], of integrands that are even under the antipode."""
    return hemisphere(degree).weight


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
