"""Sparse matrices of zeros and ones, and their products with features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from geqlib.graph.functional import transformed
from geqlib.graph.plan import Plan

SUM = 0  # as torch.embedding_bag numbers it


@dataclass(frozen=True)
class Incidence(Plan):
    """A matrix of zeros and ones, stored by rows and by columns, so that derivatives gather too.

    `incidence @ x` sums for each row the entries of x at the columns of its ones,
    `incidence.mean(x)` averages them (0 for a row without ones); `incidence.T` is the transpose,
    at no cost.

    Args:
        index: [E] columns of the ones, row by row; a column may occur more than once.
        ptr: [rows + 1] where each row begins in `index`.
        back: [E] rows of the ones, column by column.
        start: [columns + 1] where each column begins in `back`.

    Example:
        >>> matrix = incidence(torch.tensor([2, 0, 2]), torch.tensor([0, 2, 2, 3]), 3)
        >>> (matrix @ torch.tensor([[1.0], [2.0], [4.0]])).flatten().tolist()
        [5.0, 0.0, 4.0]
        >>> (matrix.T @ torch.tensor([[1.0], [2.0], [4.0]])).flatten().tolist()
        [1.0, 0.0, 5.0]
    """

    # torch.export mixes up names of which one begins with another
    index: Tensor
    ptr: Tensor
    back: Tensor
    start: Tensor

    @property
    def T(self) -> Incidence:  # noqa: N802
        return Incidence(self.back, self.start, self.index, self.ptr)

    def __matmul__(self, x: Tensor) -> Tensor:
        """[columns, C] -> [rows, C]."""
        return _product(x, self, None)

    def mean(self, x: Tensor, times: float = 1.0) -> Tensor:
        """[columns, C] -> [rows, C], means times a number."""
        return _product(x, self, self._share(x, times))

    def mean_and_select(self, x: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
        """self.mean(x) and x[at]; their derivatives share one pass over x."""
        share = self._share(x)
        if torch.compiler.is_exporting() or transformed():
            return _product(x, self, share), x.index_select(0, at)
        return _Product.apply(x, self.index, self.ptr, self.back, self.start, share, at)

    def _share(self, x: Tensor, times: float = 1.0) -> Tensor:
        return times / self.counts().clamp(min=1).to(x.dtype)[:, None]

    def counts(self) -> Tensor:
        """[rows] ones in each row."""
        return self.ptr.diff()

    def owners(self) -> Tensor:
        """[E] the row of each one."""
        row = torch.arange(self.ptr.size(0) - 1, device=self.ptr.device)
        return row.repeat_interleave(self.counts(), output_size=self.index.size(0))

    def rows(self, at: Tensor) -> Incidence:
        """The matrix of the rows `at`, which may repeat."""
        length = take(self.counts(), at)
        ends = length.cumsum(0)
        shift = (take(self.ptr, at) - ends + length).repeat_interleave(length)
        one = torch.arange(shift.size(0), device=at.device) + shift
        return incidence(take(self.index, one), from_zero(ends), self.start.size(0) - 1)


torch.export.register_dataclass(Incidence)


def incidence(index: Tensor, ptr: Tensor, columns: int) -> Incidence:
    """The matrix whose row r has ones in the columns index[ptr[r]:ptr[r + 1]]."""
    row = torch.arange(ptr.size(0) - 1, device=ptr.device)
    row = row.repeat_interleave(ptr.diff(), output_size=index.size(0))
    ordered, order = index.sort(stable=True)
    return Incidence(index, ptr, take(row, order), pointers(ordered, columns))


def one_per_row(index: Tensor, columns: int) -> Incidence:
    """The matrix whose row r has a one in the column index[r] alone."""
    ordered, order = index.sort(stable=True)
    ptr = torch.arange(index.size(0) + 1, device=index.device)
    return Incidence(index, ptr, order, pointers(ordered, columns))


def involution(index: Tensor) -> Incidence:
    """The permutation matrix of a permutation that is its own inverse."""
    ptr = torch.arange(index.size(0) + 1, device=index.device)
    return Incidence(index, ptr, index, ptr)


def pointers(ordered: Tensor, count: int) -> Tensor:
    """[count + 1] where each of the numbers 0 ... count - 1 begins in an ascending list of them."""
    counts = ordered.new_zeros(count + 1)
    return counts.scatter_add_(0, ordered + 1, torch.ones_like(ordered)).cumsum(0)


def take(x: Tensor, index: Tensor) -> Tensor:
    """x[index], several times as fast on a CPU."""
    return x.index_select(0, index)


def from_zero(ends: Tensor) -> Tensor:
    """Where each begins, and the last ends, of things that end at `ends`."""
    return torch.cat([ends.new_zeros(1), ends])


def block_diagonal(parts: Sequence[Incidence]) -> Incidence:
    """One matrix with the given ones along its diagonal."""
    rows, columns = ([getattr(p, x).size(0) - 1 for p in parts] for x in ("ptr", "start"))
    ones = [p.index.size(0) for p in parts]
    return Incidence(
        shifted([p.index for p in parts], columns),
        from_zero(shifted([p.ptr[1:] for p in parts], ones)),
        shifted([p.back for p in parts], rows),
        from_zero(shifted([p.start[1:] for p in parts], ones)),
    )


def shifted(parts: Sequence[Tensor], counts: Sequence[int]) -> Tensor:
    """Indices into parts that have `counts` elements, as indices into all of them joined."""
    whole = torch.cat(list(parts))
    count = torch.tensor(counts, device=whole.device)
    length = torch.tensor([part.size(0) for part in parts], device=whole.device)
    start = count.cumsum(0) - count
    return whole + start.repeat_interleave(length, output_size=whole.size(0))


def _product(x: Tensor, matrix: Incidence, weight: Tensor | None) -> Tensor:
    if torch.compiler.is_exporting():  # a program keeps derivatives of torch's own functions alone
        y = _sums(x, matrix.index, matrix.ptr)
        return y if weight is None else y * weight
    if transformed():  # which refuse `_Product`
        y = x.new_zeros(matrix.ptr.size(0) - 1, x.size(1))
        y = y.index_add(0, matrix.owners(), x.index_select(0, matrix.index))
        return y if weight is None else y * weight
    return _Product.apply(x, matrix.index, matrix.ptr, matrix.back, matrix.start, weight, None)


def _sums(x: Tensor, index: Tensor, ptr: Tensor) -> Tensor:
    # torch's own "mean" takes several times as long
    return torch.embedding_bag(x, index, ptr, False, SUM, False, None, True)[0]


class _Product(torch.autograd.Function):
    """y[r] = weight[r] sum of x[index[k]] for k from ptr[r] to ptr[r + 1] - 1, and x[at]."""

    # `setup_context` makes every call three times as slow
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        index: Tensor,
        ptr: Tensor,
        back: Tensor,
        start: Tensor,
        weight: Tensor | None,
        at: Tensor | None,
    ) -> Any:
        ctx.save_for_backward(index, ptr, back, start, weight, at)
        # detached, as it would otherwise compute what its own derivative needs
        x = (x.detach() if x.requires_grad else x).contiguous()
        y = _sums(x, index, ptr)
        y = y if weight is None else y.mul_(weight)
        return y if at is None else (y, x.index_select(0, at))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        index, ptr, back, start, weight, at = ctx.saved_tensors
        grad = grads[0] if weight is None else grads[0] * weight
        grad = _Product.apply(grad, back, start, index, ptr, None, None)
        return grad if at is None else grad.index_add_(0, at, grads[1]), *(None,) * 6
