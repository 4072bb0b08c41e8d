"""Sums of two-layer messages over the edges of a graph, in all frames at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear, silu

PIECE = 2**17  # numbers of one tensor of messages, 512 KiB in float32: about a core's cache


def frame_edges(
    own: Tensor,
    other: Tensor,
    edge: Tensor,
    signs: Tensor,
    weight: Tensor,
    bias: Tensor,
    source: Tensor,
    target: Tensor,
) -> Tensor:
    """y_si = sum over edges e from j to i of  silu(W silu(z_se) + b)  in every frame s, where

    z_se = signs_sd edge_e + sum over k < d of  signs_sk (own_ki + other_kj).

    On a CPU edges are taken in pieces. Derivatives exist to any order.

    Args:
        own, other: [d, M, C] of nodes along each axis.
        edge: [L, C] of edges, the same in all frames.
        signs: [S, d + 1], constants: of each axis in each frame, and of what all frames see alike.
        weight, bias: W [C, C] and b [C].
        source, target: [L] nodes.

    Returns:
        [S, M, C].

    Example:
        >>> x, w, b = torch.ones(1, 2, 1), torch.ones(1, 1), torch.zeros(1)
        >>> signs = torch.tensor([[1.0, 1.0], [-1.0, 1.0]])
        >>> one_way = torch.tensor([0]), torch.tensor([1])
        >>> frame_edges(x, x, torch.zeros(1, 1), signs, w, b, *one_way).shape
        torch.Size([2, 2, 1])
    """
    tensors = own, other, edge, signs, weight, bias
    # compiled code would lose the second derivatives of a custom function, without a word
    if torch.compiler.is_compiling() or own.device.type != "cpu":
        return _all_at_once(*tensors, source, target)
    kind = own.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else own.dtype
    return _FrameEdges.apply(*(x.to(dtype) for x in tensors), source, target)


def _all_at_once(
    own: Tensor,
    other: Tensor,
    edge: Tensor,
    signs: Tensor,
    weight: Tensor,
    bias: Tensor,
    source: Tensor,
    target: Tensor,
) -> Tensor:
    first = (signs @ _seen(own, other, edge, source, target)).view(-1, own.size(2))
    message = silu(linear(silu(first), weight, bias))
    total = message.new_zeros(len(signs) * own.size(1), own.size(2))
    total = total.index_add(0, _rows(target, len(signs), own.size(1)).flatten(), message)
    return total.view(len(signs), *own.shape[1:])


def _seen(own: Tensor, other: Tensor, edge: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """[d + 1, L C] of edges: axes are combined after they are gathered, because they are fewer."""
    pair = own.index_select(1, target) + other.index_select(1, source)
    return torch.cat([pair, edge[None]]).flatten(1)


def _rows(index: Tensor, layers: int, size: int) -> Tensor:
    """[layers, L] an index of rows in each of several layers of `size` rows."""
    return size * torch.arange(layers, device=index.device)[:, None] + index


class _FrameEdges(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> Tensor:  # type: ignore[override]
        own, other, edge, signs, weight, bias, source, target = inputs
        frames, nodes, channels = len(signs), *own.shape[1:]
        seen = _seen(own.contiguous(), other.contiguous(), edge, source, target)
        total, to = own.new_zeros(frames * nodes, channels), _rows(target, frames, nodes)
        # in one tensor, for the system is slow to take back and give out many
        kept = own.new_empty(3, frames * len(target), channels)
        for part, columns, rows in _parts(target, frames, channels):
            first, hidden, second = kept[:, rows]
            torch.mm(signs, seen[:, columns], out=first.view(frames, -1))
            torch.ops.aten.silu.out(first, out=hidden)
            torch.addmm(bias, hidden, weight.T, out=second)
            total.index_add_(0, to[:, part].flatten(), silu(second))
        ctx.save_for_backward(*inputs, kept)
        return total.view(frames, nodes, channels)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        *inputs, kept = ctx.saved_tensors
        if torch.is_grad_enabled():
            found = _differentiable(inputs, ctx.needs_input_grad, grads[0])
        else:
            found = _in_parts(inputs, kept, grads[0])
        return *found, None, None


def _differentiable(
    inputs: list[Tensor], needed: tuple[bool, ...], gradient: Tensor
) -> list[Tensor | None]:
    """Gradients whose own derivatives are wanted: autograd sees every operation."""
    y = _all_at_once(*inputs)
    wanted = [x for x, need in zip(inputs, needed, strict=True) if need]
    found = iter(
        torch.autograd.grad(y, wanted, gradient, create_graph=True, materialize_grads=True)
    )
    return [next(found) if need else None for need in needed[:6]]


def _in_parts(inputs: list[Tensor], kept: Tensor, gradient: Tensor) -> list[Tensor | None]:
    own, _, edge, signs, weight, bias, source, target = inputs
    axes, nodes, channels = own.shape
    to_seen = edge.new_empty(axes + 1, edge.numel())
    to_weight, to_bias = torch.zeros_like(weight), torch.zeros_like(bias)
    for part, columns, rows in _parts(target, len(signs), channels):
        first, hidden, second = kept[:, rows]
        slope = gradient.index_select(1, target[part]).view(-1, channels)
        slope = torch.ops.aten.silu_backward(slope, second)
        to_weight.addmm_(slope.T, hidden)
        to_bias += slope.sum(0)
        slope = torch.ops.aten.silu_backward(slope @ weight, first)
        torch.mm(signs.T, slope.view(len(signs), -1), out=to_seen[:, columns])
    to_pair, found = to_seen[:-1].view(-1, channels), []
    for index in (target, source):
        total = own.new_zeros(axes * nodes, channels)
        found.append(total.index_add_(0, _rows(index, axes, nodes).flatten(), to_pair))
    to_own, to_other = (x.view(own.shape) for x in found)
    return [to_own, to_other, to_seen[-1].view(edge.shape), None, to_weight, to_bias]


def _parts(target: Tensor, frames: int, channels: int) -> Iterator[tuple[slice, slice, slice]]:
    """Runs of edges whose messages fit into the cache; their numbers and rows in all frames."""
    step = max(PIECE // max(frames * channels, 1), 1)
    for start in range(0, len(target), step):
        stop = min(start + step, len(target))
        yield tuple(slice(k * start, k * stop) for k in (1, channels, frames))  # type: ignore[misc]
