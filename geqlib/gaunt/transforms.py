"""The matrices of a Gaunt product: from coefficients of functions to their values at points.

`GridTransform` evaluates functions at the points of a quadrature rule by one dense matrix,
`EntryTransform` takes the non-zero coefficients of the product for its "points". The fast
transforms, Legendre times Fourier and FFT, are in `geqlib.gaunt.fourier`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

import torch
from e3nn import o3
from torch import Tensor

from geqlib.gaunt.layout import Columns, Signal
from geqlib.sphere.coefficients import Kind, nonzero_coefficients
from geqlib.sphere.harmonics import azimuthal_parts, orders, polar_parts
from geqlib.sphere.quadrature import hemisphere
from geqlib.sphere.tables import Constants

Fields = list[str]
Values = dict[tuple[int, str], Tensor]  # by signal and field


class Transform(Constants):
    """A linear map A from features of irreps to values of functions at points, and its adjoint.

    Of each signal there are one or several fields: "value" f, "slope" df/dt and "azimuthal"
    (df/dp) / sin t.

    Args:
        irreps: of equal multiplicities C.
        parts: the signals that they consist of.
        fields: names of the fields of each signal.
        tables: constants.
    """

    points: int  # values of a field per node and channel

    def __init__(
        self, irreps: o3.Irreps, parts: Sequence[Signal], fields: Fields, **tables: Tensor
    ) -> None:
        super().__init__(**tables)
        self.columns, self.fields = Columns(irreps, parts), fields

    def values(self, x: Tensor) -> Values:
        """A x: the fields [points, n C] of features [n, irreps.dim]."""
        values = {}
        for signal, coefficients in enumerate(self.columns.split(x)):
            fields = self.evaluate(signal, coefficients)
            values.update({(signal, f): v for f, v in zip(self.fields, fields, strict=True)})
        return values

    def adjoint(self, values: Values, like: Tensor) -> Tensor:
        """A^T of fields, of which some may be missing and count as 0, in the number of `like`."""
        columns = []
        for signal, size in enumerate(self.columns.sizes):
            fields = {f: values[signal, f] for f in self.fields if (signal, f) in values}
            if fields:
                columns.append(self.integrate(signal, fields))
            else:
                columns.append(like.new_zeros(size, like.size(0) * self.columns.channels))
        return self.columns.join(columns)

    def evaluate(self, signal: int, x: Tensor) -> Sequence[Tensor]:
        """All fields of the coefficients [k, width] of one signal."""
        raise NotImplementedError

    def integrate(self, signal: int, fields: Mapping[str, Tensor]) -> Tensor:
        """The adjoint of `evaluate`, [k, width]."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.columns}, points={self.points})"


class GridTransform(Transform):
    """Values at points of a Lebedev grid by one dense matrix of each signal: O(L^4).

    Arguments are those of `Transform`, and

        degree: D, up to which the grid integrates: about (D + 1)^2 / 3 points, or half of that if
            the signals are even or odd.
        weighted: multiply with the weights of the quadrature, as one of three factors must.
    """

    def __init__(
        self,
        irreps: o3.Irreps,
        parts: Sequence[Signal],
        fields: Fields,
        *,
        degree: int,
        weighted: bool,
    ) -> None:
        matrices = [_matrix(signal, degree, fields, weighted) for signal in parts]
        super().__init__(irreps, parts, fields, **{f"matrix{n}": m for n, m in enumerate(matrices)})
        self.points = len(matrices[0]) // len(fields)

    def evaluate(self, signal: int, x: Tensor) -> Sequence[Tensor]:
        return (self.table(f"matrix{signal}", x) @ x).split(self.points)

    def integrate(self, signal: int, fields: Mapping[str, Tensor]) -> Tensor:
        like = next(iter(fields.values()))
        matrices = self.table(f"matrix{signal}", like).split(self.points)
        pairs = zip(self.fields, matrices, strict=True)
        terms = [matrix.T @ fields[name] for name, matrix in pairs if name in fields]
        return torch.stack(terms).sum(0) if len(terms) > 1 else terms[0]


