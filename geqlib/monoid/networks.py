"""Networks around an aggregation: message passing on graphs, and a network on sets of integers."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Literal

import torch
from torch import Tensor, nn
from torch_geometric.nn.aggr import Aggregation
from torch_geometric.nn.resolver import aggregation_resolver

from geqlib.graph.categories import CategoryEmbedding
from geqlib.graph.checks import as_index, values_readable
from geqlib.graph.pool import beside_pooled, graph_index

NUMBERS = 1 << 8  # of which `SetNetwork` reads sets


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
        towers: number of towers.
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
        source, target = as_index(edge_index)
        messages = self.target(x)[target] + self.source(x)[source]
        if self.edge is not None:
            messages = messages + self.edge(edge_attr)
        if self.towers > 1:
            messages = messages.unflatten(-1, (self.towers, self.channels))
        aggregate = self.aggr(messages, target, dim_size=x.size(0), dim=0)
        return self.update(torch.cat([x, aggregate.flatten(1)], -1))

    def _check(self, edge_index: Tensor, edge_attr: Tensor | None) -> None:
        if (edge_attr is None) != (self.edge is None):
            raise ValueError(
                f"edge_attr is {'missing' if edge_attr is None else 'given'}, but the layer has "
                f"{self.edge_channels} edge channels: set edge_dim of the network to the width of "
                "edge_attr, 0 without one."
            )
        expected = (edge_index.size(1), self.edge_channels)
        if edge_attr is not None and edge_attr.shape != expected:
            raise ValueError(
                f"edge_attr has shape {tuple(edge_attr.shape)}: expected {expected}; set edge_dim "
                "of the network to its width."
            )

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.channels}, {self.aggr}, towers={self.towers}, "
            f"edge_channels={self.edge_channels})"
        )


class MonoidGNN(nn.Module):
    """Encoder, layers of `AggregateConv`, and readouts for nodes and for graphs.

    Symmetry: relabelling of nodes, as exactly as the aggregations keep it. Source: the networks of
    Corso et al. (NeurIPS 2020, arXiv 2004.05718), in which Ong and Velickovic (LoG 2022, arXiv
    2212.08541) test their aggregation. After the encoder, layer by layer,

        x <- GRU(LeakyReLU(conv(x)), x)            with update="gru"
        x <- x + ReLU(BatchNorm(conv(x)))          with update="residual"

    Their benchmark of graph algorithms has two layers, of which the second is repeated until a
    graph of n nodes has had n // 2 of them (`depth="half"`); smaller graphs then stay as they are.

    Args:
        in_channels: of x; or a list, the number of values of each integer column of x.
        aggr: aggregation from C to C channels, of which every layer gets a copy, or its name.
        out_node, out_graph: outputs for each node and for each graph; 0 for none.
        channels: C.
        layers: number of layers with parameters of their own.
        depth: "fixed" for `layers`, or "half".
        update: "gru" or "residual".
        towers: of each layer.
        edge_dim: channels of edge_attr, or the number of values of each integer column; 0 for none.
        readout: aggregation of the nodes of a graph from C to C channels, or its name.
        graph_dim: features per graph, `motifs`, which join what is read out.

    Shapes:
        x [N, in_channels], edge_index [2, E], edge_attr [E, edge_dim], batch [N], motifs
        [num_graphs, graph_dim]; returns outputs of nodes [N, out_node] and of graphs [num_graphs,
        out_graph]: both, or the one there is.

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
        graph_dim: int = 0,
    ) -> None:
        super().__init__()
        if graph_dim and not out_graph:
            raise ValueError(
                f"graph_dim is {graph_dim}, but the network has no outputs of graphs, which take "
                "features of graphs: set out_graph, or graph_dim to 0."
            )
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
        self.graph_dim = graph_dim
        self.encode = _encoder(in_channels, channels)
        self.encode_edges = _encoder(edge_dim, channels) if edge_dim else None
        options = {"towers": towers, "edge_channels": channels if edge_dim else 0}
        convs = [AggregateConv(channels, deepcopy(aggr), **options) for _ in range(layers)]
        self.convs = nn.ModuleList(convs)
        steps = [GRUStep(channels) if update == "gru" else ResidualStep(channels) for _ in convs]
        self.steps = nn.ModuleList(steps)
        self.readout = aggregation_resolver(deepcopy(readout))
        self.of_nodes = _head(channels, out_node, channels) if out_node else None
        self.of_graphs = _head(channels + graph_dim, out_graph, channels) if out_graph else None
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
        motifs: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        batch, num_graphs = graph_index(batch, num_graphs, x.size(0), x.device)
        _check_width("x", "in_channels", x, self.encode)
        edges = edge_attr
        if self.encode_edges and edge_attr is not None:
            _check_width("edge_attr", "edge_dim", edge_attr, self.encode_edges)
            edges = self.encode_edges(edge_attr)
        batch = as_index(batch, "batch")
        x = self._layers(self.encode(x), edge_index, edges, batch)
        outputs = [self.of_nodes(x)] if self.of_nodes else []
        if self.of_graphs:
            pooled = self.readout(x, batch, dim_size=num_graphs, dim=0)
            outputs.append(self.of_graphs(beside_pooled(pooled, motifs, self.graph_dim)))
        return outputs[0] if len(outputs) == 1 else (outputs[0], outputs[1])

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


