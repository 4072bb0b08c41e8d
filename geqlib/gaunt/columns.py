"""Irreps as columns of coefficients: one column a node and channel, one row a coefficient."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from e3nn import o3
from torch import Tensor, nn

from geqlib.gaunt.layout import Signal
from geqlib.gaunt.scratch import New, fresh


class Columns(nn.Module):
    """[n, irreps.dim] (mul_ir) to the coefficients [k, n C] of each signal, and back.

    Matrix products and products at points run fastest along long rows: over nodes and channels,
    not over the few coefficients. Both ways take two copies, because each of them moves runs: one
    exchanges channels and coefficients of a node, the other nodes and coefficients.

    Args:
        irreps: of equal multiplicities C.
        parts: the signals that they make up.
    """

    order: Tensor
    inverse: Tensor

    def __init__(self, irreps: o3.Irreps, parts: Sequence[Signal]) -> None:
        super().__init__()
        self.channels = next(mul for mul, _ in irreps)
        self.sizes = [len(part.index) for part in parts]
        self.size, self.dim = sum(self.sizes), irreps.dim
        numbers = torch.arange(irreps.dim)
        order = torch.cat(
            [
                numbers[irreps.slices()[block]].view(self.channels, 2 * ell + 1).T.flatten()
                for part in parts
                for ell, block in zip(part.degrees, part.blocks, strict=True)
            ]
        )
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("inverse", torch.argsort(order), persistent=False)

    def load(self, x: Tensor, new: New = fresh) -> list[Tensor]:
        """Columns of x [n, irreps.dim], for each signal."""
        n, c = x.size(0), self.channels
        rows = torch.index_select(x, 1, self.order, out=new(n, self.dim)).view(n, self.size, c)
        columns = _copied(rows.transpose(0, 1), new(self.size, n, c))
        return list(columns.flatten(1).split(self.sizes))

    def store(
        self, columns: Sequence[Tensor], out: Tensor | None = None, new: New = fresh
    ) -> Tensor:
        """The inverse of `load`, into `out` where one is given."""
        n, c = columns[0].size(1) // self.channels, self.channels
        parts = [part.unflatten(1, (n, c)).transpose(0, 1) for part in columns]
        rows = torch.cat(parts, 1, out=new(n, self.size, c)).flatten(1)
        return torch.index_select(rows, 1, self.inverse, out=out)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(sizes={self.sizes}, channels={self.channels})"


def _copied(x: Tensor, out: Tensor | None) -> Tensor:
    return x.contiguous() if out is None else out.copy_(x)
