"""Irreps as columns of coefficients: one column a node and channel, one row a coefficient."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from e3nn import o3
from torch import Tensor

from geqlib.nn.constants import Constants
from geqlib.nn.gaunt_signals import Signal


class Columns(Constants):
    """[n, irreps.dim] (mul_ir) to the coefficients [k, n C] of each signal, and back.

    Matrix products and products at points run fastest along long rows: over nodes and channels,
    not over the few coefficients. One selection of columns moves channels behind the coefficients,
    which leaves whole runs of channels to copy.

    Args:
        irreps: of equal multiplicities C.
        parts: the signals that they make up.
    """

    there: Tensor
    back: Tensor

    def __init__(self, irreps: o3.Irreps, parts: Sequence[Signal]) -> None:
        self.channels = next(mul for mul, _ in irreps)
        starts = [piece.start for piece in irreps.slices()]
        places = []
        for part in parts:
            for ell, block in zip(part.degrees, part.blocks, strict=True):
                m, channel = torch.arange(2 * ell + 1), torch.arange(self.channels)
                places.append(starts[block] + (channel * (2 * ell + 1) + m[:, None]).flatten())
        there = torch.cat(places)
        super().__init__(there=there, back=torch.argsort(there))
        self.sizes = [len(part.index) for part in parts]
        self.size, self.dim = sum(self.sizes), irreps.dim

    def load(self, x: Tensor) -> list[Tensor]:
        """Columns of x [n, irreps.dim], for each signal."""
        rows = x.index_select(1, self.there).view(-1, self.size, self.channels)
        return list(rows.transpose(0, 1).reshape(self.size, -1).split(self.sizes))

    def store(self, columns: Sequence[Tensor], out: Tensor | None = None) -> Tensor:
        """The inverse of `load`, into `out` where one is given."""
        count = columns[0].size(1) // self.channels
        rows = [c.view(len(c), count, self.channels).transpose(0, 1) for c in columns]
        return torch.index_select(torch.cat(rows, 1).flatten(1), 1, self.back, out=out)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(sizes={self.sizes}, channels={self.channels})"
