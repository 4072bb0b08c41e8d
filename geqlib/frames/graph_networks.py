"""FA-MLP and FA-GIN+ID: networks that depend on the order of nodes, averaged over such orders.

Source: Puny et al., "Frame averaging for invariant and equivariant network design" (ICLR 2022,
arXiv 2110.03336), sections 3.2 and 4.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot
from torch_geometric.nn.inits import reset
from torch_geometric.nn.models import GIN

from geqlib.frames.averaging import FrameAveraging
from geqlib.frames.copies import FrameCopies
from geqlib.frames.node_orders import laplacian_frame, random_frame
from geqlib.frames.node_scores import WalkScores
from geqlib.frames.soft_orders import Relaxation, SoftOrder
from geqlib.graph.pairs import PairPlan
from geqlib.graph.pool import graph_index, sum_pool

Orders = Literal["canonical", "laplacian", "random"]
SoftOrders = Literal["canonical", "laplacian", "random", "softsort", "sinkhorn"]


class AdjacencyMLP(nn.Module):
    """An MLP on a graph's adjacency matrix and features, flattened in the order of its nodes.

    Symmetry: none. Source: Puny et al. (ICLR 2022, arXiv 2110.03336), section 4.2.

    Args:
        in_channels: features per node.
        out_channels: outputs per graph.
        max_nodes: n, of the largest graph; smaller ones are padded with zeros.
        hidden: widths of the hidden layers.
        act: "relu" or "tanh".

    Shapes:
        x [N, in_channels], edge_index [2, E], edge_weight [E] or [E, 1], 1 if it is left out,
        output [num_graphs, out_channels].

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
        edge_weight: Tensor | None = None,
    ) -> Tensor:
        batch, num_graphs = graph_index(batch, num_graphs, x.size(0), x.device)
        position = positions(batch, self.max_nodes)
        matrix = x.new_zeros(num_graphs, self.max_nodes, self.max_nodes)
        source, target = edge_index
        if edge_weight is None:
            edge_weight = x.new_ones(edge_index.size(1))
        at = (batch[source], position[source], position[target])
        matrix = matrix.index_put(at, edge_weight.reshape(-1).to(x.dtype), accumulate=True)
        features = x.new_zeros(num_graphs, self.max_nodes, x.size(1))
        features = features.index_put((batch, position), x)
        return self.layers(torch.cat([matrix, features], 2).flatten(1))


