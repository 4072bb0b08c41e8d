"""Message passing in which the aggregation does the work."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch_geometric.nn.aggr import Aggregation
from torch_geometric.nn.resolver import aggregation_resolver


class AggregateConv(nn.Module):
    """Linear messages and a linear update around any aggregation.

    Symmetry: relabelling of nodes and edges, as exactly as the aggregation keeps it. Source: Corso
    et al., "Principal neighbourhood aggregation" (NeurIPS 2020, arXiv 2004.05718), section 3, with
    undivided towers as in Ong and Velickovic (LoG 2022, arXiv 2212.08541). For each tower t,

        m_tij = A_t x_i + B_t x_j + E_t e_ij,     y_i = U x_i + sum_t V_t aggregate_j(m_tij) + b

    over the edges j -> i. The aggregation is shared by the towers.

    Args:
        channels: C, of nodes and of each tower's messages.
        aggr: aggregation of torch_geometric or geqlib from C to C channels, or its name. With
            several towers it must take [edges, towers, C].
        towers: how many.
        edge_channels: of e_ij; 0 for none.

    Shapes:
        x [N, C], edge_index [2, E], edge_attr [E, edge_channels], output [N, C].

    Raises:
        ValueError: edge_attr missing, not expected, or of another shape.

    Example:
        >>> from geqlib.nn import MonoidAggregation
        >>> conv = AggregateConv(8, MonoidAggregation(8, operator="gru"), towers=2)
        >>> conv(torch.randn(3, 8), torch.tensor([[0, 1, 2], [1, 0, 1]])).shape
        torch.Size([3, 8])
    """

    def __init__(
        self,
        channels: int,
        aggr: Aggregation | str,
        *,
        towers: int = 1,
        edge_channels: int = 0,
    ) -> None:
        super().__init__()
        if min(channels, towers) < 1:
            raise ValueError(f"channels and towers must be positive, got {channels} and {towers}.")
        self.channels, self.towers, self.edge_channels = channels, towers, edge_channels
        width = towers * channels
        self.target = nn.Linear(channels, width)
        self.source = nn.Linear(channels, width, bias=False)
        self.edge = nn.Linear(edge_channels, width, bias=False) if edge_channels else None
        self.aggr = aggregation_resolver(aggr)
        self.update = nn.Linear(channels + width, channels)

    def reset_parameters(self) -> None:
        for layer in (self.target, self.source, self.edge, self.aggr, self.update):
            if layer is not None:
                layer.reset_parameters()

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor | None = None) -> Tensor:
        self._check(edge_index, edge_attr)
        source, target = edge_index
        messages = self.target(x)[target] + self.source(x)[source]
        if self.edge is not None:
            messages = messages + self.edge(edge_attr)
        if self.towers > 1:
            messages = messages.unflatten(-1, (self.towers, self.channels))
        found = self.aggr(messages, target, dim_size=x.size(0), dim=0)
        return self.update(torch.cat([x, found.flatten(1)], -1))

    def _check(self, edge_index: Tensor, edge_attr: Tensor | None) -> None:
        if (edge_attr is None) != (self.edge is None):
            raise ValueError(
                f"edge_attr is {'missing' if edge_attr is None else 'given'}, but the layer has "
                f"{self.edge_channels} edge channels."
            )
        expected = (edge_index.size(1), self.edge_channels)
        if edge_attr is not None and edge_attr.shape != expected:
            raise ValueError(f"edge_attr has shape {tuple(edge_attr.shape)}: expected {expected}.")

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.channels}, {self.aggr}, towers={self.towers}, "
            f"edge_channels={self.edge_channels})"
        )
