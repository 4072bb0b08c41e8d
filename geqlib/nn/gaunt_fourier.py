"""Gaunt products in the two-dimensional Fourier basis, by real fast Fourier transforms.

Source: Luo, Chen, Krishnapriyan (ICLR 2024, arXiv 2401.10216), section 3.2. Three changes: products
are real, so only half of the spectrum is kept; the basis changes use that an order m meets v = +-m
only; and tables are exact to rounding for every degree.
"""

from __future__ import annotations

import torch
from torch import Size, Tensor

from geqlib.geometry.torus import polar_projection, polar_series
from geqlib.nn.constants import Constants
from geqlib.nn.gaunt_grid import by_order, order_major
from geqlib.nn.gaunt_signals import Signal


class FourierValues(Constants):
    """[..., k] to fields [polar, azimuth, width] on the torus: spectrum, then inverse FFT.

    Args:
        signal: whose coefficients come in.
        size: polar and azimuthal points, at least the number of frequencies of the product.
        value, slopes: which fields come out: the values, both derivatives.
    """

    place: Tensor

    def __init__(self, signal: Signal, size: tuple[int, int], *, value: bool, slopes: bool) -> None:
        top = signal.degrees[-1]
        parts = [part[:, list(signal.degrees)].mT for part in polar_series(top)]
        series = (parts[:1] if value else []) + (parts[1:] if slopes else [])
        place, mask = order_major(signal)
        tables = torch.stack(series) / 2
        tables[:, 0] *= 2  # v = 0 stands once in the spectrum, the others at v and -v
        super().__init__(place=place, mask=mask, real=tables.real, imag=tables.imag)
        self.top, self.size, self.turned = top, size, [False] * value + [False, True] * slopes

    def forward(self, x: Tensor) -> list[Tensor]:
        rows = by_order(x, self.place, self.table("mask", x))
        cosines, sines = rows[self.top :], rows[: self.top + 1].flip(0)
        sines = torch.cat([torch.zeros_like(sines[:1]), sines[1:]])
        tables = zip(self.table("real", x), self.table("imag", x), self.turned, strict=True)
        fields = []
        for real, imag, turned in tables:
            # d/dp takes cos to -sin and sin to cos
            c, s = (sines, -cosines) if turned else (cosines, sines)
            fields.append(self._transform(real, imag, c, s))
        return fields

    def _transform(self, real: Tensor, imag: Tensor, c: Tensor, s: Tensor) -> Tensor:
        """Inverse FFT of the spectrum (real + i imag)(c - i s), [v, u, width]."""
        spectrum = torch.complex(
            torch.bmm(real, c) + torch.bmm(imag, s), torch.bmm(imag, c) - torch.bmm(real, s)
        )
        low, high = spectrum[:, self.top :], spectrum[:, : self.top]
        gap = low.new_zeros(low.size(0), self.size[0] - 2 * self.top - 1, low.size(2))
        padded = torch.cat([low, gap, high], 1).transpose(0, 1)
        if padded.size(2) == 0:  # no FFT library takes an empty batch
            return padded.real.sum().expand(*self.size, 0)
        return torch.fft.irfft2(padded, s=self.size, dim=(0, 1), norm="forward")


class FourierCoefficients(Constants):
    """Field [polar, azimuth, width] to [..., k]: FFT, then integrals of the basis functions."""

    place: Tensor

    def __init__(self, signal: Signal, size: tuple[int, int], bandwidth: int) -> None:
        top = signal.degrees[-1]
        table = polar_projection(top, bandwidth)[:, list(signal.degrees)] * (2 * torch.pi)
        table = torch.cat([table[..., bandwidth:], table[..., :bandwidth]], -1)  # u in FFT order
        place, mask = order_major(signal)
        kept = mask.flatten().nonzero().flatten()
        super().__init__(real=table.real, imag=table.imag, place=kept[torch.argsort(place[kept])])
        self.top, self.bandwidth, self.size = top, bandwidth, size

    def forward(self, field: Tensor, lead: Size) -> Tensor:
        if field.size(2) == 0:
            return field.sum().expand(*lead, len(self.place))
        spectrum = torch.fft.rfft2(field, dim=(0, 1), norm="forward")[:, : self.top + 1]
        b = self.bandwidth
        spectrum = torch.cat([spectrum[: b + 1], spectrum[self.size[0] - b :]]).transpose(0, 1)
        re, im = spectrum.real, spectrum.imag
        real, imag = self.table("real", field), self.table("imag", field)
        cosines = torch.bmm(real, re) - torch.bmm(imag, im)
        sines = -torch.bmm(real, im) - torch.bmm(imag, re)
        z = torch.cat([sines[1:].flip(0), cosines]).flatten(0, 1).index_select(0, self.place)
        return z.T.reshape(*lead, z.size(0))
