"""Lengths of vectors that may be zero."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from geqlib.graph.functional import refuse_two_forward_modes


def safe_length(v: Tensor) -> Tensor:
    """|v|, with derivative 0 where v is 0, to every order.

    Args:
        v: [..., d].

    Returns:
        [..., 1].

    Example:
        >>> safe_length(torch.tensor([[0.0, 0.0], [3.0, 4.0]])).flatten().tolist()
        [0.0, 5.0]
    """
    # compiled code would lose the second derivatives of a custom function, silently
    if torch.compiler.is_compiling():
        square = (v * v).sum(-1, keepdim=True)
        zero = square <= 0
        return square.masked_fill(zero, 1.0).sqrt().masked_fill(zero, 0.0)
    y: Any = _Length.apply(v)
    return y


class _Length(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(v: Tensor) -> Tensor:
        return torch.linalg.vector_norm(v, dim=-1, keepdim=True)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs, output)
        ctx.save_for_forward(*inputs, output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return grads[0] * _direction(*ctx.saved_tensors)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        refuse_two_forward_modes()
        return (tangents[0] * _direction(*ctx.saved_tensors)).sum(-1, keepdim=True)


def _direction(v: Tensor, length: Tensor) -> Tensor:
    zero = length <= 0
    return v * length.masked_fill(zero, 1.0).reciprocal().masked_fill(zero, 0.0)
