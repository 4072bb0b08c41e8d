"""A plain PointNet: what a user without equivariance would try first."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch_geometric.nn import MLP
from torch_geometric.nn.aggr import MaxAggregation


class PointNet(nn.Module):
    """Qi et al. (CVPR 2017) without the spatial transformers: max over points of an MLP.

    Args:
        in_scalars: features of a point beside its position.
        classes: outputs.
        dim: of space.
        channels: width.
    """

    def __init__(self, in_scalars: int, classes: int, dim: int = 2, channels: int = 128) -> None:
        super().__init__()
        self.points = MLP([dim + in_scalars, channels, channels, channels])
        self.pool = MaxAggregation()
        self.head = MLP([channels, channels, classes], dropout=0.3)

    def forward(self, pos: Tensor, x: Tensor, batch: Tensor, num_graphs: int) -> Tensor:
        h = self.points(torch.cat([pos, x], -1))
        return self.head(self.pool(h, batch, dim_size=num_graphs))
