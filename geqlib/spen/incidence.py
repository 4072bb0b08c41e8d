"""Sparse matrices of zeros and ones, and their products with features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

SUM = 0  # as torch.embedding_bag numbers it


@dataclass(frozen=True)
class Incidence:
    """A matrix of zeros and ones, stored by rows and by columns, so that derivatives gather too.

    `incidence @ x` sums for each row those rows of x that it names, `incidence.mean(x)` averages
    them (0 for a row without ones); `incidence.T` is the transpose, at no cost.

    Args:
        index: [E] columns of the ones, row by row; a column may be named more than once.
        ptr: [rows + 1] where each row begins in `index`.
        back: [E] rows of the ones, column by column.
        start: [columns + 1] where each column begins in `back`.

    Example:
        >>> sets = incidence(np.array([2, 0, 2]), np.array([0, 2, 2, 3]), 3)
        >>> (sets @ torch.tensor([[1.0], [2.0], [4.0]])).flatten().tolist()
        [5.0, 0.0, 4.0]
        >>> (sets.T @ torch.tensor([[1.0], [2.0], [4.0]])).flatten().tolist()
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
        return _reduce(x, self, None)

    def mean(self, x: Tensor, times: float = 1.0) -> Tensor:
        """[columns, C] -> [rows, C], means times a number."""
        return _reduce(x, self, self._share(x, times))

    def mean_and_rows(self, x: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
        """self.mean(x) and x[at], with one pass over x for the derivatives of both."""
        share = self._share(x)
        if torch.compiler.is_exporting():
            return _reduce(x, self, share), x.index_select(0, at)
        return _ReduceAndSelect.apply(x, self.index, self.ptr, self.back, self.start, share, at)

    def _share(self, x: Tensor, times: float = 1.0) -> Tensor:
        return times / self.counts().clamp(min=1).to(x.dtype)[:, None]

    def counts(self) -> Tensor:
        """[rows] ones in each row."""
        return self.ptr.diff()

    def to(self, *args: Any, **kwargs: Any) -> Incidence:
        """The same matrix on another device."""
        return Incidence(*(getattr(self, f.name).to(*args, **kwargs) for f in fields(self)))


torch.export.register_dataclass(Incidence)


def incidence(index: np.ndarray, ptr: np.ndarray, columns: int) -> Incidence:
    """The matrix whose row r has ones in the columns index[ptr[r]:ptr[r + 1]]."""
    ones = csr_array((np.ones(len(index), bool), index, ptr), (len(ptr) - 1, columns)).tocsc()
    parts = (index, ptr, ones.indices, ones.indptr)
    return Incidence(*(torch.from_numpy(x.astype(np.int64, copy=False)) for x in parts))


def block_diagonal(parts: Sequence[Incidence]) -> Incidence:
    """One matrix with the given ones along its diagonal."""
    rows, columns = ([len(getattr(p, x)) - 1 for p in parts] for x in ("ptr", "start"))
    return Incidence(
        shifted([p.index for p in parts], columns),
        _joined([p.ptr for p in parts]),
        shifted([p.back for p in parts], rows),
        _joined([p.start for p in parts]),
    )


def shifted(parts: Sequence[Tensor], counts: Sequence[int]) -> Tensor:
    """Numbers of things of which part k has counts[k], in one tensor that counts them all."""
    whole = torch.cat(list(parts))
    start = np.cumsum(counts) - counts
    shift = np.repeat(start, [len(part) for part in parts])
    return whole.add_(torch.from_numpy(shift).to(whole.device))


def _joined(ptrs: Sequence[Tensor]) -> Tensor:
    ends = shifted([p[1:] for p in ptrs], [int(p[-1]) for p in ptrs])
    return torch.cat([ptrs[0][:1], ends])


def _reduce(x: Tensor, sets: Incidence, weight: Tensor | None) -> Tensor:
    if torch.compiler.is_exporting():  # a program keeps derivatives of torch's own functions alone
        y = _sums(x, sets.index, sets.ptr)
        return y if weight is None else y * weight
    return _Reduce.apply(x, sets.index, sets.ptr, sets.back, sets.start, weight)


def _sums(x: Tensor, index: Tensor, ptr: Tensor) -> Tensor:
    # torch's own "mean" takes several times as long
    return torch.embedding_bag(x, index, ptr, False, SUM, False, None, True)[0]


class _Reduce(torch.autograd.Function):
    """y[r] = weight[r] sum of x[index[k]] for k from ptr[r] to ptr[r + 1] - 1."""

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
    ) -> Tensor:
        ctx.save_for_backward(index, ptr, back, start, weight)
        # detached, as it would otherwise compute what its own derivative needs
        y = _sums(x.detach().contiguous(), index, ptr)
        return y if weight is None else y.mul_(weight)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        index, ptr, back, start, weight = ctx.saved_tensors
        grad = grads[0] if weight is None else grads[0] * weight
        return _Reduce.apply(grad, back, start, index, ptr, None), *(None,) * 5


class _ReduceAndSelect(torch.autograd.Function):
    """The same, and x[at]."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        index: Tensor,
        ptr: Tensor,
        back: Tensor,
        start: Tensor,
        weight: Tensor,
        at: Tensor,
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(index, ptr, back, start, weight, at)
        rows = x.detach().contiguous()
        return _sums(rows, index, ptr).mul_(weight), rows.index_select(0, at)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        index, ptr, back, start, weight, at = ctx.saved_tensors
        grad = _Reduce.apply(grads[0] * weight, back, start, index, ptr, None)
        return grad.index_add_(0, at, grads[1]), *(None,) * 6
