"""Aggregations to compare with, from C to C channels so that they fit the same networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch_geometric.nn.aggr import Aggregation, DegreeScalerAggregation


class PNAAggregation(Aggregation):
    """torch_geometric's mean, max, min and std with three scalers each, and a linear map to C.

    Args:
        channels: C.
        degrees: how many sets have 0, 1, 2, ... elements in training.
    """

    def __init__(self, channels: int, degrees: Sequence[int]) -> None:
        super().__init__()
        self.scaled = DegreeScalerAggregation(
            ["mean", "max", "min", "std"],
            ["identity", "amplification", "attenuation"],
            torch.tensor(degrees),
        )
        self.project = nn.Linear(12 * channels, channels)

    def reset_parameters(self) -> None:
        self.scaled.reset_parameters()
        self.project.reset_parameters()

    def forward(self, x: Tensor, *args: Any, **options: Any) -> Tensor:
        return self.project(self.scaled(x, *args, **options))


class RecurrentAggregation(Aggregation):
    """torch's GRU over the elements of each set, in random order while it trains.

    Sets are packed, so that none sees padding; empty sets are not supported. As in Ong and
    Velickovic (LoG 2022), a regulariser punishes |f(f(s, x), y) - f(f(s, y), x)|^2 for neighbours
    x and y, averaged over the sequences' states s.

    Args:
        channels: C.
        swap: weight of the regulariser.
    """

    def __init__(self, channels: int, *, swap: float = 0.0) -> None:
        super().__init__()
        self.gru = nn.GRU(channels, channels, batch_first=True)
        self.swap = swap
        self.aux_losses: list[Tensor] = []

    def reset_parameters(self) -> None:
        self.gru.reset_parameters()

    def forward(
        self,
        x: Tensor,
        index: Any = None,
        ptr: Tensor | None = None,
        dim_size: int | None = None,
        dim: int = -2,
        max_num_elements: int | None = None,
    ) -> Tensor:
        key = torch.rand(len(x)) if self.training else torch.zeros(len(x))
        order = torch.argsort(key, stable=True)
        order = order[torch.argsort(index[order], stable=True)]
        dense, inside = self.to_dense_batch(x[order], index[order], dim_size=dim_size)
        packed = pack_padded_sequence(dense, inside.sum(1), batch_first=True, enforce_sorted=False)
        states, last = self.gru(packed)
        if self.training and self.swap:
            states, _ = pad_packed_sequence(states, batch_first=True)
            self.aux_losses.append(self.swap * self._swap_loss(dense, inside, states))
        return last[-1]

    def _swap_loss(self, x: Tensor, inside: Tensor, states: Tensor) -> Tensor:
        before = torch.cat([torch.zeros_like(states[:, :1]), states], 1)[:, :-2]
        both = inside[:, 1:]
        first, second = (self._step(x[:, k:][:, : both.size(1)][both]) for k in (1, 0))
        swapped = second(first(before[both]))
        error = (swapped - states[:, 1:][both]).square().sum()
        return error / max(int(both.sum()), 1)

    def _step(self, x: Tensor) -> Any:
        return lambda state: torch.gru_cell(x, state, *self.gru.all_weights[0])
