"""Binary operators that reduce a set: learnt ones, and exactly associative ones."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch_geometric.nn.inits import reset

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
        gate, update = self.out(nn.functional.gelu(hidden)).to(total.dtype).chunk(2, -1)
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