class PlacedGIN(nn.Module):
    """GIN on features and each node's position in its graph, mean over nodes, linear.

    Symmetry: none, because of the positions. Source: Puny et al. (ICLR 2022, arXiv 2110.03336),
    section 4.2; GIN of Xu et al. (ICLR 2019) as in torch_geometric.

    Args:
        in_channels: features per node.
        out_channels: outputs per graph.
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
        position = one_hot(positions(batch, self.max_nodes), self.max_nodes).to(x.dtype)
        h = self.layers(torch.cat([x, position], 1), edge_index)
        total = sum_pool(h, batch, num_graphs)
        number = torch.bincount(batch, minlength=total.size(0)).clamp(min=1)
        return self.out(total / number[:, None].to(total.dtype))


class OrderAverage(nn.Module):
    """A network on graphs with one output per graph, averaged over a frame of node orders.

    What `FAMLP` and `FAGIN` share; their docstrings say which symmetry holds.

    Args:
        module: from x and edge_index, with batch and num_graphs, to [num_graphs, out_channels].
        orders: "canonical", "laplacian" or "random".
        bound: of enumerated Laplacian frames.
        soft: a soft order in place of these, of a module that takes edge_weight, too.
    """

    def __init__(
        self, module: nn.Module, orders: str, bound: int, soft: SoftOrder | None = None
    ) -> None:
        super().__init__()
        inputs = {"x": "scalar", "edge_index": "edge_index"}
        self.soft = soft is not None
        if soft is not None:
            inputs["edge_weight"] = "edge:scalar"
            self.average = FrameAveraging(
                module, "S_n", inputs=inputs, outputs="graph:scalar", mode="soft", order=soft
            )
            return
        frames = {
            "canonical": "S_n",
            "laplacian": laplacian_frame(bound=bound),
            "random": random_frame(),
        }
        if orders not in frames:
            raise ValueError(
                f'orders must be "canonical", "laplacian" or "random", got {orders!r}.'
            )
        self.average = FrameAveraging(module, frames[orders], inputs=inputs, outputs="graph:scalar")

    def reset_parameters(self) -> None:
        self.average.reset_parameters()

    def plan(
        self,
        x: Tensor,
        edge_index: Tensor,
        batch: Tensor | None = None,
        num_graphs: int | None = None,
    ) -> FrameCopies | PairPlan:
        """The orders of a batch: they depend on the graphs alone, so compute them once.

        Of soft orders the pairs of nodes: these orders depend on weights, too.
        """
        make = self.average.pairs if self.soft else self.average.plan
        return make(x=x, edge_index=edge_index, batch=batch, num_graphs=num_graphs)

    def forward(
        self,
        x: Tensor,
        edge_index: Tensor,
        batch: Tensor | None = None,
        num_graphs: int | None = None,
        plan: FrameCopies | PairPlan | None = None,
    ) -> Tensor:
        """Features x [N, in_channels] to [num_graphs, out_channels]."""
        if batch is None:
            batch, num_graphs = edge_index.new_zeros(x.size(0)), 1
        weights = {"edge_weight": x.new_ones(edge_index.size(1), 1)} if self.soft else {}
        return self.average(
            x=x, edge_index=edge_index, batch=batch, num_graphs=num_graphs, plan=plan, **weights
        )


class FAMLP(OrderAverage):
    """`AdjacencyMLP` averaged over a frame of node orders.

    Symmetry: relabelling of nodes, exactly, with `orders="canonical"`: one pass in a canonical
    order is the exact average. With "laplacian" exactly for graphs with at most `bound` orders, on
    average for the others; with "random" (GA-MLP of the paper) on average only. With the soft
    orders "softsort" and "sinkhorn" exactly, and continuously in features (`geqlib.nn.SoftOrder`):
    the perceptron sees P A P^T and P x, where scores of nodes come from
    `geqlib.frames.node_scores.WalkScores`.

    Source: Puny et al. (ICLR 2022, arXiv 2110.03336), sections 3.2 and 4.2.

    Args:
        in_channels, out_channels, max_nodes, hidden, act: see `AdjacencyMLP`.
        orders: the frame, "canonical", "laplacian" or "random", or the soft order.
        bound: of enumerated Laplacian frames.
        temperature: of soft orders.

    Shapes:
        x [N, in_channels], edge_index [2, E], output [num_graphs, out_channels].

    Raises:
        ValueError: other orders, a graph of more than `max_nodes` nodes.

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
        orders: SoftOrders = "canonical",
        bound: int = 1000,
        temperature: float = 0.1,
    ) -> None:
        module = AdjacencyMLP(
            in_channels, out_channels, max_nodes=max_nodes, hidden=hidden, act=act
        )
        soft = None
        if orders in get_args(Relaxation):
            scores = WalkScores(in_channels)
            soft = SoftOrder(scores, relaxation=orders, temperature=temperature)  # type: ignore[arg-type]
        super().__init__(module, orders, bound, soft)


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


def positions(batch: Tensor, most: int) -> Tensor:
    """[N] position of each node in its graph, below `most`; batch is ascending."""
    position = torch.arange(batch.size(0), device=batch.device) - torch.searchsorted(batch, batch)
    if torch.compiler.is_compiling() or batch.size(0) == 0:
        return position
    largest = int(position.max()) + 1
    if largest > most:
        raise ValueError(
            f"a graph has {largest} nodes, but max_nodes is {most}: set it to the largest number "
            "of nodes in the data."
        )
    return position
