"""PointNet and DGCNN, as a user would write them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu
from torch_geometric.nn.inits import reset

from geqlib.graph.checks import as_index
from geqlib.graph.neighbors import most_points, nearest

Level = Literal["graph", "node"]
SLOPE = 0.2


class PointNet(nn.Module):
    """A perceptron for each point, and a maximum over points.

    Symmetry: order of the points. Source: Qi et al., "PointNet" (CVPR 2017, arXiv 1612.00593),
    without the spatial transformers, and with LayerNorm for BatchNorm:

        h_i = MLP(pos_i, x_i, vec_i),  g = max_i h_i,  y = MLP(g)  or  y_i = MLP(h_i, g)

    Args:
        out_scalars, out_vectors: outputs per cloud or point.
        level: "graph" for outputs per cloud, "node" for outputs per point.
        in_scalars, in_vectors: features per point beside its position.
        channels: C; the maximum is over 4 C.

    Shapes:
        pos [N, 3], x [N, in_scalars], vec [N, in_vectors, 3], batch [N], ascending; outputs
        [n, out_scalars] and [n, out_vectors, 3], n the number of clouds or
        points.

    Raises:
        ValueError: an unknown level, features other than in_scalars and in_vectors say, or, for
            outputs per cloud, batch without num_graphs.

    Example:
        >>> net = PointNet(10)
        >>> net(torch.randn(6, 3), batch=torch.tensor([0, 0, 0, 1, 1, 1]), num_graphs=2)[0].shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        out_scalars: int,
        out_vectors: int = 0,
        *,
        level: Level = "graph",
        in_scalars: int = 0,
        in_vectors: int = 0,
        channels: int = 64,
    ) -> None:
        super().__init__()
        check_level(level)
        self.out_scalars, self.out_vectors, self.level = out_scalars, out_vectors, level
        self.in_scalars, self.in_vectors = in_scalars, in_vectors
        features, outputs = 3 + in_scalars + 3 * in_vectors, out_scalars + 3 * out_vectors
        self.points = nn.Sequential(*perceptron(features, channels, channels, 4 * channels))
        width = (4 if level == "graph" else 8) * channels
        self.head = nn.Sequential(
            *perceptron(width, 2 * channels, channels), nn.Linear(channels, outputs)
        )

    def reset_parameters(self) -> None:
        reset(self.points)
        reset(self.head)

    def forward(
        self,
        pos: Tensor,
        x: Tensor | None = None,
        vec: Tensor | None = None,
        batch: Tensor | None = None,
        num_graphs: int | None = None,
    ) -> tuple[Tensor, Tensor]:
        batch, num_graphs = sample_numbers(pos, batch, num_graphs, self.level)
        check_features("in_scalars", self.in_scalars, "x", x, ())
        check_features("in_vectors", self.in_vectors, "vec", vec, (3,))
        features = [pos, *([] if x is None else [x]), *([] if vec is None else [vec.flatten(1)])]
        h = self.points(torch.cat(features, 1))
        return read_out(self, self.head, h, batch, num_graphs)


class NearestEdgeConv(nn.Module):
    """Differences to the nearest points, in the space of the features themselves.

    Symmetry: order of the points, unless several are equally far. Source: Wang et al., "Dynamic
    graph CNN" (TOG 2019, arXiv 1801.07829), equations 7 and 8:

        y_i = max_j LeakyReLU(A (h_j - h_i) + B h_i + b),  j the nearest to i, i among them.

    The activation is increasing, so that the maximum of A h_j is taken before it: matrix products
    are of points, not of pairs.

    Args:
        in_channels, out_channels: of h and y.
        neighbors: number of j.

    Shapes:
        h [N, in_channels], batch [N], ascending; output [N, out_channels]. `widest`, the points of
        the largest graph (`geqlib.graph.neighbors.most_points`), spares a device the wait for it.

    Example:
        >>> conv = NearestEdgeConv(3, 8, 4)
        >>> conv(torch.randn(10, 3), torch.zeros(10, dtype=torch.long), 1).shape
        torch.Size([10, 8])
    """

    def __init__(self, in_channels: int, out_channels: int, neighbors: int) -> None:
        super().__init__()
        if neighbors < 1:
            raise ValueError(f"neighbors must be at least 1, got {neighbors}.")
        self.neighbors = neighbors
        self.difference = nn.Linear(in_channels, out_channels, bias=False)
        self.own = nn.Linear(in_channels, out_channels)

    def reset_parameters(self) -> None:
        self.difference.reset_parameters()
        self.own.reset_parameters()

    def forward(
        self, h: Tensor, batch: Tensor, num_graphs: int, widest: int | None = None
    ) -> Tensor:
        near = nearest(h, batch, num_graphs, self.neighbors, widest=widest)
        moved = self.difference(h)
        with torch.no_grad():  # so that derivatives are of [N, C], not of all pairs
            largest = near.gather(1, moved[near].max(1).indices)
        return leaky_relu(moved.gather(0, largest) - moved + self.own(h), SLOPE)

    def __repr__(self) -> str:
        sizes = f"{self.own.in_features}, {self.own.out_features}, {self.neighbors}"
        return f"{type(self).__name__}({sizes})"


