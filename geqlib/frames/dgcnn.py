"""DGCNN: graph convolutions on neighbours in feature space, and its frame average."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu
from torch_geometric.nn.inits import reset

from geqlib.frames.averaging import Mode
from geqlib.frames.point_networks import (
    CloudGroup,
    Level,
    averaged_cloud,
    check_level,
    perceptron,
    read_out,
    sample_numbers,
)
from geqlib.graph.neighbors import nearest

SLOPE = 0.2


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
        h [N, in_channels], batch [N], ascending; output [N, out_channels].

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

    def forward(self, h: Tensor, batch: Tensor, num_graphs: int) -> Tensor:
        near = nearest(h, batch, num_graphs, self.neighbors)
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
        out_scalars, out_vectors: outputs of a cloud or a point.
        level: "graph" for outputs of clouds, "node" for those of points.
        channels: C of each convolution; the maximum is over 4 C.
        layers: number of convolutions.
        neighbors: of each point, itself among them.

    Shapes:
        pos [N, 3], batch [N], ascending; outputs [rows, out_scalars] and [rows, out_vectors, 3].

    Raises:
        ValueError: an unknown level, sizes below 1, or batch without num_graphs.

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
        known = (4 if level == "graph" else 8) * channels
        outputs = out_scalars + 3 * out_vectors
        self.head = nn.Sequential(
            *perceptron(known, 2 * channels, channels), nn.Linear(channels, outputs)
        )

    def reset_parameters(self) -> None:
        for part in (self.convs, self.norms, self.join, self.head):
            reset(part)

    def forward(
        self, pos: Tensor, batch: Tensor | None = None, num_graphs: int | None = None
    ) -> tuple[Tensor, Tensor]:
        batch, num_graphs = sample_numbers(pos, batch, num_graphs)
        h, found = pos, []
        for conv, norm in zip(self.convs, self.norms, strict=True):
            h = norm(conv(h, batch, num_graphs))
            found.append(h)
        h = self.join(torch.cat(found, 1))
        return read_out(self, self.head, h, batch, num_graphs)


class FADGCNN(nn.Module):
    """`DGCNN` averaged over a frame of the cloud.

    Symmetry: `group`, exactly, in all modes but "stochastic", and order of the points; both where
    no two neighbours are equally far. Source: Puny et al. (ICLR 2022, arXiv 2110.03336), section
    4.1: FA-DGCNN.

    Args:
        out_scalars, out_vectors, level, channels, layers, neighbors: see `DGCNN`.
        group, mode: see `geqlib.models.FAPointNet`.

    Shapes:
        As for `DGCNN`.

    Example:
        >>> net = FADGCNN(0, 1, level="node").eval()
        >>> pos, turn = torch.randn(8, 3), torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
        >>> torch.allclose(net(pos)[1] @ turn.T, net(pos @ turn.T)[1], atol=1e-5)
        True
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
        group: CloudGroup = "E(3)",
        mode: Mode = "full",
    ) -> None:
        super().__init__()
        size = {"channels": channels, "layers": layers, "neighbors": neighbors}
        net = DGCNN(out_scalars, out_vectors, level=level, **size)
        self.average = averaged_cloud(net, level, group, mode)

    def reset_parameters(self) -> None:
        self.average.reset_parameters()

    def forward(
        self, pos: Tensor, batch: Tensor | None = None, num_graphs: int | None = None
    ) -> tuple[Tensor, Tensor]:
        batch, num_graphs = sample_numbers(pos, batch, num_graphs)
        return self.average(pos=pos, batch=batch, num_graphs=num_graphs)
