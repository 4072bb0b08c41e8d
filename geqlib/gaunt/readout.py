"""What a GauntNet reads from the features of one layer."""

from __future__ import annotations

from math import sqrt
from typing import Any

import torch
from e3nn import o3
from torch import Tensor, nn

from geqlib.kernels.silu import SiLU

INITIAL = 0.3  # size of the outputs before training


class DegreeReadout(nn.Module):
    """Linear maps of the channels of each degree, or a small network for scalars.

    Symmetry: O(3), exactly.

    Args:
        irreps_out: natural ones, 0e, 1o, 2e, ...; those above `degree` are 0.
        channels, degree: of x, highest l of x.
        hidden: width of the scalars' network; None for a linear map.

    Shapes:
        [(degree + 1)^2, N, C], components first, to [N, irreps_out.dim], mul_ir.
    """

    def __init__(
        self, irreps_out: o3.Irreps, channels: int, degree: int, hidden: int | None
    ) -> None:
        super().__init__()
        self.degrees = [(mul, ir.l) for mul, ir in irreps_out]
        self.degree, self.channels = degree, channels
        self.maps = nn.ModuleList(
            _map(channels, mul, hidden if ell == 0 else None) if ell <= degree else nn.Identity()
            for mul, ell in self.degrees
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=1 / sqrt(layer.in_features))
        for part in self.maps:
            last = last_layer(part)
            if isinstance(last, nn.Linear):
                nn.init.normal_(last.weight, std=INITIAL / sqrt(last.in_features))

    def forward(self, x: Tensor) -> Tensor:
        parts = []
        for (mul, ell), part in zip(self.degrees, self.maps, strict=True):
            if ell > self.degree:
                parts.append(x.new_zeros(x.size(1), mul * (2 * ell + 1)))
            else:
                block = part(components(x, ell * ell, (ell + 1) ** 2))
                parts.append(block.permute(1, 2, 0).flatten(1))
        return torch.cat(parts, 1) if len(parts) > 1 else parts[0]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.degrees}, channels={self.channels})"


def components(x: Tensor, start: int, stop: int) -> Tensor:
    """x[start:stop], but x itself, whose derivative takes no operation, if these are all."""
    return x if x.size(0) == stop - start else x[start:stop]


def _map(channels: int, mul: int, hidden: int | None) -> nn.Module:
    if hidden is None:
        return nn.Linear(channels, mul, bias=False)
    first = nn.Linear(channels, hidden, bias=False)
    return nn.Sequential(first, SiLU(), nn.Linear(hidden, mul, bias=False))


def last_layer(part: Any) -> Any:
    """Of a `Sequential` its last layer, else the layer itself."""
    return part[-1] if isinstance(part, nn.Sequential) else part
