"""Message passing of torch_geometric in the frame of `MonoidGNN`, for molecules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch_geometric.nn import GINEConv, PNAConv, global_add_pool, global_mean_pool

from geqlib.nn import CategoryEmbedding

POOLS = {"mean": global_mean_pool, "sum": global_add_pool}


class MoleculeGNN(nn.Module):
    """Embeddings, residual layers with BatchNorm, and a readout of three layers.

    Args:
        conv: "pna", torch_geometric's PNAConv with four aggregators and three scalers, in two
            towers that divide the channels; or "gin", its GINEConv.
        in_channels, edge_dim: number of values of each integer column of x and of edge_attr.
        degrees: how many training atoms have 0, 1, 2, ... neighbours; for "pna".
        channels: C.
        hidden: width inside a layer of "gin".
        layers: how many.
        readout: "mean" or "sum".
    """

    def __init__(
        self,
        conv: Literal["pna", "gin"],
        in_channels: Sequence[int],
        edge_dim: Sequence[int],
        *,
        degrees: Sequence[int] = (),
        channels: int = 64,
        hidden: int = 320,
        layers: int = 4,
        readout: Literal["mean", "sum"] = "mean",
    ) -> None:
        super().__init__()
        self.encode = CategoryEmbedding(in_channels, channels)
        self.encode_edges = CategoryEmbedding(edge_dim, channels)
        convs = [
            _pna(channels, degrees) if conv == "pna" else _gin(channels, hidden)
            for _ in range(layers)
        ]
        self.convs = nn.ModuleList(convs)
        self.norms = nn.ModuleList([nn.BatchNorm1d(channels) for _ in range(layers)])
        self.pool = POOLS[readout]
        self.head = nn.Sequential(
            nn.Linear(channels, channels),
            nn.LeakyReLU(),
            nn.Linear(channels, channels),
            nn.LeakyReLU(),
            nn.Linear(channels, 1),
        )

    def forward(
        self, x: Tensor, edge_index: Tensor, edge_attr: Tensor, batch: Tensor, num_graphs: int
    ) -> Tensor:
        x, edges = self.encode(x), self.encode_edges(edge_attr)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = x + norm(conv(x, edge_index, edges)).relu()
        return self.head(self.pool(x, batch, num_graphs))


def _pna(channels: int, degrees: Sequence[int]) -> nn.Module:
    return PNAConv(
        channels,
        channels,
        ["mean", "max", "min", "std"],
        ["identity", "amplification", "attenuation"],
        torch.tensor(degrees),
        edge_dim=channels,
        towers=2,
        divide_input=True,
    )


def _gin(channels: int, hidden: int) -> nn.Module:
    inside = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels))
    return GINEConv(inside, train_eps=True, edge_dim=channels)
