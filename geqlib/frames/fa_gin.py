"""FA-GIN+ID: message passing with the places of nodes as features, averaged over node orders."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot
from torch_geometric.nn.inits import reset
from torch_geometric.nn.models import GIN

from geqlib.frames.graph_networks import OrderAverage, Orders, places
from geqlib.graph.pool import sum_pool


class PlacedGIN(nn.Module):
    """GIN on features to which each node's place in its graph is added, mean over nodes, linear.

    Symmetry: none, because of the places. Source: Puny et al. (ICLR 2022, arXiv 2110.03336),
    section 4.2; GIN of Xu et al. (ICLR 2019) as in torch_geometric.

    Args:
        in_channels: features of a node.
        out_channels: outputs of a graph.
        max_nodes: of the largest graph.
        channels: width.
        layers: number of convolutions.
        act: activation, by torch_geometric's name.

    Shapes:
        x [N, in_channels], edge_index [2, E], output [num_graphs, out_channels].

    Raises:
        ValueError: a graph of more than `max_nodes` nodes.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        max_nodes: int,
        channels: int = 64,
        layers: int = 3,
        act: Literal["relu", "tanh"] = "relu",
    ) -> None:
        super().__init__()
        self.max_nodes = max_nodes
        self.layers = GIN(in_channels + max_nodes, channels, layers, act=act)
        self.out = nn.Linear(channels, out_channels)

    def reset_parameters(self) -> None:
        for part in (self.layers, self.out):
            reset(part)

    def forward(
        self,
        x: Tensor,
        edge_index: Tensor,
        batch: Tensor | None = None,
        num_graphs: int | None = None,
    ) -> Tensor:
        if batch is None:
            batch, num_graphs = edge_index.new_zeros(x.size(0)), 1
        known = one_hot(places(batch, self.max_nodes), self.max_nodes).to(x.dtype)
        h = self.layers(torch.cat([x, known], 1), edge_index)
        total = sum_pool(h, batch, num_graphs)
        number = torch.bincount(batch, minlength=total.size(0)).clamp(min=1)
        return self.out(total / number[:, None].to(total.dtype))


class FAGIN(OrderAverage):
    """`PlacedGIN` averaged over a frame of node orders.

    Symmetry: as for `geqlib.models.FAMLP`. Source: Puny et al. (ICLR 2022, arXiv 2110.03336),
    sections 3.2 and 4.2: FA-GIN+ID, and GA-GIN+ID with `orders="random"`.

    Args:
        in_channels, out_channels, max_nodes, channels, layers, act: see `PlacedGIN`.
        orders: "canonical", "laplacian" or "random".
        bound: of enumerated Laplacian frames.

    Shapes:
        x [N, in_channels], edge_index [2, E], output [num_graphs, out_channels].

    Example:
        >>> net = FAGIN(1, 2, max_nodes=4)
        >>> edge_index = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
        >>> net(torch.ones(3, 1), edge_index).shape
        torch.Size([1, 2])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        max_nodes: int,
        channels: int = 64,
        layers: int = 3,
        act: Literal["relu", "tanh"] = "relu",
        orders: Orders = "canonical",
        bound: int = 1000,
    ) -> None:
        size = {"max_nodes": max_nodes, "channels": channels, "layers": layers}
        super().__init__(PlacedGIN(in_channels, out_channels, act=act, **size), orders, bound)
