"""Learnt maps before and after a Gaunt product: one number, or one matrix, for each degree."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import torch
from e3nn import o3
from torch import Tensor, nn

from geqlib.gaunt.layout import UNIFORM


class DegreeWeights(nn.Module):
    """Scale the channels of each irrep, once for each rank: the paper's w_l.

        before the product: x [..., D] to w_k x [..., K, D]
        after the product:  z [..., K, D] to the sum over k of w_k z_k [..., D]

    Args:
        irreps: of equal multiplicities C; D is their dimension.
        rank: K.
        scales: constant factors of the irreps, beside 1 / sqrt(K).
        after: whether this is the map after the product.
    """

    number: Tensor

    def __init__(
        self,
        irreps: o3.Irreps,
        rank: int,
        scales: Sequence[float] | None = None,
        *,
        after: bool = False,
    ) -> None:
        super().__init__()
        self.rank, self.after = rank, after
        self.scales = [1.0] * len(irreps) if scales is None else [s / sqrt(rank) for s in scales]
        channels = next(mul for mul, _ in irreps)
        self.weight = nn.Parameter(torch.empty(len(irreps), rank, channels))
        # the channel of each component
        number = torch.arange(len(irreps) * channels).split(channels)
        number = torch.cat(
            [n.repeat_interleave(ir.dim) for n, (_, ir) in zip(number, irreps, strict=True)]
        )
        self.register_buffer("number", number, persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.uniform_(self.weight, -UNIFORM, UNIFORM)

    def forward(self, x: Tensor) -> Tensor:
        weights = zip(self.weight.to(x.dtype).unbind(0), self.scales, strict=True)
        weight = torch.cat([w * scale for w, scale in weights], 1).index_select(1, self.number)
        return (x * weight).sum(-2) if self.after else x.unsqueeze(-2) * weight

    def __repr__(self) -> str:
        return f"{type(self).__name__}(irreps={len(self.scales)}, rank={self.rank})"


class DegreeLinear(nn.Module):
    """Mix the channels of each irrep, x_l [..., A, 2l + 1] to W_l x_l [..., B, 2l + 1].

    As e3nn's `Linear`, with constant factors, and weights that are cast to the type of x.

    Args:
        irreps_in, irreps_out: the same irreps, of any multiplicities A and B.
        scales: constant factors of the irreps, beside 1 / sqrt(A).
    """

    def __init__(
        self, irreps_in: o3.Irreps, irreps_out: o3.Irreps, scales: Sequence[float] | None = None
    ) -> None:
        super().__init__()
        scales = [1.0] * len(irreps_in) if scales is None else scales
        self.scales = [s / sqrt(mul) for s, (mul, _) in zip(scales, irreps_in, strict=True)]
        self.sizes = [(mul, ir.dim) for mul, ir in irreps_in]
        pairs = zip(irreps_in, irreps_out, strict=True)
        self.weights = nn.ParameterList(torch.empty(out.mul, mul) for (mul, _), out in pairs)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for weight in self.weights:
            nn.init.uniform_(weight, -UNIFORM, UNIFORM)

    def forward(self, x: Tensor) -> Tensor:
        blocks = zip(x.split([mul * dim for mul, dim in self.sizes], -1), self.sizes, strict=True)
        maps = zip(self.weights, self.scales, strict=True)
        mixed = [
            (weight.to(x.dtype) * scale) @ block.unflatten(-1, size)
            for (weight, scale), (block, size) in zip(maps, blocks, strict=True)
        ]
        return torch.cat([block.flatten(-2) for block in mixed], -1)

    def __repr__(self) -> str:
        sizes = [tuple(weight.shape) for weight in self.weights]
        return f"{type(self).__name__}({sizes})"
