"""A graph network around an aggregation: for graph algorithms and for molecules."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Literal

import torch
from torch import Tensor, nn
from torch_geometric.nn.aggr import Aggregation
from torch_geometric.nn.resolver import aggregation_resolver

from geqlib.graph.categories import CategoryEmbedding
from geqlib.monoid.aggregate_conv import AggregateConv


class MonoidGNN(nn.Module):
    """Encoder, layers of `AggregateConv`, and readouts for nodes and for graphs.

    Symmetry: relabelling of nodes, as exactly as the aggregations keep it. Source: the networks of
    Corso et al. (NeurIPS 2020, arXiv 2004.05718), with which Ong and Velickovic (LoG 2022, arXiv
    2212.08541) tried their aggregation. After the encoder, layer by layer,

        x <- GRU(LeakyReLU(conv(x)), x)            with update="gru"
        x <- x + ReLU(BatchNorm(conv(x)))          with update="residual"

    Their benchmark of graph algorithms has two layers, of which the second is repeated until a
    graph of n nodes has had n // 2 of them (`depth="half"`); graphs that are done wait.

    Args:
        in_channels: of x; or a list, the number of values of each integer column of x.
        aggr: aggregation from C to C channels, of which every layer gets a copy, or its name.
        out_node, out_graph: outputs for each node and for each graph; 0 for none.
        channels: C.
        layers: how many with parameters of their own.
        depth: "fixed" for `layers`, or "half".
        update: "gru" or "residual".
        towers: of each layer.
        edge_dim: channels of edge_attr, or the number of values of each integer column; 0 for none.
        readout: aggregation of the nodes of a graph from C to C channels, or its name.

    Shapes:
        x [N, in_channels], edge_index [2, E], edge_attr [E, edge_dim], batch [N]; returns outputs
        of nodes [N, out_node] and of graphs [num_graphs, out_graph]: both, or the one there is.

    Raises:
        ValueError: options out of range, batch without num_graphs, or edge_attr missing, not
            expected or of another shape.

    Example:
        >>> net = MonoidGNN(2, "max", out_node=3, out_graph=3, depth="half")
        >>> path = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
        >>> [tuple(out.shape) for out in net(torch.randn(3, 2), path)]
        [(3, 3), (1, 3)]
    """

    def __init__(
        self,
        in_channels: int | Sequence[int],
        aggr: Aggregation | str,
        *,
        out_node: int = 0,
        out_graph: int = 0,
        channels: int = 16,
        layers: int = 2,
        depth: Literal["fixed", "half"] = "fixed",
        update: Literal["gru", "residual"] = "gru",
        towers: int = 1,
        edge_dim: int | Sequence[int] = 0,
        readout: Aggregation | str = "sum",
    ) -> None:
        super().__init__()
        if min(channels, layers) < 1 or min(out_node, out_graph) < 0 or out_node + out_graph == 0:
            raise ValueError(
                "channels, layers and one of out_node and out_graph must be positive, got "
                f"{channels}, {layers}, {out_node} and {out_graph}."
            )
        if depth not in ("fixed", "half"):
            raise ValueError(f'depth must be "fixed" or "half", got {depth!r}.')
        if update not in ("gru", "residual"):
            raise ValueError(f'update must be "gru" or "residual", got {update!r}.')
        self.depth, self.out_node, self.out_graph = depth, out_node, out_graph
        self.encode = _encoder(in_channels, channels)
        self.encode_edges = _encoder(edge_dim, channels) if edge_dim else None
        options = {"towers": towers, "edge_channels": channels if edge_dim else 0}
        convs = [AggregateConv(channels, deepcopy(aggr), **options) for _ in range(layers)]
        self.convs = nn.ModuleList(convs)
        steps = [GRUStep(channels) if update == "gru" else ResidualStep(channels) for _ in convs]
        self.steps = nn.ModuleList(steps)
        self.readout = aggregation_resolver(deepcopy(readout))
        self.of_nodes = _head(channels, out_node) if out_node else None
        self.of_graphs = _head(channels, out_graph) if out_graph else None
        self.reset_parameters()  # copies of an aggregation would start alike

    def reset_parameters(self) -> None:
        for module in self.modules():
            if module is not self and hasattr(module, "reset_parameters"):
                module.reset_parameters()  # type: ignore[operator]

    def forward(
        self,
        x: Tensor,
        edge_index: Tensor,
        edge_attr: Tensor | None = None,
        batch: Tensor | None = None,
        num_graphs: int | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        if batch is None:
            batch, num_graphs = edge_index.new_zeros(x.size(0)), 1
        elif num_graphs is None:
            raise ValueError("batch is given without num_graphs: pass the number of graphs too.")
        edges = edge_attr
        if self.encode_edges and edge_attr is not None:
            edges = self.encode_edges(edge_attr)
        x = self._layers(self.encode(x), edge_index, edges, batch)
        found = [self.of_nodes(x)] if self.of_nodes else []
        if self.of_graphs:
            found.append(self.of_graphs(self.readout(x, batch, dim_size=num_graphs, dim=0)))
        return found[0] if len(found) == 1 else (found[0], found[1])

    def _layers(self, x: Tensor, edge_index: Tensor, edges: Tensor | None, batch: Tensor) -> Tensor:
        due = None
        total = len(self.convs)
        if self.depth == "half":
            due = (torch.bincount(batch) // 2).clamp(min=total)[batch]
            total = int(due.max()) if len(due) else total
        for k in range(total):
            layer = min(k, len(self.convs) - 1)
            new = self.steps[layer](self.convs[layer](x, edge_index, edges), x)
            x = new if due is None else torch.where((k < due)[:, None], new, x)
        return x


class GRUStep(nn.Module):
    """x <- GRU(LeakyReLU(y), x)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.cell = nn.GRUCell(channels, channels)

    def forward(self, y: Tensor, x: Tensor) -> Tensor:
        return self.cell(nn.functional.leaky_relu(y), x)


class ResidualStep(nn.Module):
    """x <- x + ReLU(BatchNorm(y))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(channels)

    def forward(self, y: Tensor, x: Tensor) -> Tensor:
        return x + self.norm(y).relu()


def _encoder(given: int | Sequence[int], channels: int) -> nn.Module:
    if isinstance(given, int):
        return nn.Linear(given, channels)
    return CategoryEmbedding(given, channels)


def _head(channels: int, out: int) -> nn.Sequential:
    """Three layers, the network's own width inside."""
    return nn.Sequential(
        nn.Linear(channels, channels),
        nn.LeakyReLU(),
        nn.Linear(channels, channels),
        nn.LeakyReLU(),
        nn.Linear(channels, out),
    )
