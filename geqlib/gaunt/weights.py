"""Learnt maps before and after a Gaunt product: one number, or one matrix, a degree."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import torch
from e3nn import o3
from torch import Tensor, nn

_SPREAD = sqrt(3)  # uniform numbers between -sqrt(3) and sqrt(3) have variance 1


class DegreeWeights(nn.Module):
    """Scale the channels of each irrep, once for each rank: the paper's w_l.

        before: x [..., C, 2l + 1] to w_klc x_lc [..., K C, 2l + 1]
        after:  z [..., K C, 2l + 1] to the sum over k of w_klc z_lkc [..., C, 2l + 1]

    Args:
        irreps: of equal multiplicities C.
        rank: K.
        scales: a constant for each irrep, that keeps variances.
        after: whether this is the map after the product.
    """

    def __init__(
        self, irreps: o3.Irreps, rank: int, scales: Sequence[float], *, after: bool = False
    ) -> None:
        super().__init__()
        self.rank, self.scales, self.after = rank, list(scales), after
        self.weight = nn.Parameter(torch.empty(len(irreps), rank, next(mul for mul, _ in irreps)))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.uniform_(self.weight, -_SPREAD, _SPREAD)

    def forward(self, blocks: list[Tensor]) -> list[Tensor]:
        weights = self.weight.to(blocks[0].dtype).unsqueeze(-1)
        apply = self._join if self.after else self._spread
        return [
            apply(block, weight * scale)
            for block, weight, scale in zip(blocks, weights, self.scales, strict=True)
        ]

    def _spread(self, block: Tensor, weight: Tensor) -> Tensor:
        return (block.unsqueeze(-3) * weight).flatten(-3, -2)

    def _join(self, block: Tensor, weight: Tensor) -> Tensor:
        return (block.unflatten(-2, weight.shape[:2]) * weight).sum(-3)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(irreps={len(self.scales)}, rank={self.rank})"


class DegreeLinear(nn.Module):
    """Mix the channels of each irrep, x_l [..., A, 2l + 1] to W_l x_l [..., B, 2l + 1].

    Args:
        sizes: (A, B) of each irrep.
        scales: a constant for each irrep; 1 / sqrt(A) is put in beside.
    """

    def __init__(self, sizes: Sequence[tuple[int, int]], scales: Sequence[float]) -> None:
        super().__init__()
        self.scales = [s / sqrt(a) for s, (a, _) in zip(scales, sizes, strict=True)]
        self.weights = nn.ParameterList(torch.empty(b, a) for a, b in sizes)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for weight in self.weights:
            nn.init.uniform_(weight, -_SPREAD, _SPREAD)

    def forward(self, blocks: list[Tensor]) -> list[Tensor]:
        return [
            (weight.to(block.dtype) * scale) @ block
            for block, weight, scale in zip(blocks, self.weights, self.scales, strict=True)
        ]

    def __repr__(self) -> str:
        sizes = [tuple(weight.shape) for weight in self.weights]
        return f"{type(self).__name__}({sizes})"
