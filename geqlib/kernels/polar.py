"""Lengths and directions of vectors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from geqlib.graph.functional import refuse_two_forward_modes


def length_and_direction(v: Tensor, softening: float) -> tuple[Tensor, Tensor]:
    """d = (|v|^2 + softening^2)^(1/2) and v / d, which are smooth also at v = 0.

    Their derivatives are v / d and (1 - (v / d) (v / d)^T) / d, functions of the results.

    Args:
        v: [R, 3].
        softening: positive, in the units of v.

    Returns:
        [R] and [R, 3].

    Example:
        >>> length_and_direction(torch.tensor([[0.0, 0.0, 2.0]]), 1e-6)
        (tensor([2.]), tensor([[0., 0., 1.]]))
    """
    # compiled code would lose the second derivatives of a custom function, silently
    compute = _Polar.forward if torch.compiler.is_compiling() else _Polar.apply
    length, direction = compute(v, softening)
    return length, direction


class _Polar(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(v: Tensor, softening: float) -> tuple[Tensor, Tensor]:
        length = torch.linalg.vector_norm(pad(v, (0, 1), value=softening), dim=1)
        return length, v / length.unsqueeze(1)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*output)
        ctx.save_for_forward(*output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (d, u), (by_length, by_direction) = ctx.saved_tensors, grads
        along = by_length * d - (by_direction * u).sum(1)
        return torch.addcmul(by_direction, u, along.unsqueeze(1)) / d.unsqueeze(1), None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: Any) -> Any:
        refuse_two_forward_modes()
        d, u = ctx.saved_tensors
        along = (tangent * u).sum(1)
        return along, (tangent - u * along.unsqueeze(1)) / d.unsqueeze(1)
