"""A learnt product that chooses between its arguments, channel by channel."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from geqlib.monoid.operators import LearntOperator


class Selection(LearntOperator):
    """f(a, b) = z w + (1 - z) V l: commutative, associative only as far as trained.

    Of the two arguments each channel keeps the winner w = (a + b + t (a - b)) / 2 or takes, through
    a linear map V, what lost elsewhere: l = a + b - w. With h+- = GELU(W_s (a + b) +- W_d (a - b)),

        t = tanh(W_t (h+ - h-)),     z = sigmoid(W_z (h+ + h-) + c)

    so that an exchange of a and b leaves z as it is and turns the sign of t. Where t and z saturate
    the result is a copy, which a deep tree carries to its root unchanged. The largest and the
    second largest value are such choices; with V a negation, so is a parity. Its products take
    5 C^2 multiplications, those of the symmetric GRU 8 C^2.

    Shapes:
        a, b and output [..., C].

    Example:
        >>> a, b = torch.randn(2, 5, 8)
        >>> f = Selection(8)
        >>> torch.equal(f(a, b), f(b, a))
        True
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.even = nn.Linear(channels, channels)
        self.odd = nn.Linear(channels, channels, bias=False)
        self.choose = nn.Linear(channels, channels, bias=False)
        self.keep = nn.Linear(channels, channels)
        self.move = nn.Linear(channels, channels)

    def reset_parameters(self) -> None:
        super().reset_parameters()
        for layer in (self.even, self.odd, self.choose, self.keep, self.move):
            layer.reset_parameters()

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        total, difference = a + b, a - b
        even, odd = self.even(total), self.odd(difference)
        first, second = nn.functional.gelu(even + odd), nn.functional.gelu(even - odd)
        turn = self.choose(first - second).tanh() * difference
        moved = self.move((total - turn) / 2).to(total.dtype)
        keep = self.keep(first + second).sigmoid().to(total.dtype)
        return torch.lerp(moved, (total + turn) / 2, keep)
