"""Offsets along edges, with derivatives of three operations at every order."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from geqlib.graph.functional import refuse_two_forward_modes


def offsets(pos: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """pos[source] - pos[target].

    A linear map, whose transposed map adds to both ends of each edge in one tensor.

    Args:
        pos: [N, d].
        source, target: [R].

    Example:
        >>> offsets(torch.tensor([[0.0], [3.0]]), torch.tensor([1]), torch.tensor([0])).tolist()
        [[3.0]]
    """
    # compiled code would lose the second derivatives of a custom function, silently
    compute = _Offsets.forward if torch.compiler.is_compiling() else _Offsets.apply
    return compute(pos, source, target)


class _Offsets(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(pos: Tensor, source: Tensor, target: Tensor) -> Tensor:
        return pos.index_select(0, source) - pos.index_select(0, target)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pos, *ends = inputs
        ctx.num_nodes = pos.size(0)
        ctx.save_for_backward(*ends)
        ctx.save_for_forward(*ends)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return _Transposed.apply(*grads, *ctx.saved_tensors, ctx.num_nodes), None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        refuse_two_forward_modes()
        return _Offsets.apply(tangents[0], *ctx.saved_tensors)


class _Transposed(torch.autograd.Function):
    """The sum of values at sources less those at targets."""

    generate_vmap_rule = True

    @staticmethod
    def forward(value: Tensor, source: Tensor, target: Tensor, num_nodes: int) -> Tensor:
        total = value.new_zeros(num_nodes, value.size(1))
        return total.index_add_(0, source, value).index_add_(0, target, value, alpha=-1)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        _, source, target, ctx.num_nodes = inputs
        ctx.save_for_backward(source, target)
        ctx.save_for_forward(source, target)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return _Offsets.apply(*grads, *ctx.saved_tensors), None, None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        refuse_two_forward_modes()
        return _Transposed.apply(tangents[0], *ctx.saved_tensors, ctx.num_nodes)
