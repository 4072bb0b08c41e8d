"""A frame that a small network chooses."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call

from geqlib.frames.degenerate import gram_schmidt
from geqlib.frames.point_frames import Frames, joined, point_frames
from geqlib.frames.vectors import Vectors

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

    Example:
        >>> from geqlib.frames.vectors import vectors_of
        >>> vectors = vectors_of(torch.randn(5, 3), torch.tensor([0, 0, 0, 0, 0]), 1)
        >>> len(LearnedFrame(3, proper=True)(vectors).weight) in (1, 4)
        True
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

    def forward(self, vectors: Vectors, *, degree: int = 1) -> Frames:
        """Frames of a batch, as `geqlib.frames.point_frames.point_frames` gives them.

        Raises:
            ValueError: NaN.
        """
        vectors.check_finite()
        axes, clear = self.axes(vectors)
        sample = torch.arange(vectors.count, device=axes.device)
        found = Frames(axes[clear], sample[clear], axes.new_ones(int(clear.sum())))
        if bool(clear.all()):
            return found
        full = point_frames(vectors, proper=self.proper, degree=degree)
        rest = ~clear[full.sample]
        return joined(found, Frames(full.matrix[rest], full.sample[rest], full.weight[rest]))

    def axes(self, vectors: Vectors) -> tuple[Tensor, Tensor]:
        """Learnt axes [B, d, d] in columns, and where [B] they are clear."""
        rows, sample = vectors.rows, vectors.sample
        number = torch.bincount(sample, minlength=vectors.count).clamp(min=1).to(rows)
        mean = rows.new_zeros(vectors.count)
        square = mean.index_add(0, sample, rows.square().sum(1)) / number
        scale = torch.where(square > 0, square, 1.0).sqrt()
        unit = rows / scale[sample, None]
        outer = unit[:, :, None] * unit[:, None]
        spread = rows.new_zeros(vectors.count, *outer.shape[1:])
        spread = spread.index_add(0, sample, outer) / number[:, None, None]
        weight = self._weights(unit, spread[sample])
        pulled = weight[:, :, None] * unit[:, None]
        total = rows.new_zeros(vectors.count, *pulled.shape[1:]).index_add(0, sample, pulled)
        size = pulled.detach().norm(dim=-1)  # what the sum would be if nothing cancelled
        reach = size.new_zeros(total.shape[:2]).index_add(0, sample, size)
        return _orthogonal(total, CLEAR * reach, self.proper)

    def _weights(self, unit: Tensor, spread: Tensor) -> Tensor:
        once = torch.einsum("nij,nj->ni", spread, unit)
        seen = torch.stack([(unit * x).sum(1) for x in (unit, once)], 1)
        seen = torch.cat([seen, once.square().sum(1, keepdim=True)], 1)
        # in float64 whatever the weights: rounded to float32, equal invariants of a turned set would
        # now and then differ by one unit in the last place, and with them the frames
        with torch.autocast(unit.device.type, enabled=False):
            for layer in self.choose:
                weights = {k: p.to(seen.dtype) for k, p in layer.named_parameters()}
                seen = functional_call(layer, weights, (seen,))
        return seen

    def __repr__(self) -> str:
        name = type(self).__name__
        return f"{name}({self.dim}, proper={self.proper}, channels={self.channels})"


def _orthogonal(rows: Tensor, least: Tensor, proper: bool) -> tuple[Tensor, Tensor]:
    """An orthonormal basis from d, or d - 1, vectors in rows, and whether each adds enough."""
    d = rows.size(-1)
    with torch.no_grad():
        q, r = torch.linalg.qr(rows.mT, mode="complete")
        length = r.diagonal(dim1=1, dim2=2).abs()
        clear = (length > least).all(1)
        last = q[:, :, -1:]
    if proper:
        rows = torch.cat([rows, last.mT], 1)
    usable = torch.where(clear[:, None, None], rows, torch.eye(d).to(rows))
    axes = gram_schmidt(usable)
    if not proper:
        return axes, clear
    sign = torch.linalg.det(axes.detach()).sign()
    return torch.cat([axes[..., :-1], axes[..., -1:] * sign[:, None, None]], -1), clear
