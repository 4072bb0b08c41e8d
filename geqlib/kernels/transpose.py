"""A matrix, transposed in memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from geqlib.graph.functional import transformed, vectorised


def transposed(x: Tensor, scale: float = 1.0) -> Tensor:
    """scale x^T of a matrix, in one piece of memory; so are its derivatives.

    With plain operations the gradient is a view with exchanged strides, which the next matrix
    product copies element by element.

    Example:
        >>> import torch
        >>> transposed(torch.ones(2, 3)).stride()
        (2, 1)
    """
    # compiled code would lose the second derivatives of a custom function, silently
    compute = _Transposed.forward if torch.compiler.is_compiling() else _Transposed.apply
    return compute(x, scale)


class _Transposed(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, scale: float) -> Tensor:
        if scale == 1:
            return x.t().contiguous()
        if torch.compiler.is_compiling() or transformed() or vectorised(x):
            return (x.t() * scale).contiguous()
        return torch.mul(x.t(), scale, out=x.new_empty(x.size(1), x.size(0)))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.scale = inputs[1]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return transposed(grads[0], ctx.scale), None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        return transposed(tangents[0], ctx.scale)
