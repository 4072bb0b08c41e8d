"""A network on point clouds whose points exchange tensors between their local frames.

Source: Lippmann, Gerhartz, Remme and Hamprecht, "Beyond canonicalization: how tensorial messages
improve equivariant message passing" (ICLR 2025, arXiv 2405.15389).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu
from torch_geometric.nn.inits import reset

from geqlib.baselines.points import SLOPE, Level, check_level, perceptron, sample_numbers
from geqlib.frames.local_frames import LocalFrames
from geqlib.frames.transport import FrameTransport, SpaceGroup, carried, into_frames
from geqlib.graph.neighbors import nearest
from geqlib.radial import LogGaussianBasis, safe_sqrt


class TransportBlock(nn.Module):
    """A maximum over neighbours of what they know, as a point sees it.

    Symmetry: none of its own: all inputs and outputs are coordinates in local frames. With T_ij x_j
    the features of point j as i sees them, and e_ij of the edge,

        x_i <- x_i + W max_j (A T_ij x_j + C e_ij) + W B x_i

    with an activation after LayerNorm before W.

    Args:
        dim: width of x.
        edge_features: width of e.
        channels: of the maximum.

    Shapes:
        x [N, dim], messages [N, k, dim], e [N, k, edge_features]; output [N, dim].
    """

    def __init__(self, dim: int, edge_features: int, channels: int) -> None:
        super().__init__()
        self.sizes = (dim, edge_features, channels)
        self.see_messages = nn.Linear(dim, channels, bias=False)
        self.see_edges = nn.Linear(edge_features, channels, bias=False)
        self.see_own = nn.Linear(dim, channels)
        self.norm = nn.LayerNorm(channels)
        self.update = nn.Linear(channels, dim)

    def reset_parameters(self) -> None:
        for part in self.children():
            part.reset_parameters()  # type: ignore[operator]

    def forward(self, x: Tensor, messages: Tensor, e: Tensor) -> Tensor:
        largest = (self.see_messages(messages) + self.see_edges(e)).amax(1)
        return x + self.update(leaky_relu(self.norm(largest + self.see_own(x)), SLOPE))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(str, self.sizes))})"


class TransportNet(nn.Module):
    """Scalars and vectors of clouds or points, from messages between local frames.

    Symmetry: `group`, exactly, and order of the points; both where no two neighbours are equally
    far. Source: Lippmann et al., "Beyond canonicalization: how tensorial messages improve
    equivariant message passing" (ICLR 2025, arXiv 2405.15389).

    Every point has one learnt frame (`geqlib.nn.LocalFrames`), from its nearest neighbours and the
    direction to the centroid, and features of the type `irreps`, as coordinates in that frame.
    Blocks take messages of the neighbours, turned into the frame of the point
    (`geqlib.nn.FrameTransport`), beside their distance and direction there. All the rest are
    ordinary layers, as in `geqlib.models.DGCNN`: a perceptron of all layers' features, a maximum
    over points, a perceptron. Vectors are turned back, and means over points for those of clouds.

    Args:
        out_scalars, out_vectors: outputs per cloud or point.
        level: "graph" for outputs per cloud, "node" for outputs per point.
        irreps: of the features; tensors of higher degrees make messages more detailed.
        channels: C; the maximum over points is over 4 C.
        layers: number of blocks.
        neighbors: of each point, itself among them.
        group: with "E(3)" a cloud and its mirror image are the same; vectors at points of a plane
            then lie in it. "SE(3)" distinguishes them.

    Shapes:
        pos [N, 3], batch [N], ascending; outputs [n, out_scalars] and [n, out_vectors, 3], n the
        number of clouds or points.

    Raises:
        ValueError: an unknown level or group, sizes below 1, irreps that cannot be read, or, for
            outputs per cloud, batch without num_graphs.

    Example:
        >>> net = TransportNet(0, 1, level="node", neighbors=8).eval()
        >>> pos, turn = torch.randn(30, 3), torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
        >>> torch.allclose(net(pos)[1] @ turn.T, net(pos @ turn.T)[1], atol=1e-4)
        True
    """

    def __init__(
        self,
        out_scalars: int,
        out_vectors: int = 0,
        *,
        level: Level = "graph",
        irreps: str = "16x0e+8x1o+4x2e",
        channels: int = 64,
        layers: int = 3,
        neighbors: int = 16,
        group: SpaceGroup = "E(3)",
    ) -> None:
        super().__init__()
        check_level(level)
        if min(channels, layers, neighbors) < 1:
            raise ValueError(
                "channels, layers and neighbors must be at least 1, got "
                f"{channels}, {layers} and {neighbors}."
            )
        self.level: Level = level
        self.neighbors, self.out_vectors = neighbors, out_vectors
        self.transport = FrameTransport(irreps, group=group)
        self.directions = FrameTransport("1o", group=group)
        self.radial = LogGaussianBasis(8, 0.03, 3.0)
        self.frames = LocalFrames(in_vectors=1, group=group, radial=self.radial)
        dim = self.transport.dim
        self.embed = nn.Linear(4, dim)
        edge_features = self.radial.count + 3
        self.blocks = nn.ModuleList(
            TransportBlock(dim, edge_features, channels) for _ in range(layers)
        )
        self.join = nn.Sequential(*perceptron(layers * dim, 4 * channels))
        self.scalar_head = _head((4 if level == "graph" else 8) * channels, channels, out_scalars)
        self.vector_head = _head(8 * channels, channels, 3 * out_vectors)

    def reset_parameters(self) -> None:
        for part in self.children():
            reset(part)

    def forward(
        self, pos: Tensor, batch: Tensor | None = None, num_graphs: int | None = None
    ) -> tuple[Tensor, Tensor]:
        batch, num_graphs = sample_numbers(pos, batch, num_graphs, self.level)
        offset = pos - _means(pos, batch, num_graphs)[batch]
        near = nearest(pos, batch, num_graphs, self.neighbors)
        target = torch.arange(len(pos), device=pos.device).repeat_interleave(self.neighbors)
        edge_index = torch.stack([near.flatten(), target])
        axes, certainty = self.frames(pos, edge_index, vec=offset[:, None])
        (turn,) = self.directions.maps(axes, certainty)
        maps = self.transport.maps(axes, certainty)
        e, x, states = self._edges(pos, near, turn), self._embedded(offset, turn), []
        for block in self.blocks:
            messages = carried(x, maps, edge_index, self.transport.terms)
            x = block(x, messages.unflatten(0, near.shape), e)
            states.append(x)
        return self._outputs(self.join(torch.cat(states, 1)), turn, batch, num_graphs)

    def _edges(self, pos: Tensor, near: Tensor, turn: Tensor) -> Tensor:
        """[N, k, features] functions of distances, and vectors to the neighbours in each frame."""
        offset = pos[near] - pos[:, None]
        distance = safe_sqrt(offset.square().sum(2))
        with torch.autocast(pos.device.type, enabled=False):
            return torch.cat([self.radial(distance), offset @ turn.mT], 2)

    def _embedded(self, offset: Tensor, turn: Tensor) -> Tensor:
        """[N, dim] from the vector to the centroid in each frame, and its square."""
        own = into_frames(offset, [turn], self.directions.terms)
        return self.embed(torch.cat([own, offset.square().sum(1, keepdim=True)], 1))

    def _outputs(
        self, h: Tensor, turn: Tensor, batch: Tensor, num_graphs: int
    ) -> tuple[Tensor, Tensor]:
        whole = h.new_zeros(num_graphs, h.size(1)).scatter_reduce(
            0, batch[:, None].expand_as(h), h, "amax", include_self=False
        )
        both = torch.cat([h, whole[batch]], 1)
        scalars = self.scalar_head(whole if self.level == "graph" else both)
        local = self.vector_head(both).unflatten(1, (self.out_vectors, 3))
        vectors = (local[..., None] * turn[:, None]).sum(2)  # in full precision
        if self.level == "graph":
            vectors = _means(vectors, batch, num_graphs)
        return scalars, vectors.to(scalars.dtype)


def _head(width: int, channels: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(*perceptron(width, 2 * channels, channels), nn.Linear(channels, outputs))


def _means(x: Tensor, batch: Tensor, num_graphs: int) -> Tensor:
    """[graphs, ...] means of x [N, ...]; 0 for a graph without points."""
    total = x.new_zeros(num_graphs, *x.shape[1:]).index_add(0, batch, x)
    count = x.new_zeros(num_graphs).index_add(0, batch, x.new_ones(len(x)))
    return total / count.clamp(min=1).view(-1, *[1] * (x.dim() - 1))
