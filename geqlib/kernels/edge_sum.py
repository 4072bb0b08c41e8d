"""Sums over edges in pieces that fit into the cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

PIECE = 2**19  # numbers of one message tensor that are alive at once


def edge_sum(
    message: Callable[..., Tensor],
    features: Tensor,
    edges: tuple[Tensor, ...],
    source: Tensor,
    target: Tensor,
    *,
    size: int,
) -> Tensor:
    """y[target[e]] += message(features[source[e]], *edges[e]), which keeps its arguments only.

    Messages are made piece by piece, and again for the derivatives: the memory needed does not
    grow with the number of edges. Derivatives exist to any order.

    Args:
        message: (features [R, ..., F], rows of `edges`) to [R, M], row by row.
        features: [N, F] of nodes.
        edges: tensors [E, ...].
        source: [E, ...] nodes whose features a row needs.
        target: [E] nodes.
        size: numbers that a row needs in between, from which the length of pieces follows.

    Returns:
        [N, M].

    Example:
        >>> x, w = torch.tensor([[1.0], [10.0]]), torch.tensor([[2.0], [3.0]])
        >>> source, target = torch.tensor([0, 1]), torch.tensor([1, 1])
        >>> edge_sum(torch.mul, x, (w,), source, target, size=1).tolist()
        [[0.0], [32.0]]
    """
    # compiled code would lose the second derivatives of a custom function, without a word
    if torch.compiler.is_compiling():
        return _all_at_once(message, features, edges, source, target)
    step = max(PIECE // max(size, 1), 1)
    return _EdgeSum.apply(message, step, source, target, features, *edges)


def _all_at_once(
    message: Callable[..., Tensor],
    features: Tensor,
    edges: tuple[Tensor, ...],
    source: Tensor,
    target: Tensor,
) -> Tensor:
    found = message(_near(features, source), *edges)
    return found.new_zeros(features.size(0), found.size(1)).index_add(0, target, found)


def _near(features: Tensor, source: Tensor) -> Tensor:
    return features.index_select(0, source.flatten()).view(*source.shape, features.size(1))


class _EdgeSum(torch.autograd.Function):
    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.message, ctx.step, *tensors = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def forward(
        message: Callable[..., Tensor],
        step: int,
        source: Tensor,
        target: Tensor,
        features: Tensor,
        *edges: Tensor,
    ) -> Tensor:
        total: Tensor | None = None
        # one empty piece tells the shape where there are no edges
        for start in range(0, max(len(target), 1), step):
            piece = slice(start, start + step)
            found = message(_near(features, source[piece]), *(e[piece] for e in edges))
            if total is None:
                total = found.new_zeros(features.size(0), found.size(1))
            total.index_add_(0, target[piece], found)
        return features if total is None else total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        source, target, *tensors = ctx.saved_tensors
        needed = ctx.needs_input_grad[4:]
        if torch.is_grad_enabled():
            found = _differentiable(ctx.message, source, target, tensors, needed, grads[0])
        else:
            found = _piecewise(ctx.message, ctx.step, source, target, tensors, needed, grads[0])
        return None, None, None, None, *found


def _differentiable(
    message: Callable[..., Tensor],
    source: Tensor,
    target: Tensor,
    tensors: list[Tensor],
    needed: tuple[bool, ...],
    gradient: Tensor,
) -> list[Tensor | None]:
    """Gradients whose own derivatives are wanted: autograd sees every operation."""
    features, *edges = tensors
    y = _all_at_once(message, features, tuple(edges), source, target)
    wanted = [t for t, need in zip(tensors, needed, strict=True) if need]
    found = iter(
        torch.autograd.grad(y, wanted, gradient, create_graph=True, materialize_grads=True)
    )
    return [next(found) if need else None for need in needed]


def _piecewise(
    message: Callable[..., Tensor],
    step: int,
    source: Tensor,
    target: Tensor,
    tensors: list[Tensor],
    needed: tuple[bool, ...],
    gradient: Tensor,
) -> list[Tensor | None]:
    totals = [
        torch.zeros_like(t) if need else None for t, need in zip(tensors, needed, strict=True)
    ]
    for start in range(0, len(target), step):
        piece = slice(start, start + step)
        near = _near(tensors[0], source[piece])
        rows = [
            t.detach().requires_grad_(n)
            for t, n in zip([near, *(e[piece] for e in tensors[1:])], needed, strict=True)
        ]
        with torch.enable_grad():
            found = message(*rows)
        wanted = [row for row in rows if row.requires_grad]
        slopes = iter(
            torch.autograd.grad(
                found, wanted, gradient.index_select(0, target[piece]), materialize_grads=True
            )
        )
        for place, total in enumerate(totals):
            if total is None:
                continue
            slope = next(slopes)
            if place == 0:
                total.index_add_(0, source[piece].flatten(), slope.flatten(0, -2))
            else:
                total[piece] = slope
    return totals
