"""Irreps as columns of coefficients: one column a node and channel, one row a coefficient."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import torch
from e3nn import o3
from torch import Tensor, nn

from geqlib.nn.gaunt_signals import Signal


class Columns(nn.Module):
    """[n, irreps.dim] (mul_ir) to the coefficients [k, n C] of each signal, and back.

    Matrix products and products at points run fastest along long rows: over nodes and channels,
    not over the few coefficients.

    Args:
        irreps: of equal multiplicities C.
        parts: the signals that they make up.
    """

    def __init__(self, irreps: o3.Irreps, parts: Sequence[Signal]) -> None:
        super().__init__()
        self.channels = next(mul for mul, _ in irreps)
        starts = [piece.start for piece in irreps.slices()]
        # where each irrep starts and how many coefficients it has, for each signal
        self.blocks = [
            [
                (starts[block], 2 * ell + 1)
                for ell, block in zip(part.degrees, part.blocks, strict=True)
            ]
            for part in parts
        ]
        self.sizes = [len(part.index) for part in parts]
        self.size, self.dim = sum(self.sizes), irreps.dim

    def load(self, x: Tensor) -> list[Tensor]:
        """Columns of x [n, irreps.dim], for each signal."""
        return list(torch.cat(self._blocks(x)).flatten(1).split(self.sizes))

    def store(self, columns: Sequence[Tensor], out: Tensor | None = None) -> Tensor:
        """The inverse of `load`, into `out` where one is given."""
        count = columns[0].size(1) // self.channels
        rows = chain.from_iterable(
            c.unflatten(1, (count, self.channels)).split([size for _, size in blocks])
            for c, blocks in zip(columns, self.blocks, strict=True)
        )
        if out is None:
            places = [start for start, _ in chain(*self.blocks)]
            pieces = dict(zip(places, (r.permute(1, 2, 0).flatten(1) for r in rows), strict=True))
            return torch.cat([pieces[start] for start in sorted(pieces)], 1)
        for block, row in zip(self._blocks(out), rows, strict=True):
            block.copy_(row)
        return out

    def _blocks(self, x: Tensor) -> list[Tensor]:
        """Views [2l + 1, n, C] of each irrep."""
        return [
            x.narrow(1, start, size * self.channels)
            .unflatten(1, (self.channels, size))
            .permute(2, 0, 1)
            for start, size in chain(*self.blocks)
        ]

    def __repr__(self) -> str:
        return f"{type(self).__name__}(sizes={self.sizes}, channels={self.channels})"
