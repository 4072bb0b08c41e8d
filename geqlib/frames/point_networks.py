"""PointNet and DGCNN averaged over frames of the cloud, and of every point's neighbourhood.

Source: Puny et al., "Frame averaging for invariant and equivariant network design" (ICLR 2022,
arXiv 2110.03336), section 4.1.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch_geometric.nn.inits import reset

from geqlib.baselines.points import DGCNN, Level, PointNet, perceptron, sample_numbers
from geqlib.frames.averaging import FrameAveraging, Mode
from geqlib.graph.neighbors import nearest
from geqlib.radial import safe_sqrt

CloudGroup = Literal["E(3)", "SE(3)"]
SOFT = 1e-6  # squared extent of a neighbourhood at which its vectors are halved


class FAPointNet(nn.Module):
    """`PointNet` averaged over a frame of the cloud.

    Symmetry: `group`, exactly, in all modes but "stochastic"; order of the points. Source: Puny et
    al. (ICLR 2022, arXiv 2110.03336), section 4.1: FA-PointNet.

    Args:
        out_scalars, out_vectors, level, in_scalars, in_vectors, channels: see `PointNet`.
        group: with "E(3)" a cloud and its mirror image are the same; vectors at points of a plane
            then lie in it. "SE(3)" distinguishes them, with half of the frames.
        mode: of `FrameAveraging`. "argmax" takes the frame of the most probable class, or, for
            outputs per point, that of the longest vectors on average (`VectorLengths`).

    Shapes:
        As for `PointNet`; x are invariant and vec turn with pos.

    Example:
        >>> net = FAPointNet(0, 1, level="node").eval()
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
        in_scalars: int = 0,
        in_vectors: int = 0,
        channels: int = 64,
        group: CloudGroup = "E(3)",
        mode: Mode = "full",
    ) -> None:
        super().__init__()
        size = {"in_scalars": in_scalars, "in_vectors": in_vectors, "channels": channels}
        net = PointNet(out_scalars, out_vectors, level=level, **size)
        self.level: Level = level
        self.average = averaged_cloud(net, level, group, mode)

    def reset_parameters(self) -> None:
        self.average.reset_parameters()

    def forward(
        self,
        pos: Tensor,
        x: Tensor | None = None,
        vec: Tensor | None = None,
        batch: Tensor | None = None,
        num_graphs: int | None = None,
    ) -> tuple[Tensor, Tensor]:
        batch, num_graphs = sample_numbers(pos, batch, num_graphs, self.level)
        return self.average(pos=pos, x=x, vec=vec, batch=batch, num_graphs=num_graphs)[:2]


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
        self.level: Level = level
        self.average = averaged_cloud(net, level, group, mode)

    def reset_parameters(self) -> None:
        self.average.reset_parameters()

    def forward(
        self, pos: Tensor, batch: Tensor | None = None, num_graphs: int | None = None
    ) -> tuple[Tensor, Tensor]:
        batch, num_graphs = sample_numbers(pos, batch, num_graphs, self.level)
        return self.average(pos=pos, batch=batch, num_graphs=num_graphs)[:2]


class Neighbourhood(nn.Module):
    """A perceptron for each of the points around one, and a maximum over them.

    Symmetry: order of the neighbours.

    Args:
        out_scalars, out_vectors: outputs per neighbourhood.
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
        out_scalars, out_vectors, level, channels: see `geqlib.models.PointNet`.
        neighbors: of each point, itself among them.
        local_scalars, local_vectors: number of s_i and of v_i.
        group, mode: see `geqlib.models.FAPointNet`.

    Shapes:
        pos [N, 3], batch [N], ascending; outputs [n, out_scalars] and [n, out_vectors, 3],
        n the number of clouds or points.

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
        self.neighbors, self.level = neighbors, level
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
        batch, num_graphs = sample_numbers(pos, batch, num_graphs, self.level)
        near = nearest(pos, batch, num_graphs, self.neighbors)
        around, at = pos[near], pos[:, None]
        x, vec = self.local(pos=around, at=at)
        # vectors of points that coincide must be 0, not rounding that a frame takes for a direction
        extent = (around - at).square().sum(2).mean(1)[:, None, None]
        return self.cloud(pos, x, vec * extent / (extent + SOFT), batch, num_graphs)


class VectorLengths(nn.Module):
    """A network on points, beside the mean length of its vectors in each cloud.

    Where a network hesitates between directions its vectors are means of them, and short: their
    length says how sure it is in each of the frames among which mode "argmax" chooses.

    Symmetry: that of the network.

    Args:
        net: from points to scalars and vectors per point, [N, V, 3].

    Shapes:
        Those of the network, and [clouds, 1]; 0 for a cloud without points.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def reset_parameters(self) -> None:
        reset(self.net)

    def forward(self, *, batch: Tensor, num_graphs: int, **inputs: Tensor) -> tuple[Tensor, ...]:
        scalars, vectors = self.net(**inputs, batch=batch, num_graphs=num_graphs)
        length = safe_sqrt(vectors.square().sum(2)).mean(1)
        total = length.new_zeros(num_graphs).index_add(0, batch, length)
        count = length.new_zeros(num_graphs).index_add(0, batch, torch.ones_like(length))
        return scalars, vectors, (total / count.clamp(min=1))[:, None]


def averaged_cloud(net: nn.Module, level: Level, group: CloudGroup, mode: Mode) -> FrameAveraging:
    """A network from points and their features to scalars and vectors, averaged over frames.

    In mode "argmax", of outputs per point, it returns lengths of vectors besides.
    """
    if group not in ("E(3)", "SE(3)"):
        raise ValueError(f'group must be "E(3)" or "SE(3)", got {group!r}.')
    inputs = {"pos": "point", "x": "scalar", "vec": "vector"}
    outputs = (f"{level}:scalar", f"{level}:vector")
    if mode != "argmax" or level == "graph":
        return FrameAveraging(net, group, inputs=inputs, outputs=outputs, mode=mode)
    if not getattr(net, "out_vectors", 0):
        raise ValueError(
            'mode "argmax" at the level of points chooses by the lengths of vectors: set '
            "out_vectors, or wrap the network in FrameAveraging with a confidence of your own."
        )
    outputs = (*outputs, "graph:scalar")
    average = {"inputs": inputs, "outputs": outputs, "mode": mode, "confidence": _length}
    return FrameAveraging(VectorLengths(net), group, **average)


def _length(outputs: tuple[Tensor, ...]) -> Tensor:
    return outputs[2][:, 0]
