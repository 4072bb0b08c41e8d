"""The powers of numbers, with derivatives of few operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from geqlib.graph.functional import refuse_two_forward_modes


def powers(v: Tensor, numbers: Tensor) -> Tensor:
    """v, v^2, ..., v^order, [order, ...].

    Operation by operation, first derivatives take two operations for each power and those of the
    derivatives seven: here they are polynomials in Horner's form, of all powers at once.

    Args:
        v: of any shape.
        numbers: [order] 1, 2, ..., order, in the type of v.

    Example:
        >>> powers(torch.tensor([2.0, 3.0]), torch.tensor([1.0, 2.0, 3.0])).tolist()
        [[2.0, 3.0], [4.0, 9.0], [8.0, 27.0]]
    """
    # compiled code would lose the second derivatives of a custom function, silently
    if torch.compiler.is_compiling():
        every = [v]
        for _ in range(1, numbers.size(0)):
            every.append(every[-1] * v)
        return torch.stack(every)
    y: Any = _Powers.apply(v, numbers)
    return y


class _Powers(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(v: Tensor, numbers: Tensor) -> Tensor:
        return v.expand(numbers.size(0), *v.shape).cumprod(0)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs, output)
        ctx.save_for_forward(*inputs, output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        v, numbers, every = ctx.saved_tensors
        return _Slope.apply(grads[0], v, numbers, every), None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        refuse_two_forward_modes()
        _, numbers, every = ctx.saved_tensors
        return _slopes(tangents[0], numbers, every)


class _Slope(torch.autograd.Function):
    """sum_n n v^(n-1) g_n, where `every` holds the powers of v, of which it is no argument."""

    generate_vmap_rule = True

    @staticmethod
    def forward(g: Tensor, v: Tensor, numbers: Tensor, every: Tensor) -> Tensor:
        return _horner(g, v, lambda n: n)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        g, v, numbers, every = ctx.saved_tensors
        by_g = _slopes(grads[0], numbers, every) if ctx.needs_input_grad[0] else None
        by_v = grads[0] * _curvature(g, v) if ctx.needs_input_grad[1] else None
        return by_g, by_v, None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        refuse_two_forward_modes()
        (g, v, *_), (dg, dv, *_) = ctx.saved_tensors, tangents
        by_g = 0 if dg is None else _horner(dg, v, lambda n: n)
        return by_g if dv is None else by_g + dv * _curvature(g, v)


def _slopes(u: Tensor, numbers: Tensor, every: Tensor) -> Tensor:
    """n v^(n-1) u, [order, ...]."""
    below = torch.cat([u.unsqueeze(0), every[:-1] * u])
    return below * numbers.view(-1, *[1] * u.dim())


def _curvature(g: Tensor, v: Tensor) -> Tensor:
    """sum_n n (n - 1) v^(n-2) g_n."""
    if g.size(0) == 1:
        return torch.zeros_like(v)
    return 2 * _horner(g[1:], v, lambda n: n * (n + 1) / 2)


def _horner(g: Tensor, v: Tensor, factor: Callable[[int], float]) -> Tensor:
    """sum_n a_n v^(n-1) g_n with a_1 = 1 and a_n = factor(n)."""
    count = g.size(0)
    total = g[-1]
    for n in range(count - 1, 0, -1):
        total = torch.addcmul(g[n - 1], v, total, value=factor(n + 1) / factor(n))
    return total
