"""Gaunt products by the non-zero coefficients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from geqlib.geometry.gaunt import nonzero_coefficients
from geqlib.nn.constants import Constants
from geqlib.nn.gaunt_signals import Signal, Term


class SparseProduct(nn.Module):
    """z_k = sum over the non-zero entries (i, j, k) of G_ijk x_i y_j.

    Cost: O(L^5) operations and as many intermediate values, which suits small degrees. Rows are
    coefficients and columns are batch and channels, so that each entry is one vector operation.

    Args:
        first, second, out: signals of the inputs and of the output.
        terms: of each output signal.

    Shapes:
        lists of [..., k] with the number of coefficients of each signal.
    """

    def __init__(
        self,
        first: Sequence[Signal],
        second: Sequence[Signal],
        out: Sequence[Signal],
        terms: Sequence[Sequence[Term]],
    ) -> None:
        super().__init__()
        self.terms, self.sizes = terms, [len(z.index) for z in out]
        self.entries = nn.ModuleList(
            nn.ModuleList(_Entries(first[t.first], second[t.second], z, t) for t in ts)
            for z, ts in zip(out, terms, strict=True)
        )

    def forward(self, x: list[Tensor], y: list[Tensor]) -> list[Tensor]:
        lead = x[0].shape[:-1]
        rows, columns = ([v.reshape(-1, v.size(-1)).T for v in values] for values in (x, y))
        results = []
        for size, ts, parts in zip(self.sizes, self.terms, self.entries, strict=True):
            total = rows[0].new_zeros(size, rows[0].size(1))
            for t, part in zip(ts, cast(nn.ModuleList, parts), strict=True):
                total = part(rows[t.first], columns[t.second], total)
            results.append(total.T.reshape(*lead, size))
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}(sizes={self.sizes})"


class _Entries(Constants):
    i: Tensor
    j: Tensor
    k: Tensor

    def __init__(self, a: Signal, b: Signal, z: Signal, term: Term) -> None:
        index, value = nonzero_coefficients(a.degrees[-1], b.degrees[-1], z.degrees[-1], term.kind)
        parts = [torch.isin(row, s.index) for row, s in zip(index, (a, b, z), strict=True)]
        kept = torch.stack(parts).all(0)
        rows = zip((a, b, z), index[:, kept], strict=True)
        places = [torch.searchsorted(s.index, row.contiguous()) for s, row in rows]
        super().__init__(i=places[0], j=places[1], k=places[2], value=value[kept][:, None])

    def forward(self, x: Tensor, y: Tensor, total: Tensor) -> Tensor:
        product = x.index_select(0, self.i) * y.index_select(0, self.j) * self.table("value", x)
        return total.index_add(0, self.k, product)
