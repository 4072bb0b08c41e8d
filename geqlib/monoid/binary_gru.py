"""The symmetrised GRU: a learnt commutative product, both orders from one pair of products."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from geqlib.monoid.operators import LearntOperator, Product
from geqlib.monoid.symmetric_gru import symmetric_gru


class BinaryGRU(LearntOperator):
    """f(a, b) = (GRU(a, b) + GRU(b, a)) / 2: commutative, associative only as far as trained.

    Source: Ong and Velickovic (LoG 2022, arXiv 2212.08541), section 4; GRU is torch's cell, input
    first. With s = a + b and d = a - b both orders share their products, W_i a + W_h b and its
    mirror image being ((W_i + W_h) s +- (W_i - W_h) d) / 2: 8 C^2 multiplications in place of 12.

    Shapes:
        a, b and output [..., C].

    Example:
        >>> a, b = torch.randn(2, 5, 8)
        >>> f = BinaryGRU(8)
        >>> torch.equal(f(a, b), f(b, a))
        True
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.cell = nn.GRUCell(channels, channels)

    def reset_parameters(self) -> None:
        super().reset_parameters()
        self.cell.reset_parameters()

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return symmetric_gru(a, b, *self._weights())

    def product(self) -> Product:
        weights = self._weights()
        return lambda a, b: symmetric_gru(a, b, *weights)

    def _weights(self) -> tuple[Tensor, Tensor, Tensor]:
        """Of s and of d: rows for both gates, the input's share of the news, the state's share."""
        c = 2 * self.channels
        w_i, w_h, b_i, b_h = (w / 2 for w in self.cell.parameters())
        news = (w_i[c:], w_h[c:])
        bias = torch.cat([b_i[:c] + b_h[:c], b_i[c:], b_h[c:]]) * 2
        return torch.cat([w_i[:c] + w_h[:c], *news]), torch.cat([w_i[:c] - w_h[:c], *news]), bias
