"""The published pipeline for Gaunt products, written directly.

Source: Luo, Chen, Krishnapriyan (ICLR 2024, arXiv 2401.10216) and the code beside it, whose layout
this keeps: dense complex tables (l, m, u, +-v), products that are broadcast and summed, and complex
fast Fourier transforms. Tables are exact here, where the published file loses digits with degree.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from geqlib.gaunt.fourier import polar_projection, polar_series


class DirectGaunt(nn.Module):
    """[B, (L + 1)^2] twice to [B, (L + 1)^2]."""

    def __init__(self, degree: int) -> None:
        super().__init__()
        self.degree = degree
        forward = _dense(polar_series(degree).value, degree)
        forward[:, degree] /= 2  # m = 0 is written to +v and -v
        self.register_buffer("forward_table", forward.to(torch.complex64))
        backward = _dense(polar_projection(degree, 2 * degree), degree) * (2 * torch.pi)
        backward[:, degree] /= 2
        self.register_buffer("backward_table", backward.to(torch.complex64))
        index = [(ell, m + degree) for ell in range(degree + 1) for m in range(-ell, ell + 1)]
        self.register_buffer("place", torch.tensor(index).T)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        n = 4 * self.degree + 1
        spectra = [torch.fft.fft2(self._spectrum(v), s=(n, n)) for v in (x, y)]
        product = torch.fft.ifft2(spectra[0] * spectra[1])
        return self._coefficients(product)

    def _spectrum(self, x: Tensor) -> Tensor:
        """[B, u, v]"""
        d = self.degree
        padded = x.new_zeros(len(x), d + 1, 2 * d + 1)
        padded[:, self.place[0], self.place[1]] = x
        both = (padded[..., None, None] * self.get_buffer("forward_table")).sum(1)
        return both[..., 0].transpose(1, 2) + both[..., 1].flip(1).transpose(1, 2)

    def _coefficients(self, spectrum: Tensor) -> Tensor:
        d = self.degree
        inner = spectrum[:, :, d : 3 * d + 1].transpose(1, 2)  # [B, v, u]
        both = torch.stack([inner, inner.flip(1)], -1)
        z = (both[:, None] * self.get_buffer("backward_table")).sum(3).sum(-1).real
        return z[:, self.place[0], self.place[1]]


def _dense(polar: Tensor, degree: int) -> Tensor:
    """Complex [l, m, u, 2]: the coefficients at v = m and at v = -m.

    T_m is (e^(imp) + e^(-imp)) / 2 for m >= 0 and (e^(-imp) - e^(imp)) i / 2 with |m| below.
    """
    table = torch.zeros(degree + 1, 2 * degree + 1, polar.size(-1), 2, dtype=polar.dtype)
    for m in range(-degree, degree + 1):
        part = polar[abs(m)] / 2
        table[:, m + degree, :, 0] = part * (1j if m < 0 else 1)
        table[:, m + degree, :, 1] = part * (-1j if m < 0 else 1)
    table[:, degree] *= 2
    return table
