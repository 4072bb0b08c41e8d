"""Networks for molecules under noise, written directly: EGNN and a transformer.

EGNN: Satorras, Hoogeboom, Welling (ICML 2021, arXiv 2102.09844), equations 3 to 6, as Hoogeboom et
al. (ICML 2022) denoise with it: gated messages, offsets divided by their length plus 1, sums over
all pairs. The transformer is torch's encoder on positions and features of atoms, equivariant to
their order alone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.utils import to_dense_batch


class DenoisingEGNN(nn.Module):
    """Features to features, positions to displacements.

    Symmetry: E(3) exactly.

    Args:
        in_scalars, out_scalars: features of each atom.
        channels: of features and messages.
        layers: rounds of messages.
    """

    out_vectors, level = 1, "node"

    def __init__(
        self, in_scalars: int, out_scalars: int, channels: int = 64, layers: int = 4
    ) -> None:
        super().__init__()
        self.in_scalars, self.out_scalars = in_scalars, out_scalars
        self.embed = nn.Linear(in_scalars, channels)
        self.layers = nn.ModuleList(GatedLayer(channels) for _ in range(layers))
        self.read = nn.Linear(channels, out_scalars)

    def zero_readout(self) -> None:
        layers: Any = self.layers
        for last in (self.read, *(layer.move[-1] for layer in layers)):
            for parameter in last.parameters():
                nn.init.zeros_(parameter)

    def forward(self, pos: Tensor, edge_index: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        h, place = self.embed(x), pos
        source, target = edge_index
        first = (pos[target] - pos[source]).square().sum(1, keepdim=True)
        for layer in self.layers:
            h, place = layer(h, place, source, target, first)
        return self.read(h), (place - pos)[:, None]


class GatedLayer(nn.Module):
    """m_ij = f(h_i, h_j, |x_ij|^2, |x0_ij|^2), x_i + sum x_ij / (|x_ij| + 1) k(m), h_i + u(...)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.message = nn.Sequential(
            *(nn.Linear(2 * channels + 2, channels), nn.SiLU()),
            *(nn.Linear(channels, channels), nn.SiLU()),
        )
        self.gate = nn.Linear(channels, 1)
        self.update = nn.Sequential(
            nn.Linear(2 * channels, channels), nn.SiLU(), nn.Linear(channels, channels)
        )
        self.move = nn.Sequential(
            nn.Linear(channels, channels), nn.SiLU(), nn.Linear(channels, 1, bias=False)
        )

    def forward(
        self, h: Tensor, pos: Tensor, source: Tensor, target: Tensor, first: Tensor
    ) -> tuple[Tensor, Tensor]:
        offset = pos[target] - pos[source]
        squared = offset.square().sum(1, keepdim=True)
        m = self.message(torch.cat([h[target], h[source], squared, first], 1))
        m = m * self.gate(m).sigmoid()
        unit = offset / ((squared + 1e-8).sqrt() + 1)
        pos = pos.index_add(0, target, unit * self.move(m))
        total = torch.zeros_like(h).index_add(0, target, m)
        return h + self.update(torch.cat([h, total], 1)), pos


class DenoisingTransformer(nn.Module):
    """Features and positions to features and displacements, by attention among all atoms.

    Symmetry: the order of atoms. Rotations are learned, from rotated training molecules.

    Args:
        in_scalars, out_scalars: features of each atom.
        channels: width, a multiple of `heads`.
        layers: of the encoder, whose hidden width is 4 channels.
        heads: of attention.
    """

    out_vectors, level = 1, "node"

    def __init__(
        self,
        in_scalars: int,
        out_scalars: int,
        channels: int = 64,
        layers: int = 4,
        heads: int = 4,
    ) -> None:
        super().__init__()
        self.in_scalars, self.out_scalars = in_scalars, out_scalars
        self.embed = nn.Linear(in_scalars + 3, channels)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                channels,
                heads,
                4 * channels,
                dropout=0.0,
                activation="gelu",
                batch_first=True,
                norm_first=True,
            )
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(channels)
        self.read = nn.Linear(channels, out_scalars + 3)

    def zero_readout(self) -> None:
        for parameter in self.read.parameters():
            nn.init.zeros_(parameter)

    def forward(
        self, pos: Tensor, x: Tensor, batch: Tensor, num_graphs: int
    ) -> tuple[Tensor, Tensor]:
        h, real = to_dense_batch(self.embed(torch.cat([x, pos], 1)), batch, batch_size=num_graphs)
        for layer in self.layers:
            h = layer(h, src_key_padding_mask=~real)
        scalars, vectors = self.read(self.norm(h[real])).split([self.out_scalars, 3], 1)
        return scalars, vectors[:, None]
