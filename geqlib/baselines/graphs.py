"""Message-passing networks of torch_geometric as graph classifiers, to compare with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch_geometric.nn.aggr import Aggregation
from torch_geometric.nn.inits import reset
from torch_geometric.nn.models import GIN, PNA
from torch_geometric.nn.resolver import aggregation_resolver

from geqlib.graph.checks import as_index
from geqlib.graph.pool import graph_index


class MessagePassingNet(nn.Module):
    """GIN or PNA: the states of all layers are concatenated, pooled over the nodes and mapped.

    Symmetry: invariant under relabelling of the nodes, exactly. Sources: Xu et al., "How Powerful
    are Graph Neural Networks?" (ICLR 2019); Corso et al., "Principal Neighbourhood Aggregation"
    (NeurIPS 2020); both as in torch_geometric.

    Args:
        in_channels: features per node.
        out_channels: outputs per graph, such as classes.
        conv: "GIN" or "PNA".
        channels: width.
        layers: number of convolutions.
        degrees: for PNA: number of training nodes with 0, 1, 2, ... neighbours.
        readout: from nodes to graphs: "sum", "mean", or any aggregation of torch_geometric.
        dropout: before both layers of the read-out.

    Raises:
        ValueError: options out of range, or `batch` without `num_graphs`.

    Example:
        >>> net = MessagePassingNet(3, 2, channels=8, layers=2)
        >>> edge_index = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
        >>> net(torch.randn(3, 3), edge_index).shape
        torch.Size([1, 2])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        conv: Literal["GIN", "PNA"] = "GIN",
        channels: int = 32,
        layers: int = 4,
        degrees: Sequence[int] | None = None,
        readout: str | Aggregation = "sum",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if conv not in ("GIN", "PNA"):
            raise ValueError(f'conv must be "GIN" or "PNA", got {conv!r}.')
        if (conv == "PNA") != (degrees is not None):
            raise ValueError('degrees must be given with conv="PNA", and only then.')
        options: dict[str, Any] = {"norm": "batch_norm", "jk": "cat"}
        if conv == "PNA":
            options["aggregators"] = ["mean", "min", "max", "std"]
            options["scalers"] = ["identity", "amplification", "attenuation"]
            options["deg"] = torch.tensor(degrees)
        kind = GIN if conv == "GIN" else PNA
        self.layers = kind(in_channels, channels, layers, channels, **options)
        self.readout = aggregation_resolver(readout)
        self.hidden, self.out = nn.Linear(channels, channels), nn.Linear(channels, out_channels)
        self.dropout = nn.Dropout(dropout)

    def reset_parameters(self) -> None:
        for part in self.children():
            reset(part)

    def forward(
        self,
        x: Tensor,
        edge_index: Tensor,
        batch: Tensor | None = None,
        num_graphs: int | None = None,
    ) -> Tensor:
        """Features x [N, in_channels] to [graphs, out_channels]."""
        edge_index = as_index(edge_index)
        index, num_graphs = graph_index(batch, num_graphs, len(x), x.device)
        pooled = self.readout(self.layers(x, edge_index), index, dim_size=num_graphs)
        return self.out(self.dropout(self.hidden(self.dropout(pooled)).relu()))
