"""Trading a cheap elementwise function in the backward pass for the memory of its values."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import gelu, linear


def gelu_linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """linear(gelu(x), weight, bias), which keeps x for the derivatives, but not gelu(x).

    In a ConvNeXt block the hidden features are four times as wide as the others, so they
    are most of what the block would keep.

    Args:
        x: [..., C].
        weight: [D, C].
        bias: [D].

    Returns:
        [..., D].

    Example:
        >>> x, w, b = torch.randn(5, 4), torch.randn(2, 4), torch.randn(2)
        >>> torch.allclose(gelu_linear(x, w, b), linear(gelu(x), w, b))
        True
    """
    # compiled code would lose the second derivatives of a custom function, without a word
    if torch.compiler.is_compiling():
        return linear(gelu(x), weight, bias)
    kind = x.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
    return _GeluLinear.apply(x.to(dtype), weight.to(dtype), bias.to(dtype))


class _GeluLinear(torch.autograd.Function):
    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return linear(gelu(x), weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        rows = grads[0].flatten(0, -2)
        # differentiable operations only, so that autograd makes the higher derivatives
        x_grad = torch.ops.aten.gelu_backward(grads[0] @ weight, x)
        return x_grad, rows.T @ gelu(x).flatten(0, -2), rows.sum(0)
