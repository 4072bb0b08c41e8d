"""Sparse matrices of zeros and ones, and their products with features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
        transpose = Incidence(self.back, self.start, self.index, self.ptr)
        if not torch.compiler.is_compiling():
            transpose.__dict__["weights"] = self.__dict__.setdefault("weights_of_transpose", {})
        return transpose

    def __matmul__(self, x: Tensor) -> Tensor:
        """[columns, C] -> [rows, C]."""
        return self._sums(x, None)[0]

    def mean(self, x: Tensor, times: float = 1.0) -> Tensor:
        """[columns, C] -> [rows, C], means times a number."""
        return self._sums(x, times)[0]

    def mean_and_select(self, x: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
        """self.mean(x) and x[at]; their derivatives share one pass over x."""
        mean, selected = self._sums(x, 1.0, at)
        return mean, selected

    def _sums(self, x: Tensor, times: float | None, at: Tensor | None = None) -> list[Tensor]:
        """Sums, or means times a number, and x[at]."""
        if torch.compiler.is_exporting() or transformed():  # which refuse `_Product`
            y = _sums(x, self.index, self.ptr) if torch.compiler.is_exporting() else self._added(x)
            y = y if times is None else y * self._share(x.dtype, times).unsqueeze(1)
            return [y] if at is None else [y, x.index_select(0, at)]
        weights: tuple[Tensor | None, ...] = (None, None)
        if times is not None:
            weights = self.weights_of_mean(x.dtype, times)
        matrix = self.index, self.ptr, self.back, self.start
        y: Any = _Product.apply(x, *matrix, *weights, at)
        return [y] if at is None else list(y)

    def _added(self, x: Tensor) -> Tensor:
        y = x.new_zeros(self.ptr.size(0) - 1, x.size(1))
        return y.index_add(0, self.owners(), x.index_select(0, self.index))

    def _share(self, dtype: torch.dtype, times: float) -> Tensor:
        """[rows] times / number of ones."""
        return times / self.counts().clamp(min=1).to(dtype)

    def weights_of_mean(self, dtype: torch.dtype, times: float) -> tuple[Tensor, Tensor]:
        """Of each one in `mean`, row by row and column by column."""

        def compute() -> tuple[Tensor, Tensor]:
            share = self._share(dtype, times)
            return take(share, self.owners()), take(share, self.back)

        return once(self.__dict__.setdefault("weights", {}), (dtype, times), compute)

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


def once(values: dict[Any, Any], key: Any, compute: Callable[[], Any]) -> Any:
    """compute(), or what it gave before: `values` are those of a plan, whose tensors stay."""
    inside = torch.compiler.is_compiling() or transformed() or torch.is_inference_mode_enabled()
    if inside:  # whose tensors are good for nothing outside
        return compute()
    if key not in values:
        values[key] = compute()
    return values[key]


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


def _sums(x: Tensor, index: Tensor, ptr: Tensor, weight: Tensor | None = None) -> Tensor:
    # torch's own "mean" takes several times as long
    return torch.embedding_bag(x, index, ptr, False, SUM, False, weight, True)[0]


class _Product(torch.autograd.Function):
    """y[r] = sum of weight[k] x[index[k]] for k from ptr[r] to ptr[r + 1] - 1, and x[at].

    `back_weight` are the same weights in the order of `back`.
    """

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
        back_weight: Tensor | None,
        at: Tensor | None,
    ) -> Any:
        ctx.save_for_backward(index, ptr, back, start, weight, back_weight, at)
        # detached, as it would otherwise compute what its own derivative needs
        x = (x.detach() if x.requires_grad else x).contiguous()
        y = _sums(x, index, ptr, weight)
        return y if at is None else (y, x.index_select(0, at))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        index, ptr, back, start, weight, back_weight, at = ctx.saved_tensors
        grad = _Product.apply(grads[0], back, start, index, ptr, back_weight, weight, None)
        return grad if at is None else grad.index_add_(0, at, grads[1]), *(None,) * 7
