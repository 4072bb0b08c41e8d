"""Convolutions over edges that a user would otherwise write: e3nn's products, and SO(2)."""

from __future__ import annotations

from math import sqrt

import torch
from e3nn import o3
from torch import Tensor, nn

from benchmarks.peers.edge_frames import EdgeFrames


class ProductConvolution(nn.Module):
    """Features at sources times harmonics by an e3nn product, summed at targets.

    Args:
        channels, degree: of features, harmonics and output, natural parity.
        full: `FullyConnectedTensorProduct`, whose learnt matrices all edges share; else a `uvu`
            product with weights of each edge for each path, as in NequIP and MACE.
    """

    def __init__(self, channels: int, degree: int, *, full: bool) -> None:
        super().__init__()
        self.irreps = _natural(channels, degree)
        self.edge = o3.Irreps(str(_natural(1, degree)))
        self.full = full
        if full:
            self.product = o3.FullyConnectedTensorProduct(self.irreps, self.edge, self.irreps)
            return
        paths = [
            (i, j, k)
            for k in range(degree + 1)
            for i in range(degree + 1)
            for j in range(degree + 1)
            if abs(i - j) <= k <= i + j and (i + j + k) % 2 == 0
        ]
        middle = o3.Irreps([(channels, self.irreps[k].ir) for _, _, k in paths])
        steps = [(i, j, n, "uvu", True) for n, (i, j, _) in enumerate(paths)]
        self.product = o3.TensorProduct(
            self.irreps, self.edge, middle, steps, shared_weights=False, internal_weights=False
        )
        self.mix = o3.Linear(middle.simplify(), self.irreps)

    @property
    def weights(self) -> int:
        """Numbers that each edge brings along."""
        return 0 if self.full else self.product.weight_numel

    def forward(self, x: Tensor, direction: Tensor, weight: Tensor, edge_index: Tensor) -> Tensor:
        harmonics = o3.spherical_harmonics(self.edge, direction, False, normalization="component")
        near, weights = x.index_select(0, edge_index[0]), () if self.full else (weight,)
        message = self.product(near, harmonics, *weights)
        z = message.new_zeros(x.size(0), message.size(1)).index_add(0, edge_index[1], message)
        return z if self.full else self.mix(z)


class SO2Convolution(nn.Module):
    """The convolution of eSCN (Passaro, Zitnick, ICML 2023), with weights of each edge.

    Features are turned into the frame of the edge and scaled for each degree and channel; every
    order m has a learnt map over degrees and channels that commutes with turns about the edge; the
    result is turned back.
    """

    def __init__(self, channels: int, degree: int) -> None:
        super().__init__()
        self.channels, self.degree, self.frames = channels, degree, EdgeFrames(degree)
        widths = [(degree + 1 - m) * channels for m in range(degree + 1)]
        self.maps = nn.ModuleList(
            nn.Linear(width, width if m == 0 else 2 * width, bias=False)
            for m, width in enumerate(widths)
        )
        self.irreps = _natural(channels, degree)

    @property
    def weights(self) -> int:
        return (self.degree + 1) * self.channels

    def forward(self, x: Tensor, direction: Tensor, weight: Tensor, edge_index: Tensor) -> Tensor:
        """x [N, irreps.dim] in the layout [N, k, C], which spares a transposition."""
        edges, sizes = edge_index.size(1), [2 * ell + 1 for ell in range(self.degree + 1)]
        near = x.index_select(0, edge_index[0]).view(edges, -1, self.channels)
        turns, scale = self.frames(direction), weight.view(edges, -1, 1, self.channels).unbind(1)
        blocks = [
            torch.bmm(turn, block) * w
            for turn, block, w in zip(turns, near.split(sizes, 1), scale, strict=True)
        ]
        blocks = self._orders(blocks)
        back = [torch.bmm(turn.mT, b) for turn, b in zip(turns, blocks, strict=True)]
        message = torch.cat(back, 1).flatten(1)
        return torch.zeros_like(x).index_add(0, edge_index[1], message)

    def _orders(self, blocks: list[Tensor]) -> list[Tensor]:
        columns: dict[tuple[int, int], Tensor] = {}
        for m, layer in enumerate(self.maps):
            part = blocks[m:]
            plus = torch.cat([b[:, m + n] for n, b in enumerate(part, m)], 1)
            if m == 0:
                parts = {0: layer(plus)}
            else:
                minus = torch.cat([b[:, n - m] for n, b in enumerate(part, m)], 1)
                (a, b), (c, d) = layer(plus).chunk(2, 1), layer(minus).chunk(2, 1)
                parts = {m: (a - d) / sqrt(2), -m: (b + c) / sqrt(2)}
            for order, value in parts.items():
                pieces = value.chunk(self.degree + 1 - m, 1)
                columns |= {(ell, order): piece for ell, piece in enumerate(pieces, m)}
        return [
            torch.stack([columns[ell, m] for m in range(-ell, ell + 1)], 1)
            for ell in range(self.degree + 1)
        ]


def _natural(channels: int, degree: int) -> o3.Irreps:
    return o3.Irreps([(channels, (ell, (-1) ** ell)) for ell in range(degree + 1)])
