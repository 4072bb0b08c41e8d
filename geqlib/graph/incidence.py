"""Sparse matrices of zeros and ones, and their products with features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag


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
        return _Reduce.apply(x, self.index, self.ptr, self.back, self.start, "sum")

    def mean(self, x: Tensor) -> Tensor:
        """[columns, C] -> [rows, C]."""
        return _Reduce.apply(x, self.index, self.ptr, self.back, self.start, "mean")

    def counts(self) -> Tensor:
        """[rows] ones in each row."""
        return self.ptr.diff()

    def to(self, *args: Any, **kwargs: Any) -> Incidence:
        """The same matrix on another device."""
        return Incidence(*(getattr(self, f.name).to(*args, **kwargs) for f in fields(self)))


torch.export.register_dataclass(Incidence)


def incidence(index: np.ndarray, ptr: np.ndarray, columns: int) -> Incidence:
    """The matrix whose row r has ones in the columns index[ptr[r]:ptr[r + 1]]."""
    order = np.argsort(index, kind="stable")
    row = np.repeat(np.arange(len(ptr) - 1), np.diff(ptr))
    start = np.concatenate([[0], np.bincount(index, minlength=columns).cumsum()])
    parts = (index, ptr, row[order], start)
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


class _Reduce(torch.autograd.Function):
    """y[r] = sum or mean of x[index[k]] for k from ptr[r] to ptr[r + 1] - 1."""

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        _, *numbers, ctx.mode = inputs
        ctx.save_for_backward(*numbers)

    @staticmethod
    def forward(
        x: Tensor, index: Tensor, ptr: Tensor, back: Tensor, start: Tensor, mode: str
    ) -> Tensor:
        # detached, as it would otherwise compute what its own derivative needs
        rows = x.detach().contiguous()
        return embedding_bag(index, rows, ptr, mode=mode, include_last_offset=True)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        index, ptr, back, start = ctx.saved_tensors
        grad = grads[0]
        if ctx.mode == "mean":
            grad = grad / ptr.diff().clamp(min=1)[:, None]
        return _Reduce.apply(grad, back, start, index, ptr, "sum"), *(None,) * 5
