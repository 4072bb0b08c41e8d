"""FA-Local-PointNet: frames of every point's neighbourhood, then a frame of the whole cloud."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch_geometric.nn.inits import reset

from geqlib.frames.averaging import FrameAveraging, Mode
from geqlib.frames.point_networks import (
    CloudGroup,
    FAPointNet,
    Level,
    perceptron,
    sample_numbers,
)
from geqlib.graph.neighbors import nearest

SOFT = 1e-6  # squared extent of a neighbourhood at which its vectors are halved


class Neighbourhood(nn.Module):
    """A perceptron for each of the points around one, and a maximum over them.

    Symmetry: order of the neighbours.

    Args:
        out_scalars, out_vectors: outputs of a neighbourhood.
        channels: width.

    Shapes:
        pos [N, k, 3] the neighbours, at [N, 1, 3] the point itself; outputs [N, out_scalars] and
        [N, out_vectors, 3].
    """

    def __init__(self, out_scalars: int, out_vectors: int, channels: int) -> None:
        super().__init__()
        self.out_scalars, self.out_vectors = out_scalars, out_vectors
        self.points = nn.Sequential(*perceptron(6, channels, channels))
        self.head = nn.Linear(channels, out_scalars + 3 * out_vectors)

    def reset_parameters(self) -> None:
        reset(self.points)
        reset(self.head)

    def forward(self, pos: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
        h = self.points(torch.cat([pos, at.expand_as(pos)], 2)).amax(1)
        scalars, vectors = self.head(h).split([self.out_scalars, 3 * self.out_vectors], 1)
        return scalars, vectors.unflatten(1, (self.out_vectors, 3))


class FALocalPointNet(nn.Module):
    """Invariants and vectors of each point's neighbourhood, read by `FAPointNet`.

    Symmetry: `group`, exactly, and order of the points; both where no two neighbours are equally
    far. Source: Puny et al. (ICLR 2022, arXiv 2110.03336), section 4.1: FA-Local-PointNet. A frame
    of each neighbourhood turns a small network there into invariants s_i and equivariant vectors
    v_i, which vanish where all neighbours coincide. The frame of the cloud, made of its points and
    all v_i, turns a PointNet on (pos, s, v) into the outputs.

    Args:
        out_scalars, out_vectors, level, channels: see `PointNet`.
        neighbors: of each point, itself among them.
        local_scalars, local_vectors: number of s_i and of v_i.
        group, mode: see `geqlib.models.FAPointNet`.

    Shapes:
        pos [N, 3], batch [N], ascending; outputs [rows, out_scalars] and [rows, out_vectors, 3].

    Example:
        >>> net = FALocalPointNet(0, 1, level="node", neighbors=8)
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
        neighbors: int = 16,
        local_scalars: int = 16,
        local_vectors: int = 8,
        group: CloudGroup = "E(3)",
        mode: Mode = "full",
    ) -> None:
        super().__init__()
        self.neighbors = neighbors
        self.cloud = FAPointNet(
            out_scalars,
            out_vectors,
            level=level,
            in_scalars=local_scalars,
            in_vectors=local_vectors,
            channels=channels,
            group=group,
            mode=mode,
        )
        self.local = FrameAveraging(
            Neighbourhood(local_scalars, local_vectors, channels // 2),
            group,
            inputs={"pos": "point", "at": "point"},
            outputs=("scalar", "vector"),
            mode=mode,
            dense=True,
        )

    def reset_parameters(self) -> None:
        self.local.reset_parameters()
        self.cloud.reset_parameters()

    def forward(
        self, pos: Tensor, batch: Tensor | None = None, num_graphs: int | None = None
    ) -> tuple[Tensor, Tensor]:
        batch, num_graphs = sample_numbers(pos, batch, num_graphs)
        near = nearest(pos, batch, num_graphs, self.neighbors)
        around, at = pos[near], pos[:, None]
        x, vec = self.local(pos=around, at=at)
        # vectors of points that coincide must be 0, not rounding that a frame takes for a direction
        extent = (around - at).square().sum(2).mean(1)[:, None, None]
        return self.cloud(pos, x, vec * extent / (extent + SOFT), batch, num_graphs)
