"""Products of many matrices, whose derivatives lie in memory as their arguments do."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from geqlib.graph.functional import (
    asked,
    refuse_two_forward_modes,
    transformed,
    vectorised,
)


def batched_product(
    x: Tensor, weight: Tensor, scale: float = 1.0, *, rows_first: bool = False
) -> Tensor:
    """scale x W for each of several pairs of matrices.

    A product of three factors g . x W is linear in each of them, and so are its derivatives, of
    any order. By plain operations the gradient of W from a derivative is a transposed view, which
    is copied where gradients are added; and a scale is an operation of its own.

    Args:
        x: [k, N, A].
        weight: [k, A, B].
        scale: constant factor.
        rows_first: whether the result lies in memory as [N, k, B], for what gathers its rows.

    Returns:
        [k, N, B].

    Example:
        >>> batched_product(torch.ones(1, 2, 3), torch.ones(1, 3, 1), 0.5).flatten().tolist()
        [1.5, 1.5]
    """
    # compiled code would lose the second derivatives of a custom function, silently; and the type
    # of a product inside autocast is that of torch's own rules
    if torch.compiler.is_compiling() or torch.is_autocast_enabled(x.device.type):
        y = torch.bmm(x, weight)
        return y if scale == 1 else y * scale
    y: Any = _Partial.apply("g", x, weight, None, scale, rows_first)
    return y


class _Partial(torch.autograd.Function):
    """The derivative of scale sum(g * x W) by the factor `wanted`, one of "x", "w" and "g"."""

    generate_vmap_rule = True

    @staticmethod
    def forward(wanted: str, x: Any, w: Any, g: Any, scale: float, rows_first: bool) -> Tensor:
        if wanted == "g":
            a, b = x, w
        elif wanted == "x":
            a, b = g, w.mT
        else:
            a, b = x.mT, g
        # derivatives may be taken inside autocast, which would give them another type
        with torch.autocast(a.device.type, enabled=False):
            if rows_first and wanted == "g" and not (transformed() or vectorised(a, b)):
                y = a.new_empty(a.size(1), a.size(0), b.size(2)).transpose(0, 1)
                return torch.baddbmm(y, a, b, beta=0, alpha=scale, out=y)
            if scale == 1:
                return torch.bmm(a, b)
            return torch.baddbmm(a.new_empty(()), a, b, beta=0, alpha=scale)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.wanted, *factors, ctx.scale, ctx.rows_first = inputs
        ctx.tensors = [n for n, v in enumerate(inputs) if isinstance(v, Tensor)]
        ctx.save_for_backward(*factors)
        ctx.save_for_forward(*factors)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        needed = asked(ctx, ctx.tensors)
        parts = (
            _replaced(ctx, name, ctx.wanted, grads[0]) if needed.get(n) else None
            for n, name in enumerate("xwg", 1)
        )
        return None, *parts, None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        refuse_two_forward_modes()
        parts = [
            _replaced(ctx, ctx.wanted, name, tangent)
            for name, tangent in zip("xwg", tangents[1:4], strict=True)
            if tangent is not None and name != ctx.wanted
        ]
        return sum(parts[1:], parts[0])


def _replaced(ctx: Any, wanted: str, name: str, value: Tensor) -> Tensor:
    """The derivative by `wanted`, with `value` in the place of the factor `name`."""
    factors = dict(zip("xwg", ctx.saved_tensors, strict=True)) | {name: value, wanted: None}
    return _Partial.apply(wanted, *factors.values(), ctx.scale, ctx.rows_first)
