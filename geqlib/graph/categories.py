"""Learnt vectors of categories, such as kinds of atoms and bonds."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class CategoryEmbedding(nn.Module):
    """y = sum_k W_k[x_k]: one learnt vector for each value of each column, summed.

    Args:
        sizes: number of values of each column.
        channels: C.

    Shapes:
        x [N, columns] or, of a single column, [N], integers; output [N, C].

    Raises:
        ValueError: x of another number of columns, not of integers or out of range.

    Example:
        >>> embed = CategoryEmbedding([3, 2], 8)
        >>> embed(torch.tensor([[2, 0], [1, 1]])).shape
        torch.Size([2, 8])
    """

    def __init__(self, sizes: Sequence[int], channels: int) -> None:
        super().__init__()
        if min(sizes, default=0) < 1:
            raise ValueError(f"Every column needs at least one value, got sizes {list(sizes)}.")
        self.sizes, self.channels = tuple(sizes), channels
        self.vectors = nn.Embedding(sum(sizes), channels)
        counts = torch.tensor(self.sizes)
        self.counts: Tensor
        self.starts: Tensor
        self.register_buffer("counts", counts, persistent=False)
        self.register_buffer("starts", counts.cumsum(0) - counts, persistent=False)

    def reset_parameters(self) -> None:
        self.vectors.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        columns = x if x.dim() == 2 else x[:, None]
        self._check(columns)
        return self.vectors(columns + self.starts).sum(1)

    def _check(self, x: Tensor) -> None:
        if x.is_floating_point() or x.dim() != 2 or x.size(1) != len(self.sizes):
            raise ValueError(
                f"Categories have shape {tuple(x.shape)} and dtype {x.dtype}: expected integers "
                f"[rows, {len(self.sizes)}]."
            )
        if torch.compiler.is_compiling():
            return
        wrong = (x < 0) | (x >= self.counts)
        if bool(wrong.any()):
            row, column = (int(k) for k in wrong.nonzero()[0])
            raise ValueError(
                f"Column {column} is {int(x[row, column])} at row {row}: its values go from 0 to "
                f"{self.sizes[column] - 1}."
            )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self.sizes)}, {self.channels})"
