"""FA-MLP: a multilayer perceptron on adjacency matrices, averaged over orders of the nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch_geometric.nn.inits import reset

from geqlib.frames.averaging import FrameAveraging
from geqlib.frames.copies import FrameCopies
from geqlib.frames.node_orders import laplacian_frame, random_frame

Orders = Literal["canonical", "laplacian", "random"]


class AdjacencyMLP(nn.Module):
    """An MLP on a graph's adjacency matrix and features, flattened in the order of its nodes.

    Symmetry: none. Source: Puny et al. (ICLR 2022, arXiv 2110.03336), section 4.2.

    Args:
        in_channels: features of a node.
        out_channels: outputs of a graph.
        max_nodes: n, of the largest graph; smaller ones are filled up with zeros.
        hidden: widths of the hidden layers.
        act: "relu" or "tanh".

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
        hidden: Sequence[int] = (128, 128),
        act: Literal["relu", "tanh"] = "relu",
    ) -> None:
        super().__init__()
        self.in_channels, self.max_nodes = in_channels, max_nodes
        widths = [max_nodes * (max_nodes + in_channels), *hidden]
        layers: list[nn.Module] = []
        for size, following in zip(widths, hidden, strict=False):
            layers += [nn.Linear(size, following), nn.ReLU() if act == "relu" else nn.Tanh()]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], out_channels))

    def reset_parameters(self) -> None:
        for layer in self.layers:
            reset(layer)

    def forward(
        self,
        x: Tensor,
        edge_index: Tensor,
        batch: Tensor | None = None,
        num_graphs: int | None = None,
    ) -> Tensor:
        if batch is None:
            batch, num_graphs = edge_index.new_zeros(x.size(0)), 1
        elif num_graphs is None:
            raise ValueError("batch is given without num_graphs: pass the number of graphs too.")
        place = places(batch, self.max_nodes)
        matrix = x.new_zeros(num_graphs, self.max_nodes, self.max_nodes)
        source, target = edge_index
        ones = torch.ones_like(x[:1, :1]).expand(edge_index.size(1), 1)[:, 0]
        at = (batch[source], place[source], place[target])
        matrix = matrix.index_put(at, ones, accumulate=True)
        features = x.new_zeros(num_graphs, self.max_nodes, x.size(1))
        features = features.index_put((batch, place), x)
        return self.layers(torch.cat([matrix, features], 2).flatten(1))


class OrderAverage(nn.Module):
    """A network on graphs with one output a graph, averaged over a frame of node orders.

    What `FAMLP` and `FAGIN` share; their docstrings say which symmetry holds.

    Args:
        module: from x and edge_index, with batch and num_graphs, to [num_graphs, out_channels].
        orders: "canonical", "laplacian" or "random".
        bound: of enumerated Laplacian frames.
    """

    def __init__(self, module: nn.Module, orders: Orders, bound: int) -> None:
        super().__init__()
        frames = {
            "canonical": "S_n",
            "laplacian": laplacian_frame(bound=bound),
            "random": random_frame(),
        }
        if orders not in frames:
            raise ValueError(
                f'orders must be "canonical", "laplacian" or "random", got {orders!r}.'
            )
        inputs = {"x": "scalar", "edge_index": "edge_index"}
        self.average = FrameAveraging(module, frames[orders], inputs=inputs, outputs="graph:scalar")

    def reset_parameters(self) -> None:
        self.average.reset_parameters()

    def plan(
        self,
        x: Tensor,
        edge_index: Tensor,
        batch: Tensor | None = None,
        num_graphs: int | None = None,
    ) -> FrameCopies:
        """The orders of a batch: they depend on the graphs alone, so make them once."""
        return self.average.plan(x=x, edge_index=edge_index, batch=batch, num_graphs=num_graphs)

    def forward(
        self,
        x: Tensor,
        edge_index: Tensor,
        batch: Tensor | None = None,
        num_graphs: int | None = None,
        plan: FrameCopies | None = None,
    ) -> Tensor:
        """Features x [N, in_channels] to [num_graphs, out_channels]."""
        if batch is None:
            batch, num_graphs = edge_index.new_zeros(x.size(0)), 1
        return self.average(
            x=x, edge_index=edge_index, batch=batch, num_graphs=num_graphs, plan=plan
        )


class FAMLP(OrderAverage):
    """`AdjacencyMLP` averaged over a frame of node orders.

    Symmetry: relabelling of nodes, exactly, with `orders="canonical"`: one pass in a canonical
    order is the exact average. With "laplacian" exactly for graphs with at most `bound` orders, on
    average for the others; with "random" (GA-MLP of the paper) on average only.

    Source: Puny et al. (ICLR 2022, arXiv 2110.03336), sections 3.2 and 4.2.

    Args:
        in_channels, out_channels, max_nodes, hidden, act: see `AdjacencyMLP`.
        orders: the frame.
        bound: of enumerated Laplacian frames.

    Shapes:
        x [N, in_channels], edge_index [2, E], output [num_graphs, out_channels].

    Example:
        >>> net = FAMLP(1, 2, max_nodes=4)
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
        hidden: Sequence[int] = (128, 128),
        act: Literal["relu", "tanh"] = "relu",
        orders: Orders = "canonical",
        bound: int = 1000,
    ) -> None:
        module = AdjacencyMLP(
            in_channels, out_channels, max_nodes=max_nodes, hidden=hidden, act=act
        )
        super().__init__(module, orders, bound)


def places(batch: Tensor, most: int) -> Tensor:
    """[N] place of each node among those of its graph, fewer than `most`; batch is ascending."""
    place = torch.arange(batch.size(0), device=batch.device) - torch.searchsorted(batch, batch)
    if torch.compiler.is_compiling() or batch.size(0) == 0:
        return place
    largest = int(place.max()) + 1
    if largest > most:
        raise ValueError(
            f"a graph has {largest} nodes, but max_nodes is {most}: set it to the largest number "
            "of nodes in the data."
        )
    return place
