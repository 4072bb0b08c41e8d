"""Features as rows of components: the layout in which functions on the sphere are matrices."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import torch
from torch import Tensor, nn

_SPREAD = sqrt(3)  # uniform numbers between -sqrt(3) and sqrt(3) have variance 1


def to_rows(x: Tensor, sizes: Sequence[tuple[int, int]]) -> Tensor:
    """mul_ir features [N, irreps.dim] to rows [k, N, C], k components of equally many channels C.

    Args:
        sizes: (C, 2l + 1) of each irrep.
    """
    blocks = x.split([mul * dim for mul, dim in sizes], -1)
    parts = [b.unflatten(-1, size) for b, size in zip(blocks, sizes, strict=True)]
    return torch.cat(parts, -1).movedim(-1, 0)


def from_rows(rows: Tensor, sizes: Sequence[tuple[int, int]]) -> Tensor:
    """The inverse of `to_rows`."""
    blocks = rows.split([dim for _, dim in sizes], 0)
    return torch.cat([block.movedim(0, -1).flatten(-2) for block in blocks], -1)


class RowsLinear(nn.Module):
    """Mix the channels of each irrep: rows [k, N, A] to [k, N, B] with a matrix a degree.

    Symmetry: commutes with everything that acts on the components.

    Args:
        degrees: l of each irrep.
        in_channels, out_channels: A and B.
        scale: of the initial weights, beside 1 / sqrt(A).
    """

    place: Tensor

    def __init__(
        self, degrees: Sequence[int], in_channels: int, out_channels: int, *, scale: float = 1.0
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(len(degrees), in_channels, out_channels))
        place = [n for n, ell in enumerate(degrees) for _ in range(2 * ell + 1)]
        self.register_buffer("place", torch.tensor(place), persistent=False)
        self.scale = scale / sqrt(in_channels)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.uniform_(self.weight, -_SPREAD, _SPREAD)

    def forward(self, rows: Tensor) -> Tensor:
        return torch.bmm(rows, self.weight.index_select(0, self.place) * self.scale)

    def __repr__(self) -> str:
        _, a, b = self.weight.shape
        return f"{type(self).__name__}({a}, {b}, components={len(self.place)})"
