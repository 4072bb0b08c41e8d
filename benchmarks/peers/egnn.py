"""EGNN with velocities, written directly.

Source: Satorras, Hoogeboom, Welling, "E(n) equivariant graph neural networks" (ICML 2021, arXiv
2102.09844), equations 3, 4, 6 and 7 and the n-body network of appendix C: four layers of 64
channels, SiLU, residual features, coordinates moved by the mean of weighted differences.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class EGNN(nn.Module):
    """Charged balls to their displacements.

    Symmetry: E(d) exactly. Features begin as speeds, edges as products of charges and distances.

    Args:
        channels: of features and messages.
        layers: rounds of messages.
    """

    def __init__(self, channels: int = 64, layers: int = 4) -> None:
        super().__init__()
        self.embed = nn.Linear(1, channels)
        self.layers = nn.ModuleList(EGNNLayer(channels) for _ in range(layers))

    def forward(self, pos: Tensor, edge_index: Tensor, vec: Tensor, edge_attr: Tensor) -> Tensor:
        """Displacements [N, 1, d] from pos [N, d], velocities vec [N, 1, d], charges' products."""
        velocity = vec[:, 0]
        h, place = self.embed(velocity.norm(dim=1, keepdim=True)), pos
        source, target = edge_index
        length = (pos[target] - pos[source]).square().sum(1, keepdim=True)
        edge_attr = torch.cat([edge_attr, length], 1)
        for layer in self.layers:
            h, place = layer(h, place, velocity, edge_index, edge_attr)
        return (place - pos)[:, None]


class EGNNLayer(nn.Module):
    """m_ij = f(h_i, h_j, |x_ij|^2, a_ij); x_i + v_i g(h_i) + mean_j x_ij k(m_ij); h_i + u(...)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.message = _network(2 * channels + 3, channels, channels, last=nn.SiLU())
        self.update = _network(2 * channels, channels, channels)
        self.move = _network(channels, channels, 1)
        self.drift = _network(channels, channels, 1)
        nn.init.xavier_uniform_(self.move[-1].weight, gain=1e-3)

    def forward(
        self, h: Tensor, pos: Tensor, velocity: Tensor, edge_index: Tensor, edge_attr: Tensor
    ) -> tuple[Tensor, Tensor]:
        source, target = edge_index
        offset = pos[target] - pos[source]
        length = offset.square().sum(1, keepdim=True)
        m = self.message(torch.cat([h[target], h[source], length, edge_attr], 1))
        count = pos.new_zeros(len(pos), 1).index_add(0, target, torch.ones_like(length))
        moved = torch.zeros_like(pos).index_add(0, target, offset * self.move(m))
        total = torch.zeros_like(h).index_add(0, target, m)
        pos = pos + self.drift(h) * velocity + moved / count.clamp(min=1)
        return h + self.update(torch.cat([h, total], 1)), pos


def _network(wide: int, hidden: int, out: int, last: nn.Module | None = None) -> nn.Sequential:
    layers = [nn.Linear(wide, hidden), nn.SiLU(), nn.Linear(hidden, out)]
    return nn.Sequential(*layers, *([] if last is None else [last]))
