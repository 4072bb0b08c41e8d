"""Lengths and directions of vectors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from geqlib.graph.functional import asked, refuse_two_forward_modes


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
        return _Slope.apply(*grads, *ctx.saved_tensors), None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: Any) -> Any:
        refuse_two_forward_modes()
        return _along(tangent, *ctx.saved_tensors)


class _Slope(torch.autograd.Function):
    """The derivative by v, from those by the length d and the direction u."""

    generate_vmap_rule = True

    @staticmethod
    def forward(by_length: Tensor, by_direction: Tensor, d: Tensor, u: Tensor) -> Tensor:
        across = torch.addcmul((by_direction * u).sum(1), by_length, d, value=-1)
        return torch.addcmul(by_direction, u, across.unsqueeze(1), value=-1) / d.unsqueeze(1)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (by_length, by_direction, d, u), w = ctx.saved_tensors, grads[0]
        needed, by_d, by_u = asked(ctx, range(4)), None, None
        along, across = _along(w, d, u)
        if needed[2]:
            slope = _Slope.apply(by_length, by_direction, d, u)
            by_d = (along * by_length - (w * slope).sum(1)) / d
        if needed[3]:
            share = by_length * d - (by_direction * u).sum(1)
            by_u = w * share.unsqueeze(1) - by_direction * along.unsqueeze(1)
            by_u = by_u / d.unsqueeze(1)
        return along, across, by_d, by_u

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        refuse_two_forward_modes()
        saved = ctx.saved_tensors
        t_length, t_direction, t_d, t_u = (
            torch.zeros_like(x) if t is None else t for t, x in zip(tangents, saved, strict=True)
        )
        by_length, by_direction, d, u = saved
        share = by_length * d - (by_direction * u).sum(1)
        change = u * (by_length * t_d - (by_direction * t_u).sum(1)).unsqueeze(1)
        change = change + t_u * share.unsqueeze(1) - _Slope.apply(*saved) * t_d.unsqueeze(1)
        return _Slope.apply(t_length, t_direction, d, u) + change / d.unsqueeze(1)


def _along(w: Tensor, d: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """How length and direction change if v moves by w."""
    along = (w * u).sum(1)
    return along, torch.addcmul(w, u, along.unsqueeze(1), value=-1) / d.unsqueeze(1)
