"""Sums of products over the edges of a graph, without a tensor of messages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

CACHE = 2**16  # numbers, 256 KiB in float32: what stays in a core's cache between three operations


def gather_scatter(kernel: Tensor, x: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """y[target[e]] += kernel[e] * x[source[e]], channel by channel.

    Keeps neither messages nor gathered features. The form sum_e g[target] kernel x[source] is
    linear in each of its three arguments, so every derivative, to any order, is this function or
    its partner k[e] = a[first[e]] * b[second[e]] again.

    Args:
        kernel: [R, ...] one row an edge.
        x: [N, ...] features of nodes, rows as in `kernel`.
        source, target: [R] nodes.

    Returns:
        [N, ...].

    Example:
        >>> kernel, x = torch.tensor([[2.0], [3.0]]), torch.tensor([[1.0], [10.0]])
        >>> gather_scatter(kernel, x, torch.tensor([0, 1]), torch.tensor([1, 1])).tolist()
        [[0.0], [32.0]]
    """
    # compiled code would lose the second derivatives of a custom function, without a word
    if torch.compiler.is_compiling():
        return _GatherScatter.forward(kernel, x, source, target)
    return _GatherScatter.apply(kernel, x, source, target)


class _GatherScatter(torch.autograd.Function):
    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def forward(kernel: Tensor, x: Tensor, source: Tensor, target: Tensor) -> Tensor:
        rows, wide = kernel.flatten(1), x.flatten(1)  # gathering from matrices is faster
        y = torch.zeros_like(wide)
        for part in _parts(rows):
            message = wide.index_select(0, source[part]).mul_(rows[part])
            y.index_add_(0, target[part], message)
        return y.view(x.shape)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        kernel, x, source, target = ctx.saved_tensors
        need_kernel, need_x = ctx.needs_input_grad[:2]
        kernel_grad = _GatherProduct.apply(grads[0], x, target, source) if need_kernel else None
        x_grad = _GatherScatter.apply(kernel, grads[0], target, source) if need_x else None
        return kernel_grad, x_grad, None, None


class _GatherProduct(torch.autograd.Function):
    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def forward(a: Tensor, b: Tensor, first: Tensor, second: Tensor) -> Tensor:
        left, right = a.flatten(1), b.flatten(1)
        product = left.index_select(0, first)
        for part in _parts(product):
            product[part].mul_(right.index_select(0, second[part]))
        return product.view(-1, *a.shape[1:])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        a, b, first, second = ctx.saved_tensors
        need_a, need_b = ctx.needs_input_grad[:2]
        a_grad = _GatherScatter.apply(grads[0], b, second, first) if need_a else None
        b_grad = _GatherScatter.apply(grads[0], a, first, second) if need_b else None
        return a_grad, b_grad, None, None


def _parts(rows: Tensor) -> Iterator[slice]:
    """Runs of rows that fit into the cache; all at once for the compiler and on a GPU."""
    if torch.compiler.is_compiling() or rows.device.type != "cpu":
        yield slice(None)
        return
    step = max(CACHE // max(rows.size(1), 1), 1)
    for start in range(0, rows.size(0), step):
        yield slice(start, start + step)
