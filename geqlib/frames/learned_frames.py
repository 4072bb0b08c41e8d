"""A frame that a small network chooses."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call

from geqlib.frames.degenerate import gram_schmidt
from geqlib.frames.point_frames import Frames, joined, point_frames, right_handed
from geqlib.frames.vectors import Geometry

CLEAR = 0.01


class LearnedFrame(nn.Module):
    """One learnt frame of each sample, equivariant under O(d) or SO(d).

    Symmetry: the frame turns with the vectors, exactly, and relabelling leaves it as it is.

    Source: Kaba et al., "Equivariance with learned canonicalization functions" (ICML 2023, arXiv
    2211.06489). With u_i a sample's vectors in units of their root mean square, and C = mean of
    u_i u_i^T,

        w_k = mean over i of  a_k(|u_i|^2, u_i.C u_i, u_i.C^2 u_i) u_i

    for learnt functions a_k, orthogonalised one after the other. Rotations need d - 1 of them.
    Where one of them nearly vanishes or lies in the span of those before, as on every set that is
    symmetric enough, the sample has its full frame instead.

    Args:
        dim: d.
        proper: rotations only.
        channels: hidden width of a.
    """

    def __init__(self, dim: int, *, proper: bool, channels: int = 32) -> None:
        super().__init__()
        self.dim, self.proper, self.channels = dim, proper, channels
        self.choose = nn.Sequential(
            nn.Linear(3, channels), nn.SiLU(), nn.Linear(channels, dim - proper)
        )

    def reset_parameters(self) -> None:
        for layer in (self.choose[0], self.choose[2]):
            layer.reset_parameters()  # type: ignore[operator]

    def forward(self, geometry: Geometry, *, degree: int = 1) -> Frames:
        """Frames of a batch, as `geqlib.frames.point_frames.point_frames` returns them.

        Raises:
            ValueError: NaN.
        """
        geometry.check_finite()
        axes, clear = self.axes(geometry)
        sample = torch.arange(geometry.count, device=axes.device)
        learned = Frames(axes[clear], sample[clear], axes.new_ones(int(clear.sum())))
        if bool(clear.all()):
            return learned
        full = point_frames(geometry, proper=self.proper, degree=degree)
        rest = ~clear[full.sample]
        return joined(learned, Frames(full.matrix[rest], full.sample[rest], full.weight[rest]))

    def axes(self, geometry: Geometry) -> tuple[Tensor, Tensor]:
        """Learnt axes [B, d, d] in columns, and where [B] they are clear."""
        vectors, sample = geometry.vectors, geometry.sample
        zeros = vectors.new_zeros(geometry.count, self.dim, self.dim)
        number = torch.bincount(sample, minlength=geometry.count).clamp(min=1).to(vectors)
        square = zeros[:, 0, 0].index_add(0, sample, vectors.square().sum(1)) / number
        scale = torch.where(square > 0, square, 1.0).sqrt()
        unit = vectors / scale[sample, None]
        outer = unit[:, :, None] * unit[:, None]
        covariance = zeros.index_add(0, sample, outer) / number[:, None, None]
        terms = self._weights(unit, covariance[sample])[:, :, None] * unit[:, None]
        total = zeros[:, : terms.size(1)].index_add(0, sample, terms)
        size = terms.detach().norm(dim=-1)  # what the sum would be if nothing cancelled
        largest = zeros[:, 0, : terms.size(1)].index_add(0, sample, size)
        least = geometry.rounding.shortest().clamp(min=CLEAR)[:, None]
        return _orthogonal(total, torch.where(largest > 0, least * largest, 0.0), self.proper)

    def _weights(self, unit: Tensor, covariance: Tensor) -> Tensor:
        """a_k of each vector."""
        image = torch.einsum("nij,nj->ni", covariance, unit)
        h = torch.stack(
            [(a * b).sum(1) for a, b in ((unit, unit), (unit, image), (image, image))], 1
        )
        # in float64 whatever the weights: rounded to float32, equal invariants of a rotated set
        # would now and then differ by one unit in the last place, and with them the frames
        with torch.autocast(unit.device.type, enabled=False):
            for layer in self.choose:
                weights = {name: p.to(h.dtype) for name, p in layer.named_parameters()}
                h = functional_call(layer, weights, (h,))
        return h

    def __repr__(self) -> str:
        name = type(self).__name__
        return f"{name}({self.dim}, proper={self.proper}, channels={self.channels})"


def _orthogonal(vectors: Tensor, least: Tensor, proper: bool) -> tuple[Tensor, Tensor]:
    """Orthonormal bases from d, or d - 1, vectors [B, k, d], and whether these are independent."""
    d = vectors.size(-1)
    # `no_grad` would leave forward-mode derivatives
    q, r = torch.linalg.qr(vectors.detach().mT, mode="complete")
    clear = (r.diagonal(dim1=1, dim2=2).abs() > least).all(1)
    if proper:
        vectors = torch.cat([vectors, q[:, :, -1:].mT], 1)
    usable = torch.where(clear[:, None, None], vectors, torch.eye(d).to(vectors))
    axes = gram_schmidt(usable)
    return (right_handed(axes) if proper else axes), clear
