"""PointNet, as a user would write it, and its frame average."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch_geometric.nn.inits import reset

from geqlib.frames.averaging import FrameAveraging, Mode

Level = Literal["graph", "node"]
CloudGroup = Literal["E(3)", "SE(3)"]


class PointNet(nn.Module):
    """A perceptron for each point, and a maximum over points.

    Symmetry: order of the points. Source: Qi et al., "PointNet" (CVPR 2017, arXiv 1612.00593),
    without the spatial transformers, and with LayerNorm for BatchNorm:

        h_i = MLP(pos_i, x_i, vec_i),  g = max_i h_i,  y = MLP(g)  or  y_i = MLP(h_i, g)

    Args:
        out_scalars, out_vectors: outputs of a cloud or a point.
        level: "graph" for outputs of clouds, "node" for those of points.
        in_scalars, in_vectors: features of a point beside its position.
        channels: C; the maximum is over 4 C.

    Shapes:
        pos [N, 3], x [N, in_scalars], vec [N, in_vectors, 3], batch [N], ascending; outputs
        [rows, out_scalars] and [rows, out_vectors, 3].

    Raises:
        ValueError: an unknown level, or batch without num_graphs.

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
        features, outputs = 3 + in_scalars + 3 * in_vectors, out_scalars + 3 * out_vectors
        self.points = nn.Sequential(*perceptron(features, channels, channels, 4 * channels))
        known = (4 if level == "graph" else 8) * channels
        self.head = nn.Sequential(
            *perceptron(known, 2 * channels, channels), nn.Linear(channels, outputs)
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
        batch, num_graphs = sample_numbers(pos, batch, num_graphs)
        given = [pos, *([] if x is None else [x]), *([] if vec is None else [vec.flatten(1)])]
        h = self.points(torch.cat(given, 1))
        return read_out(self, self.head, h, batch, num_graphs)


class FAPointNet(nn.Module):
    """`PointNet` averaged over a frame of the cloud.

    Symmetry: `group`, exactly, in all modes but "stochastic"; order of the points. Source: Puny et
    al. (ICLR 2022, arXiv 2110.03336), section 4.1: FA-PointNet.

    Args:
        out_scalars, out_vectors, level, in_scalars, in_vectors, channels: see `PointNet`.
        group: with "E(3)" a cloud and its mirror image are the same; vectors at points of a plane
            then lie in it. "SE(3)" tells them apart, with half as many frames.
        mode: of `FrameAveraging`.

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
        batch, num_graphs = sample_numbers(pos, batch, num_graphs)
        return self.average(pos=pos, x=x, vec=vec, batch=batch, num_graphs=num_graphs)


def perceptron(*widths: int) -> list[nn.Module]:
    """Linear, LayerNorm, ReLU from each width to the next."""
    layers: list[nn.Module] = []
    for size, following in pairwise(widths):
        layers += [nn.Linear(size, following), nn.LayerNorm(following), nn.ReLU()]
    return layers


def read_out(
    net: Any, head: nn.Module, h: Tensor, batch: Tensor, num_graphs: int
) -> tuple[Tensor, Tensor]:
    """Scalars and vectors of clouds, or of points that know the maxima of their cloud."""
    index = batch[:, None].expand_as(h)
    whole = h.new_zeros(num_graphs, h.size(1))
    whole = whole.scatter_reduce(0, index, h, "amax", include_self=False)
    y = head(whole if net.level == "graph" else torch.cat([h, whole[batch]], 1))
    scalars, vectors = y.split([net.out_scalars, 3 * net.out_vectors], 1)
    return scalars, vectors.unflatten(1, (net.out_vectors, 3))


def averaged_cloud(net: nn.Module, level: Level, group: CloudGroup, mode: Mode) -> FrameAveraging:
    """A network from points and their features to scalars and vectors, averaged over frames."""
    if group not in ("E(3)", "SE(3)"):
        raise ValueError(f'group must be "E(3)" or "SE(3)", got {group!r}.')
    inputs = {"pos": "point", "x": "scalar", "vec": "vector"}
    outputs = (f"{level}:scalar", f"{level}:vector")
    return FrameAveraging(net, group, inputs=inputs, outputs=outputs, mode=mode)


def sample_numbers(pos: Tensor, batch: Tensor | None, num_graphs: int | None) -> tuple[Tensor, int]:
    """The cloud of each point, and how many there are; one cloud without `batch`."""
    if batch is None:
        return torch.zeros(pos.size(0), dtype=torch.long, device=pos.device), 1
    if num_graphs is None:
        raise ValueError("batch is given without num_graphs: pass the number of clouds too.")
    return batch, num_graphs


def check_level(level: str) -> None:
    if level not in ("graph", "node"):
        raise ValueError(f'level must be "graph" or "node", got {level!r}.')