def _matrix(signal: Signal, degree: int, fields: Fields, weighted: bool) -> Tensor:
    """Fields of each harmonic of a signal, [fields * points, k]."""
    half = hemisphere(degree)
    top = signal.degrees[-1]
    polar = polar_parts(top, half.polar)
    cosine, sine = azimuthal_parts(top, half.azimuth)
    ell, m = torch.tensor(orders(top))[signal.index].T
    at = m.abs(), ell
    tables = {
        "value": polar.value[at] * cosine[m + top],
        "slope": polar.slope[at] * cosine[m + top],
        "azimuthal": polar.azimuthal[at] * sine[m + top],
    }
    weight = half.weight if weighted else torch.ones_like(half.weight)
    if not signal.sign:  # both halves: derivatives by the polar angle change sign
        sign = ((-1.0) ** ell).unsqueeze(1)
        tables = {
            name: torch.cat([t, -sign * t if name == "slope" else sign * t], 1)
            for name, t in tables.items()
        }
        weight = torch.cat([weight, weight]) / (2 if weighted else 1)
    return torch.cat([(tables[name] * weight).T for name in fields]).contiguous()


class EntryTransform(Transform):
    """The coefficient of one factor in each non-zero entry of the product's table: O(L^5).

        T = sum over the entries (i, j, k) of G_ijk x_i y_j z_k

    Arguments are those of `Transform`, with all irreps in one signal, and

        index: [entries] number of the coefficient.
        value: [entries] G, which one of three factors needs; else None.
    """

    def __init__(self, irreps: o3.Irreps, *, index: Tensor, value: Tensor | None = None) -> None:
        tables = {"index": index} | ({} if value is None else {"value": value.unsqueeze(1)})
        every = Signal(0, 0, tuple(ir.l for _, ir in irreps), tuple(range(len(irreps))))
        super().__init__(irreps, [every], ["value"], **tables)
        self.points, self.weighted = max(len(index), 1), value is not None

    def evaluate(self, signal: int, x: Tensor) -> Sequence[Tensor]:
        entries = x.index_select(0, self.get_buffer("index"))
        return [entries * self.table("value", x) if self.weighted else entries]

    def integrate(self, signal: int, fields: Mapping[str, Tensor]) -> Tensor:
        (field,) = fields.values()
        entries = field * self.table("value", field) if self.weighted else field
        total = field.new_zeros(self.columns.size, field.size(1))
        return total.index_add(0, self.get_buffer("index"), entries)


def nonzero_entries(
    irreps: Sequence[o3.Irreps], kinds: Sequence[Kind]
) -> tuple[list[Tensor], Tensor]:
    """Numbers i, j, k of the three coefficients, in the order of the irreps, and G_ijk."""
    degrees = [max(side.ls) for side in irreps]
    index, value = [], []
    for kind, a, b in product(kinds, (1, -1), (1, -1)):
        full, coefficients = nonzero_coefficients(*degrees, kind)
        types = a, b, a * b if kind == "gaunt" else -a * b
        numbers = torch.stack(
            [_numbers(side, tau)[n] for side, tau, n in zip(irreps, types, full, strict=True)]
        )
        present = (numbers >= 0).all(0)
        index.append(numbers[:, present])
        value.append(coefficients[present])
    order = torch.argsort(torch.cat(index, 1)[2], stable=True)
    return list(torch.cat(index, 1)[:, order]), torch.cat(value)[order]


def _numbers(irreps: o3.Irreps, tau: int) -> Tensor:
    """The number of each coefficient l^2 + l + m of the function of type tau, -1 if missing."""
    numbers = torch.full([(max(irreps.ls) + 1) ** 2], -1)
    start = 0
    for _, ir in irreps:
        if ir.p * (-1) ** ir.l == tau:
            numbers[ir.l**2 : (ir.l + 1) ** 2] = torch.arange(start, start + ir.dim)
        start += ir.dim
    return numbers
