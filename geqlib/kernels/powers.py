"""The powers of numbers, with derivatives of few operations."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from geqlib.graph.functional import refuse_two_forward_modes


def divided_powers(v: Tensor, inverse: Tensor) -> Tensor:
    """v, v^2 / 2!, ..., v^order / order!, [order, ...]: each is the derivative of the next.

    Operation by operation, first derivatives take two operations for each power and those of the
    derivatives seven: here they are polynomials in Horner's form, of all powers at once.

    Args:
        v: of any shape.
        inverse: [order] 1, 1 / 2, ..., 1 / order, in the type of v.

    Example:
        >>> divided_powers(torch.tensor([2.0, 4.0]), torch.tensor([1.0, 1 / 2])).tolist()
        [[2.0, 4.0], [2.0, 8.0]]
    """
    # compiled code would lose the second derivatives of a custom function, silently
    if torch.compiler.is_compiling():
        every = [v]
        for n in range(2, inverse.size(0) + 1):
            every.append(every[-1] * v / n)
        return torch.stack(every)
    y: Any = _Powers.apply(v, inverse)
    return y


class _Powers(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(v: Tensor, inverse: Tensor) -> Tensor:
        return (v * inverse.view(-1, *[1] * v.dim())).cumprod(0)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(inputs[0], output)
        ctx.save_for_forward(inputs[0], output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return _Slope.apply(*grads, *ctx.saved_tensors), None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        refuse_two_forward_modes()
        return _times_slopes(tangents[0], ctx.saved_tensors[1])


class _Slope(torch.autograd.Function):
    """sum_n v^(n-1) / (n-1)! g_n. `every` holds the powers of v, of which it is no argument."""

    generate_vmap_rule = True

    @staticmethod
    def forward(g: Tensor, v: Tensor, every: Tensor) -> Tensor:
        total = g[-1]
        for n in range(g.size(0) - 1, 0, -1):
            total = torch.addcmul(g[n - 1], v, total, value=1 / n)
        return total if g.size(0) > 1 else total.clone()  # forward mode wants no views

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        g, v, every = ctx.saved_tensors
        by_g = _times_slopes(grads[0], every) if ctx.needs_input_grad[0] else None
        by_v = _curvature(grads[0], g, v, every) if ctx.needs_input_grad[1] else None
        return by_g, by_v, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        refuse_two_forward_modes()
        (g, v, every), (dg, dv, _) = ctx.saved_tensors, tangents
        by_g: Any = 0 if dg is None else _Slope.apply(dg, v, every)
        by_v = None if dv is None else _curvature(dv, g, v, every)
        return by_g if by_v is None else by_g + by_v


def _times_slopes(u: Tensor, every: Tensor) -> Tensor:
    """u v^(n-1) / (n-1)!, [order, ...]."""
    return torch.cat([u.unsqueeze(0), every[:-1] * u])


def _curvature(u: Tensor, g: Tensor, v: Tensor, every: Tensor) -> Tensor | None:
    """u sum_n v^(n-2) / (n-2)! g_n."""
    return u * _Slope.apply(g[1:], v, every[:-1]) if g.size(0) > 1 else None
