"""x sigmoid(x), with derivatives for networks that are differentiated twice."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from geqlib.graph.functional import refuse_two_forward_modes


class SiLU(nn.Module):
    """`torch.nn.SiLU` for networks of which derivatives are trained, as forces are.

    The same function. torch takes its derivative apart into seven operations where it may be
    differentiated again, and theirs into twenty; here the first is one.

    Example:
        >>> SiLU()(torch.zeros(2)).tolist()
        [0.0, 0.0]
    """

    def forward(self, x: Tensor) -> Tensor:
        # compiled code would lose the second derivatives of a custom function, silently
        if torch.compiler.is_compiling():
            return nn.functional.silu(x)
        y: Any = _Value.apply(x)
        return y


class _Value(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return nn.functional.silu(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return _Slope.apply(grads[0], *ctx.saved_tensors)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        refuse_two_forward_modes()
        return _Slope.apply(tangents[0], *ctx.saved_tensors)


class _Slope(torch.autograd.Function):
    """g f'(x)."""

    generate_vmap_rule = True

    @staticmethod
    def forward(g: Tensor, x: Tensor) -> Tensor:
        return torch.ops.aten.silu_backward(g, x)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        g, x = ctx.saved_tensors
        by_g = _Slope.apply(grads[0], x) if ctx.needs_input_grad[0] else None
        by_x = _times_curvature(grads[0] * g, x) if ctx.needs_input_grad[1] else None
        return by_g, by_x

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        refuse_two_forward_modes()
        (g, x), (dg, dx) = ctx.saved_tensors, tangents
        by_g = 0 if dg is None else _Slope.apply(dg, x)
        return by_g if dx is None else by_g + _times_curvature(dx * g, x)


def _times_curvature(g: Tensor, x: Tensor) -> Tensor:
    """g f''(x), f'' = s (1 - s) (2 + x - 2 s x), s = sigmoid(x)."""
    s = x.sigmoid()
    return torch.ops.aten.sigmoid_backward(g, s) * torch.addcmul(x + 2, x, s, value=-2)
