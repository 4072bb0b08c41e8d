"""Fast transforms of a Gaunt product: Legendre times Fourier sums, and Fourier series on a torus.

Source of the second: Luo, Chen, Krishnapriyan (ICLR 2024, arXiv 2401.10216), section 3.2.
Continued to polar angles in [0, 2 pi), P_lm is a trigonometric polynomial of degree l, so that

    Y_lm = sum over |u| <= l and v = +-m of y_uv exp(i (u t + v p))

exactly. Three changes to the paper: products are real, so that half of the spectrum is enough; the
basis changes use that an order m meets v = +-m only; and tables are exact for every degree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import pi

import numpy as np
import torch
from e3nn import o3
from torch import Tensor

from geqlib.gaunt.layout import Signal
from geqlib.gaunt.transforms import Fields, Transform
from geqlib.sphere.harmonics import (
    PolarParts,
    azimuthal_parts,
    gauss_legendre,
    polar_parts,
    uniform_angles,
)


class OrderMajor(Transform):
    """Transforms in which sums over degrees, for each order m, come before those over orders."""

    def __init__(
        self, irreps: o3.Irreps, parts: Sequence[Signal], fields: Fields, **tables: Tensor
    ) -> None:
        for n, part in enumerate(parts):
            number, inverse = _by_order(part)
            tables |= {f"number{n}": number, f"inverse{n}": inverse}
        super().__init__(irreps, parts, fields, **tables)
        self.tops = [part.degrees[-1] for part in parts]

    def by_order(self, signal: int, x: Tensor) -> Tensor:
        """Coefficients [k, width] as [orders, degrees, width]; arbitrary where l < |m|."""
        orders = 2 * self.tops[signal] + 1
        entries = x.index_select(0, self.get_buffer(f"number{signal}"))
        return entries.view(orders, entries.size(0) // orders, entries.size(1))

    def by_number(self, signal: int, x: Tensor) -> Tensor:
        """The adjoint of `by_order`."""
        entries = x.reshape(x.size(0) * x.size(1), x.size(2))
        return entries.index_select(0, self.get_buffer(f"inverse{signal}"))


def _by_order(signal: Signal) -> tuple[Tensor, Tensor]:
    """The coefficient at each (m, l), 0 where l < |m|, and the inverse."""
    number = {int(i): n for n, i in enumerate(signal.index)}
    top = signal.degrees[-1]
    flat = torch.tensor(
        [
            number[ell * ell + ell + m] if abs(m) <= ell else -1
            for m in range(-top, top + 1)
            for ell in signal.degrees
        ]
    )
    present = (flat >= 0).nonzero().flatten()
    return flat.clamp(min=0), present[torch.argsort(flat[present])]


class SeparableTransform(OrderMajor):
    """Values at polar angles times azimuths, by Legendre then Fourier sums: O(L^3).

    Arguments are those of `geqlib.gaunt.transforms.GridTransform`; signals are even or odd, so that
    floor(D / 4) + 1 polar angles of one hemisphere are enough.
    """

    def __init__(
        self,
        irreps: o3.Irreps,
        parts: Sequence[Signal],
        fields: Fields,
        *,
        degree: int,
        weighted: bool,
    ) -> None:
        angle, weight = gauss_legendre(degree)
        half = len(angle) // 2
        angle, weight = angle[:half], weight[:half] * (4 * pi / (degree + 1))
        tables = {}
        for n, part in enumerate(parts):
            top = part.degrees[-1]
            polar = polar_parts(top, angle)._asdict()
            cosine, sine = azimuthal_parts(top, uniform_angles(degree))
            m = torch.arange(-top, top + 1).abs()
            for name in fields:
                # there is no P_lm with l < |m|: zeros in this table stand for a mask
                table = polar[name][m][:, list(part.degrees)].mT
                tables[f"polar_{name}{n}"] = table * weight[:, None] if weighted else table
                tables[f"azimuth_{name}{n}"] = sine.T if name == "azimuthal" else cosine.T
        super().__init__(irreps, parts, fields, **tables)
        self.points = half * (degree + 1)

    def evaluate(self, signal: int, x: Tensor) -> Sequence[Tensor]:
        orders = self.by_order(signal, x)
        return [self._evaluate(f"{name}{signal}", orders) for name in self.fields]

    def _evaluate(self, name: str, orders: Tensor) -> Tensor:
        polar, azimuth = self.table(f"polar_{name}", orders), self.table(f"azimuth_{name}", orders)
        rows = torch.bmm(polar, orders)
        return azimuth @ rows.view(rows.size(0), rows.size(1) * rows.size(2))

    def integrate(self, signal: int, fields: Mapping[str, Tensor]) -> Tensor:
        terms = [self._integrate(f"{name}{signal}", field) for name, field in fields.items()]
        return self.by_number(signal, torch.stack(terms).sum(0) if len(terms) > 1 else terms[0])

    def _integrate(self, name: str, field: Tensor) -> Tensor:
        polar, azimuth = self.table(f"polar_{name}", field), self.table(f"azimuth_{name}", field)
        orders, points = azimuth.size(1), polar.size(1)
        rows = (azimuth.T @ field).view(orders, points, field.size(1) // points)
        return torch.bmm(polar.mT, rows)


class FourierTransform(OrderMajor):
    """Values on the torus, by real fast Fourier transforms.

    The spectrum y_uv of a function is linear in its coefficients, and an inverse FFT makes the
    values of it. The factor that is integrated over the sphere has another spectrum: that of the
    measure sin t times the harmonics, on [0, pi] alone.

    Args:
        irreps, parts, fields: see `Transform`.
        size: number of polar and of azimuthal points, at least that of the product's frequencies.
        bandwidth: of the product, for the factor with the measure, else None.
    """

    def __init__(
        self,
        irreps: o3.Irreps,
        parts: Sequence[Signal],
        fields: Fields,
        *,
        size: tuple[int, int],
        bandwidth: int | None = None,
    ) -> None:
        tables = {}
        for n, part in enumerate(parts):
            top = part.degrees[-1]
            if bandwidth is None:
                series = polar_series(top)._asdict()
            else:
                projection = polar_projection(top, bandwidth).conj() * (2 * pi)
                series = {"value": projection / (size[0] * size[1])}
            for name in fields:
                table = series[name][:, list(part.degrees)].mT.clone()
                # cos is half of exp(i v p) and half of exp(-i v p), which real transforms imply
                table[1:] /= 2
                tables |= {f"real_{name}{n}": table.real, f"imag_{name}{n}": table.imag}
        super().__init__(irreps, parts, fields, **tables)
        self.size, self.points = size, size[0] * size[1]

    def evaluate(self, signal: int, x: Tensor) -> Sequence[Tensor]:
        top, orders = self.tops[signal], self.by_order(signal, x)
        cosines, sines = orders[top:], orders[: top + 1].flip(0)
        sines = torch.cat([torch.zeros_like(sines[:1]), sines[1:]])
        fields = []
        for name in self.fields:
            # d/dp takes cos to -sin and sin to cos
            c, s = (sines, -cosines) if name == "azimuthal" else (cosines, sines)
            real, imag = self._series(f"{name}{signal}", x)
            # (real + i imag)(c - i s), [v, u, width]
            spectrum = torch.complex(
                torch.bmm(real, c) + torch.bmm(imag, s), torch.bmm(imag, c) - torch.bmm(real, s)
            )
            fields.append(self._inverse_fft(spectrum))
        return fields

    def integrate(self, signal: int, fields: Mapping[str, Tensor]) -> Tensor:
        cosines, sines = [], []
        for name, field in fields.items():
            real, imag = self._series(f"{name}{signal}", field)
            a, b = self._fft(field, self.tops[signal], real.size(1) // 2)
            c = torch.bmm(real.mT, a) + torch.bmm(imag.mT, b)
            s = torch.bmm(imag.mT, a) - torch.bmm(real.mT, b)
            c, s = (-s, c) if name == "azimuthal" else (c, s)
            cosines.append(c)
            sines.append(s)
        c, s = torch.stack(cosines).sum(0), torch.stack(sines).sum(0)
        return self.by_number(signal, torch.cat([s[1:].flip(0), c]))

    def _series(self, name: str, like: Tensor) -> tuple[Tensor, Tensor]:
        return self.table(f"real_{name}", like), self.table(f"imag_{name}", like)

    def _inverse_fft(self, spectrum: Tensor) -> Tensor:
        high = spectrum.size(1) // 2
        after, before = spectrum[:, high:], spectrum[:, :high]
        gap = after.new_zeros(len(after), self.size[0] - 2 * high - 1, after.size(2))
        padded = torch.cat([after, gap, before], 1).transpose(0, 1)
        if padded.size(2) == 0:  # no FFT library takes an empty batch
            return padded.real.sum().expand(*self.size, 0)
        return torch.fft.irfft2(padded, s=self.size, dim=(0, 1), norm="forward")

    def _fft(self, field: Tensor, top: int, high: int) -> tuple[Tensor, Tensor]:
        """The adjoint of the inverse transform, by real and imaginary part: [v, u, width]."""
        if field.size(2) == 0:
            empty = field.sum().expand(top + 1, 2 * high + 1, 0)
            return empty, empty
        spectrum = torch.fft.rfft2(field, dim=(0, 1), norm="backward")[:, : top + 1]
        spectrum = torch.cat([spectrum[self.size[0] - high :], spectrum[: high + 1]])
        doubled = torch.full_like(spectrum.real[0, :, :1], 2.0)  # of v, and of -v, not stored
        doubled[:1] = 1
        spectrum = spectrum.transpose(0, 1)
        return spectrum.real * doubled.unsqueeze(1), spectrum.imag * doubled.unsqueeze(1)


def polar_series(degree: int) -> PolarParts:
    """Coefficients of exp(i u t), u = -degree, ..., degree, of the three polar parts.

    Returns:
        Complex [|m|, l, u + degree] each.
    """
    count = 2 * degree + 2
    angle = (torch.arange(count, dtype=torch.float64) + 0.5) * (2 * pi / count)
    u = torch.arange(-degree, degree + 1, dtype=torch.float64)
    wave = torch.exp(-1j * angle[:, None] * u) / count
    value, slope, azimuthal = (part.to(wave.dtype) @ wave for part in polar_parts(degree, angle))
    return PolarParts(value, slope, azimuthal)


def polar_projection(degree: int, bandwidth: int) -> Tensor:
    """Integrals over t in [0, pi] of exp(i u t) P_lm sin t, |u| <= bandwidth.

    By Gauss-Legendre quadrature in t itself, with nodes enough for full precision: the integrands
    are entire functions of exponential type degree + bandwidth + 1.

    Returns:
        Complex [|m|, l, u + bandwidth].
    """
    nodes, weights = np.polynomial.legendre.leggauss(degree + bandwidth + 24)
    angle = torch.from_numpy(nodes + 1) * (pi / 2)
    weight = torch.from_numpy(weights) * (pi / 2) * angle.sin()
    u = torch.arange(-bandwidth, bandwidth + 1, dtype=torch.float64)
    wave = torch.exp(1j * angle[:, None] * u)
    return (polar_parts(degree, angle).value * weight).to(wave.dtype) @ wave
