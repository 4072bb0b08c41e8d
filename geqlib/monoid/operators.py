"""Binary operators that reduce a set: learnt ones, and exactly associative ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu
from torch_geometric.nn.inits import reset

from geqlib.kernels.symmetric_gru import SymmetricGRU

Product = Callable[[Tensor, Tensor], Tensor]


class Operator(nn.Module):
    """A commutative product of states, f(a, b), with what leads into states and out of them.

    Args:
        channels: C of the elements.
        out_channels: channels of the result; C by default.
        exact: whether f is associative and commutative up to rounding, so that order is idle.
    """

    def __init__(self, channels: int, *, out_channels: int | None = None, exact: bool) -> None:
        super().__init__()
        if channels < 1:
            raise ValueError(f"channels must be at least 1, got {channels}.")
        self.channels, self.exact = channels, exact
        self.out_channels = channels if out_channels is None else out_channels

    def reset_parameters(self) -> None:
        """Draw the parameters anew: exact operators have none."""

    def encode(self, x: Tensor) -> Tensor:
        """The states [..., state] of elements [..., C]."""
        return x

    def decode(self, state: Tensor) -> Tensor:
        """The result [..., out_channels] of a state."""
        return state

    def identity(self, state: Tensor) -> Tensor:
        """The finite state of the empty set, shaped like one row of `state`."""
        raise NotImplementedError(f"{type(self).__name__} must define identity(state).")

    def product(self) -> Product:
        """This operator, with what it makes of its parameters made once."""
        return self

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.channels})"


class LearntOperator(Operator):
    """An operator whose identity is a learnt vector, zero at first."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, exact=False)
        self.neutral = nn.Parameter(torch.zeros(channels))

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.neutral)

    def identity(self, state: Tensor) -> Tensor:
        return self.neutral.to(state.dtype).expand(state.shape[1:])


class BinaryGRU(LearntOperator):
    """f(a, b) = (GRU(a, b) + GRU(b, a)) / 2: commutative, associative only as far as trained.

    Source: Ong and Velickovic (LoG 2022, arXiv 2212.08541), section 4; GRU is torch's cell, input
    first. With s = a + b and d = a - b both orders share their matrix products, W_i a + W_h b and
    its mirror image being ((W_i + W_h) s +- (W_i - W_h) d) / 2: 8 C^2 multiplications, not 12.

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
        return self.product()(a, b)

    def product(self) -> Product:
        """With weights of s and of d: gates, and both shares of the candidate."""
        c = 2 * self.channels
        w_i, w_h, b_i, b_h = (w / 2 for w in self.cell.parameters())
        even = w_i[:c] + w_h[:c], w_i[c:], w_h[c:]
        odd = w_i[:c] - w_h[:c], w_i[c:], -w_h[c:]
        weight = torch.cat([*even, *odd]).unflatten(0, (2, -1))
        return SymmetricGRU(weight, torch.cat([b_i[:c] + b_h[:c], b_i[c:], b_h[c:]]) * 2)


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
        first, second = gelu(even + odd), gelu(even - odd)
        turn = self.choose(first - second).tanh() * difference
        moved = self.move((total - turn) / 2).to(total.dtype)
        keep = self.keep(first + second).sigmoid().to(total.dtype)
        return torch.lerp(moved, (total + turn) / 2, keep)


class GatedSum(LearntOperator):
    """f(a, b) = g (a + b) + (1 - g) u: commutative, associative only as far as trained.

    With h = GELU(W [a + b, |a - b|]), g = sigmoid(V_g h) and u = V_u h: a sum that forgets. Its
    products take 6 C^2 multiplications.

    Shapes:
        a, b and output [..., C].

    Example:
        >>> a, b = torch.randn(2, 5, 8)
        >>> f = GatedSum(8)
        >>> torch.equal(f(a, b), f(b, a))
        True
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.hidden = nn.Linear(2 * channels, channels)
        self.out = nn.Linear(channels, 2 * channels)

    def reset_parameters(self) -> None:
        super().reset_parameters()
        self.hidden.reset_parameters()
        self.out.reset_parameters()

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        total = a + b
        hidden = self.hidden(torch.cat([total, (a - b).abs()], -1))
        gate, update = self.out(gelu(hidden)).to(total.dtype).chunk(2, -1)
        return torch.lerp(update, total, gate.sigmoid())


class UserOperator(LearntOperator):
    """Any module of two arguments, [..., C] and [..., C] -> [..., C], with a learnt identity."""

    def __init__(self, channels: int, module: nn.Module) -> None:
        super().__init__(channels)
        self.module = module

    def reset_parameters(self) -> None:
        super().reset_parameters()
        reset(self.module)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.module(a, b)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.channels}, {type(self.module).__name__})"


