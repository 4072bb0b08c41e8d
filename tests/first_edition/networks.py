"""Modules that users make of the library's: outside of geqlib, like theirs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from geqlib.graph import ego_plan
from geqlib.models import PONITA
from geqlib.nn import (
    GauntTensorProduct,
    KernelBasis,
    PositionOrientationConv,
    SelfMix,
    SubgraphConv,
)


class Mixed(nn.Module):
    """Scalars and vectors of PONITA, multiplied as functions on the sphere, to one vector.

    Both products take what method="auto" means: the first edition measured it, and saved its
    choice in the state dict.
    """

    def __init__(self) -> None:
        super().__init__()
        self.net = PONITA(1, 1, 4, 4, channels=4, layers=1)
        self.mix = SelfMix("4x0e+4x1o")
        self.product = GauntTensorProduct("4x0e+4x1o", "4x0e+4x1o", "4x1o", weights="degree")

    def forward(
        self, pos: Tensor, edge_index: Tensor, x: Tensor, vec: Tensor
    ) -> tuple[Tensor, Tensor]:
        scalars, vectors = self.net(pos, edge_index, x, vec)
        y = torch.cat([scalars, vectors.flatten(1)], 1)
        return scalars, self.product(y, self.mix(y)).unflatten(1, (4, 3)).mean(1, keepdim=True)


class Convolution(nn.Module):
    """A position-orientation convolution with a kernel of its own, as users put them together.

    Args:
        space: of the kernel.
        channels, basis: of the convolution.
        bias, aggr: as of `PositionOrientationConv`.
        options: of `KernelBasis`.
    """

    def __init__(
        self,
        space: Any,
        channels: int = 3,
        basis: int = 4,
        *,
        bias: bool = True,
        aggr: str = "sum",
        **options: Any,
    ) -> None:
        super().__init__()
        self.kernel = KernelBasis(space, basis, **options)
        self.conv = PositionOrientationConv(
            channels,
            basis,
            harmonics=self.kernel.harmonics,
            separable=self.kernel.separable,
            bias=bias,
            aggr=aggr,
        )

    def forward(self, x: Tensor, *geometry: Tensor | None) -> Tensor:
        return self.conv(x, self.kernel(*geometry))


class EgoNets(nn.Module):
    """Two convolutions on ego nets, of which the first has features of nodes alone.

    Outputs do not depend on the order of pairs of nodes in a plan.
    """

    def __init__(self, hops: int = 1, symmetric: bool = False, **options: Any) -> None:
        super().__init__()
        self.hops, self.symmetric = hops, symmetric
        options = {"symmetric": symmetric, **options}
        self.first = SubgraphConv(2, 3, orders=(1, 2), in_orders=(1,), **options)
        self.second = SubgraphConv(3, 2, orders=(0, 1, 2), in_orders=(1, 2), **options)

    def forward(self, x: Tensor, edge_index: Tensor) -> tuple[Tensor, ...]:
        plan = ego_plan(edge_index, len(x), hops=self.hops, symmetric=self.symmetric)
        h = {order: torch.tanh(y) for order, y in self.first({1: x}, plan).items()}
        y = self.second(h, plan)
        return y[0], y[1], torch.stack([y[2].sum(0), y[2].square().sum(0)])


class Cloud(nn.Module):
    """Scalars of a cloud and vectors of its points, without any symmetry."""

    def __init__(self) -> None:
        super().__init__()
        self.points, self.read = nn.Linear(6, 5), nn.Linear(5, 5)

    def forward(self, pos: Tensor, batch: Tensor, num_graphs: int) -> tuple[Tensor, Tensor]:
        total = pos.new_zeros(num_graphs, 3).index_add(0, batch, pos.sin())
        y = self.read(torch.tanh(self.points(torch.cat([pos, total[batch]], 1))))
        scalars = y.new_zeros(num_graphs, 2).index_add(0, batch, y[:, :2])
        return scalars, y[:, 2:]


class Sum(nn.Module):
    """A monoid operator of a user's own: f(a, b) = W (a + b), tanh."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.map = nn.Linear(channels, channels)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.tanh(self.map(a + b))
