"""Functions whose derivatives are linear maps of the functions themselves, such as harmonics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from geqlib.graph.functional import refuse_two_forward_modes


def closed_functions(v: Tensor, functions: Callable[[Tensor], Tensor], slopes: Tensor) -> Tensor:
    """f(v), for functions with df_a/dv_i = sum_b slopes[a, i, b] f_b.

    The same as functions(v), but its derivatives take two operations each, at any order.

    Args:
        v: [R, d].
        functions: from [R, d] to [R, A].
        slopes: [A, d, A].
    """
    # compiled code would lose the second derivatives of a custom function, silently
    if torch.compiler.is_compiling():
        return functions(v)
    y: Any = _Closed.apply(v, slopes, functions)
    return y


class _Closed(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(v: Tensor, slopes: Tensor, functions: Any) -> Tensor:
        return functions(v)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        _, slopes, _ = inputs
        ctx.save_for_backward(slopes, output)
        ctx.save_for_forward(slopes, output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        slopes, f = ctx.saved_tensors
        rows = (grads[0] @ slopes.flatten(1)).view(-1, *slopes.shape[1:])
        return torch.bmm(rows, f.unsqueeze(2)).squeeze(2), None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> Any:
        refuse_two_forward_modes()
        slopes, f = ctx.saved_tensors
        columns = torch.einsum("aib,rb->rai", slopes, f)
        return torch.bmm(columns, tangent.unsqueeze(2)).squeeze(2)