class Sum(Operator):
    """f(a, b) = a + b, with identity 0."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, exact=True)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a + b

    def identity(self, state: Tensor) -> Tensor:
        return state.new_zeros(state.shape[1:])


class Max(Operator):
    """f(a, b) = max(a, b). The identity is the lowest finite number, and decodes to 0."""

    def __init__(self, channels: int, *, out_channels: int | None = None) -> None:
        super().__init__(channels, out_channels=out_channels, exact=True)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.maximum(a, b)

    def identity(self, state: Tensor) -> Tensor:
        return state.new_full(state.shape[1:], torch.finfo(state.dtype).min)

    def decode(self, state: Tensor) -> Tensor:
        return state.masked_fill(state == torch.finfo(state.dtype).min, 0)


class LogSumExp(Max):
    """f(a, b) = log(exp a + exp b). The identity is the lowest finite number, and decodes to 0."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.logaddexp(a, b)


class TopK(Max):
    """The k largest values of each channel, sorted: equal ones count as often as they occur.

    States are [..., k, C]; the result is [..., k C], largest first, with 0 for what a set of fewer
    than k elements lacks. With k = 2, the second largest by construction, for sets of every size.

    Args:
        channels: C.
        k: how many.

    Example:
        >>> top = TopK(1, k=2)
        >>> state = top(top.encode(torch.tensor([[3.0], [5.0]])), top.encode(torch.zeros(2, 1)))
        >>> top.decode(state).tolist()
        [[3.0, 0.0], [5.0, 0.0]]
    """

    def __init__(self, channels: int, *, k: int = 2) -> None:
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}.")
        super().__init__(channels, out_channels=k * channels)
        self.k = k

    def encode(self, x: Tensor) -> Tensor:
        missing = x.new_full((), torch.finfo(x.dtype).min)
        shape = (*x.shape[:-1], self.k - 1, self.channels)
        return torch.cat([x[..., None, :], missing.expand(shape)], -2)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        # of two sorted lists, one of them reversed, the larger of each pair are the k largest
        largest = torch.maximum(a, b.flip(-2))
        if self.k == 2:
            first, second = largest.unbind(-2)
            return torch.stack([torch.maximum(first, second), torch.minimum(first, second)], -2)
        return largest.sort(dim=-2, descending=True).values

    def decode(self, state: Tensor) -> Tensor:
        return super().decode(state).flatten(-2)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.channels}, k={self.k})"


class ComplexProduct(Operator):
    """The product of the unit numbers exp(i x): f(a, b) = a b in complex numbers, identity 1.

    States and results are [..., 2 C], real parts first. Elements turn, and the result is how far
    all of them turned together: with x = pi for every element, the parity of the set's size.

    Example:
        >>> f = ComplexProduct(1)
        >>> turn = f.encode(torch.full((1, 1), torch.pi))
        >>> f(f(turn, turn), turn)[0, 0].round().item()
        -1.0
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, out_channels=2 * channels, exact=True)

    def encode(self, x: Tensor) -> Tensor:
        return torch.cat([x.cos(), x.sin()], -1)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        (ar, ai), (br, bi) = a.chunk(2, -1), b.chunk(2, -1)
        return torch.cat([ar * br - ai * bi, ar * bi + ai * br], -1)

    def identity(self, state: Tensor) -> Tensor:
        one = state.new_ones(self.channels)
        return torch.cat([one, 0 * one]).expand(state.shape[1:])


OPERATORS: dict[str, Callable[[int], Operator]] = {
    "gru": BinaryGRU,
    "select": Selection,
    "gated": GatedSum,
    "topk": TopK,
    "logsumexp": LogSumExp,
    "max": Max,
    "sum": Sum,
    "product": ComplexProduct,
}


def as_operator(channels: int, operator: Any) -> Operator:
    """The operator of a name, or around a user's module f(a, b)."""
    if isinstance(operator, str):
        if operator not in OPERATORS:
            raise ValueError(f"operator '{operator}' is unknown: choose {', '.join(OPERATORS)}.")
        return OPERATORS[operator](channels)
    if not isinstance(operator, nn.Module):
        raise ValueError(f"operator must be a name or a module f(a, b), got {operator!r}.")
    if not isinstance(operator, Operator):
        return UserOperator(channels, operator)
    if operator.channels != channels:
        raise ValueError(
            f"{operator} has {operator.channels} channels, but the layer has {channels}."
        )
    return operator
