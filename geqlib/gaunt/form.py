"""Trilinear forms on the sphere, and products as their derivatives.

    T(x, y, z) = sum over points p and terms of +-f_p(x) g_p(y) h_p(z)

with fields f, g and h that are linear in the coefficients x, y and z of irreps. The product of x
and y is dT/dz; its gradients are dT/dx and dT/dy, so that derivatives of every order are the same
function with exchanged roles. They keep x, y and z, and make the fields again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from geqlib.gaunt.columns import Columns
from geqlib.gaunt.scratch import New, Scratch, fresh
from geqlib.sphere.tables import Constants

BLOCK = 2**18  # values of one field that are worked on at once, 1 MiB in float32
ROLES = (0, 1, 2)


class Factor(NamedTuple):
    """One field of one signal."""

    signal: int
    field: int


class FormTerm(NamedTuple):
    """A product of one field of each role, and its sign."""

    factors: tuple[Factor, Factor, Factor]
    sign: int


class Fields(Constants):
    """A linear map from the coefficients of a signal to `count` fields, and its adjoint.

    Fields have `points` values each. `tables` are the constants in the type of the input.
    """

    count: int
    points: int

    def tables(self, like: Tensor) -> tuple[Tensor, ...]:
        raise NotImplementedError

    def fields(self, x: Tensor, *tables: Tensor, new: New = fresh) -> list[Tensor]:
        """[k, width] to fields [..., width], in memory that `new` gives."""
        raise NotImplementedError

    def adjoint(self, fields: Sequence[Tensor | None], *tables: Tensor, new: New = fresh) -> Tensor:
        """Fields [..., width], of which some may be zero (None) but not all, to [k, width]."""
        raise NotImplementedError


class TrilinearForm(nn.Module):
    """The product dT/dz of x [n, D1] and y [n, D2], as [n, D3].

    Args:
        columns: of the three roles x, y and z.
        maps: for each role and signal the map to its fields.
        terms: products of fields that T sums.
    """

    def __init__(
        self,
        columns: Sequence[Columns],
        maps: Sequence[Sequence[Fields]],
        terms: Sequence[FormTerm],
    ) -> None:
        super().__init__()
        self.parts = nn.ModuleList([*columns, *(m for row in maps for m in row)])
        # the same modules again, since finding them in a list of modules takes longer
        self.columns, self.maps = list(columns), [list(row) for row in maps]
        self.pairs = [
            [_pairs(role, signal, m.count, terms) for signal, m in enumerate(row)]
            for role, row in enumerate(maps)
        ]
        self.points = max(m.points for row in maps for m in row)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return contract(self, {0: x, 1: y}, 2)

    def gradients(self, given: dict[int, Tensor], roles: Sequence[int]) -> list[Tensor]:
        """dT by each of `roles`, at the two or three given arguments."""
        like = next(iter(given.values()))
        # a backward pass may be called inside autocast, which would round the matrix products
        with torch.autocast(like.device.type, enabled=False):
            return self._gradients(given, roles, like)

    def _gradients(
        self, given: dict[int, Tensor], roles: Sequence[int], like: Tensor
    ) -> list[Tensor]:
        tables = [[m.tables(like) for m in row] for row in self.maps]
        if torch.compiler.is_compiling():
            fields = self._fields(given, tables, fresh)
            return [self._gradient(role, fields, tables[role], like, fresh) for role in roles]
        results = [like.new_empty(len(like), self.columns[role].dim) for role in roles]
        scratch = Scratch(like) if like.device.type == "cpu" else None
        new = scratch or fresh
        for rows in self._blocks(like):
            fields = self._fields({role: x[rows] for role, x in given.items()}, tables, new)
            for role, result in zip(roles, results, strict=True):
                self._gradient(role, fields, tables[role], like[rows], new, result[rows])
            if scratch is not None:
                scratch.clear()
        return results

    def _fields(
        self, given: dict[int, Tensor], tables: Any, new: New
    ) -> dict[int, list[list[Tensor]]]:
        found = {}
        for role, x in given.items():
            parts = self.columns[role].load(x, new)
            entries = zip(self.maps[role], parts, tables[role], strict=True)
            found[role] = [m.fields(part, *table, new=new) for m, part, table in entries]
        return found

    def _gradient(
        self,
        role: int,
        fields: Any,
        tables: Any,
        like: Tensor,
        new: New,
        out: Tensor | None = None,
    ) -> Tensor:
        first, second = (fields[other] for other in _others(role))
        columns, found = self.columns[role], []
        parts = zip(self.maps[role], self.pairs[role], tables, columns.sizes, strict=True)
        for m, pairs, table, size in parts:
            if any(pairs):
                sums = [_sum(field, first, second, new) for field in pairs]
                found.append(m.adjoint(sums, *table, new=new))
            else:
                found.append(like.new_zeros(size, len(like) * columns.channels))
        return columns.store(found, out, new)

    def _blocks(self, x: Tensor) -> Iterator[slice]:
        """Equal runs of rows whose fields about fit into the cache; all at once on a GPU."""
        fitting = max(BLOCK // (self.points * self.columns[0].channels), 1)
        count = max(round(len(x) / fitting), 1) if x.device.type == "cpu" else 1
        step = max(-(-len(x) // count), 1)
        for start in range(0, len(x), step):
            yield slice(start, start + step)

    def __repr__(self) -> str:
        kind = type(self.maps[0][0]).__name__
        return f"{type(self).__name__}({kind}, points={self.points})"


def contract(form: TrilinearForm, given: dict[int, Tensor], role: int) -> Tensor:
    """dT by one argument, at the two others."""
    # compiled code would lose the second derivatives of a custom function, without a word
    if torch.compiler.is_compiling():
        return form.gradients(given, [role])[0]
    found: Any = _Contraction.apply(*(given[other] for other in _others(role)), form, role)
    return found


class _Contraction(torch.autograd.Function):
    @staticmethod
    def forward(a: Tensor, b: Tensor, form: TrilinearForm, role: int) -> Tensor:
        return form.gradients(dict(zip(_others(role), (a, b), strict=True)), [role])[0]

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        *tensors, ctx.form, ctx.role = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (a, b), (first, second) = ctx.saved_tensors, _others(ctx.role)
        need_a, need_b = ctx.needs_input_grad[:2]
        if need_a and need_b:
            return *_Gradients.apply(a, b, grads[0], ctx.form, ctx.role), None, None
        by_a = contract(ctx.form, {second: b, ctx.role: grads[0]}, first) if need_a else None
        by_b = contract(ctx.form, {first: a, ctx.role: grads[0]}, second) if need_b else None
        return by_a, by_b, None, None


class _Gradients(torch.autograd.Function):
    """Both gradients of a contraction, which share the fields."""

    @staticmethod
    def forward(
        a: Tensor, b: Tensor, grad: Tensor, form: TrilinearForm, role: int
    ) -> tuple[Tensor, ...]:
        first, second = _others(role)
        return tuple(form.gradients({first: a, second: b, role: grad}, [first, second]))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        *tensors, ctx.form, ctx.role = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        """Of T(p, b, grad) + T(a, q, grad), where p and q belong to the two results."""
        (a, b, grad), (p, q) = ctx.saved_tensors, grads
        form, role, (first, second) = ctx.form, ctx.role, _others(ctx.role)
        need_a, need_b, need_grad = ctx.needs_input_grad[:3]
        by_a = contract(form, {second: q, role: grad}, first) if need_a else None
        by_b = contract(form, {first: p, role: grad}, second) if need_b else None
        by_grad = None
        if need_grad:
            by_grad = contract(form, {first: p, second: b}, role)
            by_grad = by_grad + contract(form, {first: a, second: q}, role)
        return by_a, by_b, by_grad, None, None


Pairs = list[tuple[Factor, Factor, int]]


def _pairs(role: int, signal: int, count: int, terms: Sequence[FormTerm]) -> list[Pairs]:
    """For each field of a signal what T multiplies it with: two factors and a sign."""
    first, second = _others(role)
    return [
        [
            (factors[first], factors[second], sign)
            for factors, sign in terms
            if factors[role] == (signal, field)
        ]
        for field in range(count)
    ]


def _sum(pairs: Pairs, first: Any, second: Any, new: New) -> Tensor | None:
    total: Tensor | None = None
    for a, b, sign in pairs:
        f, g = first[a.signal][a.field], second[b.signal][b.field]
        if total is not None:
            total.addcmul_(f, g, value=sign)
        else:
            total = torch.mul(f, g, out=new(*f.shape))
            total = total if sign > 0 else total.neg_()
    return total


def _others(role: int) -> tuple[int, int]:
    first, second = (r for r in ROLES if r != role)
    return first, second