def _check_width(name: str, option: str, value: Tensor, encoder: nn.Module) -> None:
    """Refuse features of another width than the network was built for, where it takes numbers."""
    if isinstance(encoder, nn.Linear) and value.shape[1:] != (encoder.in_features,):
        raise ValueError(
            f"{name} has shape {tuple(value.shape)}, but {option} is {encoder.in_features}: set "
            f"{option} to the width of {name}."
        )


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


def _encoder(columns: int | Sequence[int], channels: int) -> nn.Module:
    if isinstance(columns, int):
        return nn.Linear(columns, channels)
    return CategoryEmbedding(columns, channels)


def _head(inputs: int, out: int, channels: int) -> nn.Sequential:
    """Three layers, the network's own width inside."""
    return nn.Sequential(
        nn.Linear(inputs, channels),
        nn.LeakyReLU(),
        nn.Linear(channels, channels),
        nn.LeakyReLU(),
        nn.Linear(channels, out),
    )


class SetNetwork(nn.Module):
    """Bits of the answer to a question about a set of the numbers 0 to 255.

    Symmetry: exchanges of the elements of a set, as exactly as the aggregation keeps them. Source:
    Ong and Velickovic (LoG 2022, arXiv 2212.08541), section 5.1. With b_i(x) the bits of x, and two
    learnt vectors v_i0 and v_i1 for each of them,

        y = W GELU(decode(aggregate of GELU(encode(sum_i v_i b_i(x)))))

    The encoder is evaluated once for each of the 256 numbers, not once for each element.

    Args:
        channels: C.
        aggr: aggregation of torch_geometric or geqlib from C to C channels, or its name.
        out_bits: bits of the answer.

    Shapes:
        x [N] integers, batch [N] the set of each, output [num_graphs, out_bits], logits.

    Raises:
        ValueError: numbers that are not integers from 0 to 255, or batch without num_graphs.

    Example:
        >>> from geqlib.nn import MonoidAggregation
        >>> net = SetNetwork(16, MonoidAggregation(16, operator=["gru", "topk"])).eval()
        >>> net(torch.tensor([3, 200, 17]), torch.tensor([0, 0, 1]), num_graphs=2).shape
        torch.Size([2, 8])
    """

    def __init__(self, channels: int, aggr: Aggregation | str, *, out_bits: int = 8) -> None:
        super().__init__()
        if min(channels, out_bits) < 1:
            raise ValueError(
                f"channels and out_bits must be positive, got {channels} and {out_bits}."
            )
        self.channels, self.out_bits = channels, out_bits
        self.bit = nn.Parameter(torch.empty(8, 2, channels))
        self.encode = nn.Sequential(nn.Linear(channels, channels), nn.GELU())
        self.aggr = aggregation_resolver(aggr)
        self.decode = nn.Sequential(
            nn.Linear(channels, channels), nn.GELU(), nn.Linear(channels, out_bits)
        )
        numbers = torch.arange(NUMBERS)
        self.bits: Tensor
        self.register_buffer("bits", numbers[:, None] >> torch.arange(8) & 1, persistent=False)
        nn.init.normal_(self.bit, std=8**-0.5)

    def reset_parameters(self) -> None:
        nn.init.normal_(self.bit, std=8**-0.5)
        self.aggr.reset_parameters()
        for layer in (*self.encode, *self.decode):
            if isinstance(layer, nn.Linear):
                layer.reset_parameters()

    def forward(
        self, x: Tensor, batch: Tensor | None = None, num_graphs: int | None = None
    ) -> Tensor:
        """Logits [num_graphs, out_bits] of the sets that `batch` makes of the numbers x."""
        if batch is None:
            batch, num_graphs = torch.zeros_like(x), 1
        elif num_graphs is None:
            raise ValueError("batch is given without num_graphs: pass the number of sets too.")
        codes = self.encode(self.bit[torch.arange(8, device=x.device), self.bits].sum(1))
        elements = nn.functional.embedding(_checked_numbers(x), codes)
        return self.decode(self.aggr(elements, batch, dim_size=num_graphs))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.channels}, {self.aggr}, out_bits={self.out_bits})"


def _checked_numbers(x: Tensor) -> Tensor:
    if x.dim() != 1 or x.is_floating_point() or x.dtype == torch.bool:
        raise ValueError(
            f"x has shape {tuple(x.shape)} and dtype {x.dtype}: expected a vector of integers."
        )
    if not values_readable() or x.numel() == 0:
        return x
    low, high = (int(end) for end in torch.aminmax(x))
    if low < 0 or high >= NUMBERS:
        raise ValueError(f"x goes from {low} to {high}: its elements must be 0 to 255.")
    return x
