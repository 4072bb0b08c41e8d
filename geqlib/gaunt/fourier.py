"""Gaunt products in the two-dimensional Fourier basis, by real fast Fourier transforms.

Source: Luo, Chen, Krishnapriyan (ICLR 2024, arXiv 2401.10216), section 3.2. Three changes: products
are real, so only half of the spectrum is kept; the basis changes use that an order m meets v = +-m
only; and tables are exact to rounding for every degree.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from geqlib.gaunt.form import Fields
from geqlib.gaunt.grid import order_major
from geqlib.gaunt.layout import Signal
from geqlib.gaunt.scratch import New, fresh
from geqlib.gaunt.torus import polar_projection, polar_series


class FourierFields(Fields):
    """Columns [k, width] to fields [polar, azimuth, width] on the torus.

    The spectrum S_uv of a field is linear in the coefficients, and an inverse FFT makes the field
    of it. The factor that is integrated over the sphere has another spectrum: that of the measure
    sin t times the harmonics, on [0, pi] alone.

    Args:
        signal: whose coefficients come in.
        size: polar and azimuthal points, at least the number of frequencies of the product.
        bandwidth: of the product, if this is the factor with the measure, else None.
        value, slopes: which fields come out: the values, both derivatives.
    """

    place: Tensor
    inverse: Tensor

    def __init__(
        self,
        signal: Signal,
        size: tuple[int, int],
        *,
        value: bool,
        slopes: bool,
        bandwidth: int | None = None,
    ) -> None:
        top = signal.degrees[-1]
        if bandwidth is None:
            series = polar_series(top)
        else:
            projection = polar_projection(top, bandwidth).conj() * (2 * torch.pi)
            series = [projection / (size[0] * size[1])]
        kept = [0] * value + [1, 2] * slopes
        tables = torch.stack([series[n][:, list(signal.degrees)].mT for n in kept])
        self.top, self.high = top, (tables.size(2) - 1) // 2
        # cos is half of exp(i v p) and half of exp(-i v p), which real transforms imply
        tables[:, 1:] /= 2
        place, mask = order_major(signal)
        inverse = mask.flatten().nonzero().flatten()
        super().__init__(
            place=place,
            inverse=inverse[torch.argsort(place[inverse])],
            mask=mask,
            real=tables.real,
            imag=tables.imag,
        )
        self.size, self.turned = size, [n == 2 for n in kept]
        self.count, self.points = len(kept), size[0] * size[1]

    def tables(self, like: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.table(name, like) for name in ("real", "imag", "mask"))

    def fields(self, x: Tensor, *tables: Tensor, new: New = fresh) -> list[Tensor]:
        real, imag, mask = tables
        rows = x.index_select(0, self.place).unflatten(0, (mask.size(0), -1)) * mask
        cosines, sines = rows[self.top :], rows[: self.top + 1].flip(0)
        sines = torch.cat([torch.zeros_like(sines[:1]), sines[1:]])
        fields = []
        for re, im, turned in zip(real, imag, self.turned, strict=True):
            # d/dp takes cos to -sin and sin to cos
            c, s = (sines, -cosines) if turned else (cosines, sines)
            # (re + i im)(c - i s), [v, u, width]
            spectrum = torch.complex(
                torch.bmm(re, c) + torch.bmm(im, s), torch.bmm(im, c) - torch.bmm(re, s)
            )
            fields.append(self._inverse_transform(spectrum))
        return fields

    def adjoint(self, fields: Sequence[Tensor | None], *tables: Tensor, new: New = fresh) -> Tensor:
        real, imag, _ = tables
        cosines: Tensor | None = None
        sines: Tensor | None = None
        for re, im, turned, field in zip(real, imag, self.turned, fields, strict=True):
            if field is None:
                continue
            a, b = self._transform(field)
            c = torch.bmm(re.mT, a) + torch.bmm(im.mT, b)
            s = torch.bmm(im.mT, a) - torch.bmm(re.mT, b)
            c, s = (-s, c) if turned else (c, s)
            cosines = c if cosines is None else cosines + c
            sines = s if sines is None else sines + s
        rows = torch.cat([torch.as_tensor(sines)[1:].flip(0), torch.as_tensor(cosines)])
        return rows.flatten(0, 1).index_select(0, self.inverse)

    def _inverse_transform(self, spectrum: Tensor) -> Tensor:
        low, high = spectrum[:, self.high :], spectrum[:, : self.high]
        gap = low.new_zeros(low.size(0), self.size[0] - 2 * self.high - 1, low.size(2))
        padded = torch.cat([low, gap, high], 1).transpose(0, 1)
        if padded.size(2) == 0:  # no FFT library takes an empty batch
            return padded.real.sum().expand(*self.size, 0)
        return torch.fft.irfft2(padded, s=self.size, dim=(0, 1), norm="forward")

    def _transform(self, field: Tensor) -> tuple[Tensor, Tensor]:
        """The adjoint of the inverse transform, by real and imaginary part: [v, u, width]."""
        if field.size(2) == 0:
            empty = field.sum().expand(self.top + 1, 2 * self.high + 1, 0)
            return empty, empty
        spectrum = torch.fft.rfft2(field, dim=(0, 1), norm="backward")[:, : self.top + 1]
        high = spectrum[self.size[0] - self.high :]
        spectrum = torch.cat([high, spectrum[: self.high + 1]]).transpose(0, 1)
        doubled = torch.ones_like(spectrum.real[:, :1, :1])
        doubled[1:] = 2  # of v, and of -v which is not stored
        return spectrum.real * doubled, spectrum.imag * doubled