class DGCNN(nn.Module):
    """Convolutions on nearest neighbours, all their outputs joined, and a maximum over points.

    Symmetry: order of the points, unless several are equally far from one. Source: Wang et al.,
    "Dynamic graph CNN" (TOG 2019, arXiv 1801.07829), without the spatial transformer, and with
    LayerNorm after each convolution for BatchNorm within it.

    Args:
        out_scalars, out_vectors: outputs per cloud or point.
        level: "graph" for outputs per cloud, "node" for outputs per point.
        channels: C of each convolution; the maximum is over 4 C.
        layers: number of convolutions.
        neighbors: of each point, itself among them.

    Shapes:
        pos [N, 3], batch [N], ascending; outputs [n, out_scalars] and [n, out_vectors, 3],
        n the number of clouds or points.

    Raises:
        ValueError: an unknown level, sizes below 1, or, for outputs per cloud, batch without
            num_graphs.

    Example:
        >>> net = DGCNN(0, 1, level="node")
        >>> net(torch.randn(30, 3))[1].shape
        torch.Size([30, 1, 3])
    """

    def __init__(
        self,
        out_scalars: int,
        out_vectors: int = 0,
        *,
        level: Level = "graph",
        channels: int = 64,
        layers: int = 3,
        neighbors: int = 16,
    ) -> None:
        super().__init__()
        check_level(level)
        if layers < 1:
            raise ValueError(f"layers must be at least 1, got {layers}.")
        self.out_scalars, self.out_vectors, self.level = out_scalars, out_vectors, level
        widths = [3, *[channels] * layers]
        self.convs = nn.ModuleList(NearestEdgeConv(a, b, neighbors) for a, b in pairwise(widths))
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(layers))
        self.join = nn.Sequential(*perceptron(layers * channels, 4 * channels))
        width = (4 if level == "graph" else 8) * channels
        outputs = out_scalars + 3 * out_vectors
        self.head = nn.Sequential(
            *perceptron(width, 2 * channels, channels), nn.Linear(channels, outputs)
        )

    def reset_parameters(self) -> None:
        for part in (self.convs, self.norms, self.join, self.head):
            reset(part)

    def forward(
        self, pos: Tensor, batch: Tensor | None = None, num_graphs: int | None = None
    ) -> tuple[Tensor, Tensor]:
        batch, num_graphs = sample_numbers(pos, batch, num_graphs, self.level)
        h, states, widest = pos, [], most_points(batch, num_graphs)  # one wait for all layers
        for conv, norm in zip(self.convs, self.norms, strict=True):
            h = norm(conv(h, batch, num_graphs, widest))
            states.append(h)
        h = self.join(torch.cat(states, 1))
        return read_out(self, self.head, h, batch, num_graphs)


def perceptron(*widths: int) -> list[nn.Module]:
    """Linear, LayerNorm, ReLU from each width to the next."""
    layers: list[nn.Module] = []
    for size, following in pairwise(widths):
        layers += [nn.Linear(size, following), nn.LayerNorm(following), nn.ReLU()]
    return layers


def read_out(
    net: Any, head: nn.Module, h: Tensor, batch: Tensor, num_graphs: int
) -> tuple[Tensor, Tensor]:
    """Scalars and vectors per cloud, or per point, which then also sees the maxima of its cloud."""
    index = batch[:, None].expand_as(h)
    whole = h.new_zeros(num_graphs, h.size(1))
    whole = whole.scatter_reduce(0, index, h, "amax", include_self=False)
    y = head(whole if net.level == "graph" else torch.cat([h, whole[batch]], 1))
    scalars, vectors = y.split([net.out_scalars, 3 * net.out_vectors], 1)
    return scalars, vectors.unflatten(1, (net.out_vectors, 3))


def sample_numbers(
    pos: Tensor, batch: Tensor | None, num_graphs: int | None, level: str
) -> tuple[Tensor, int]:
    """The cloud of each point, and how many there are; one cloud without `batch`."""
    if batch is None:
        return torch.zeros(pos.size(0), dtype=torch.long, device=pos.device), 1
    if num_graphs is None and level == "graph":  # the last cloud may be empty
        raise ValueError("batch is given without num_graphs: pass the number of clouds too.")
    if num_graphs is None:
        num_graphs = int(batch.max()) + 1 if batch.numel() else 0
    return as_index(batch, "batch"), num_graphs


def check_features(
    option: str, count: int, name: str, tensor: Tensor | None, ending: tuple[int, ...]
) -> None:
    """Refuse another number of features of points than the network was built for.

    Raises:
        ValueError: with the option, and what to set it to.
    """
    if tensor is None:
        if count:
            raise ValueError(
                f"{name} is missing: the network was built with {option}={count}; pass {name}, or "
                f"leave {option} out."
            )
        return
    dim = 2 + len(ending)
    if tensor.dim() != dim or tensor.shape[2:] != ending:
        sizes = ", ".join(map(str, ("points", option, *ending)))
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}, expected [{sizes}].")
    if tensor.size(1) != count:
        raise ValueError(
            f"{name} has {tensor.size(1)} features per point, but the network was built with "
            f"{option}={count}: set {option} to {tensor.size(1)}."
        )


def check_level(level: str) -> None:
    if level not in ("graph", "node"):
        raise ValueError(f'level must be "graph" or "node", got {level!r}.')
