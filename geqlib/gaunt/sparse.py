"""Gaunt products by the non-zero coefficients."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from geqlib.gaunt.form import Fields
from geqlib.gaunt.layout import Signal, Term
from geqlib.gaunt.scratch import New, fresh
from geqlib.sphere.coefficients import nonzero_coefficients


class SparseFields(Fields):
    """Selected coefficients, one field a term of the form, and a "point" an entry of its table.

        T = sum over the non-zero entries (i, j, k) of G_ijk x_i y_j z_k

    Cost: O(L^5) operations and as many intermediate values, which suits small degrees.

    Args:
        places: for each term that the signal takes part in, the coefficient in each entry.
        values: G for each of them, or nothing where another role holds it.
        size: number of coefficients.
    """

    def __init__(self, places: Sequence[Tensor], values: Sequence[Tensor], size: int) -> None:
        tables = {f"place{n}": place for n, place in enumerate(places)}
        tables |= {f"value{n}": v[:, None] for n, v in enumerate(values)}
        super().__init__(**tables)
        self.size, self.count = size, len(places)
        self.weighted = bool(len(values))
        self.points = max((len(place) for place in places), default=1)

    def tables(self, like: Tensor) -> tuple[Tensor, ...]:
        if not self.weighted:
            return ()
        return tuple(self.table(f"value{n}", like) for n in range(self.count))

    def fields(self, x: Tensor, *tables: Tensor, new: New = fresh) -> list[Tensor]:
        found = [x.index_select(0, self.get_buffer(f"place{n}")) for n in range(self.count)]
        return [f * v for f, v in zip(found, tables, strict=True)] if self.weighted else found

    def adjoint(self, fields: Sequence[Tensor | None], *tables: Tensor, new: New = fresh) -> Tensor:
        total: Tensor | None = None
        for n, field in enumerate(fields):
            if field is None:
                continue
            if total is None:
                total = field.new_zeros(self.size, field.size(1))
            weighted = field * tables[n] if self.weighted else field
            total = total.index_add(0, self.get_buffer(f"place{n}"), weighted)
        return torch.as_tensor(total)


def entries(term: Term, a: Signal, b: Signal, z: Signal) -> tuple[list[Tensor], Tensor]:
    """Places in the three signals and values of a term's non-zero coefficients."""
    index, value = nonzero_coefficients(a.degrees[-1], b.degrees[-1], z.degrees[-1], term.kind)
    parts = [torch.isin(row, s.index) for row, s in zip(index, (a, b, z), strict=True)]
    kept = torch.stack(parts).all(0)
    rows = zip((a, b, z), index[:, kept], strict=True)
    return [torch.searchsorted(s.index, row.contiguous()) for s, row in rows], value[kept]
