"""The symmetric GRU, and a level of a reduction tree with it, whose derivative is written out.

On a GPU a level runs as two kernels forward and two backward (`symmetric_gru_triton`), beside three
batched matrix products; else in plain torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual
from torch.nn.functional import linear

from geqlib.graph.functional import transformed, vectorised
from geqlib.kernels.selection import fused


def symmetric_gru(a: Tensor, b: Tensor, even: Tensor, odd: Tensor, bias: Tensor) -> Tensor:
    """(GRU(a, b) + GRU(b, a)) / 2, with what the gates see of a + b and of a - b.

    Args:
        a, b: [..., C].
        even, odd: [4 C, C] applied to a + b and to a - b: reset gate, update gate, and shares of
            the input and of the state in the candidate.
        bias: [4 C].
    """
    s = linear(a + b, even, bias).to(a.dtype)
    d = linear(a - b, odd).to(a.dtype)
    return (_gated(s + d, b) + _gated(s - d, a)) / 2


def _gated(gates: Tensor, state: Tensor) -> Tensor:
    """The GRU's (1 - z) tanh(W_in x + r W_hn h) + z h."""
    reset, update, of_input, of_state = gates.chunk(4, -1)
    candidate = torch.addcmul(of_input, reset.sigmoid(), of_state).tanh()
    return torch.lerp(candidate, state, update.sigmoid())


@dataclass(frozen=True)
class SymmetricGRU:
    """`symmetric_gru` with its weights.

    Args:
        weight: [2, 4 C, C], even and odd.
        bias: [4 C] of the even half.
    """

    weight: Tensor
    bias: Tensor

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        even, odd = self.weight.unbind()
        return symmetric_gru(a, b, even, odd, self.bias)

    def level(self, x: Tensor, order: Tensor, pairs: int, waiting: int) -> tuple[Tensor, Tensor]:
        """The products of pairs, followed by what waits, and what is finished.

        Args:
            x: [members, ..., C].
            order: [members] left partners, right partners, waiting and finished members.
            pairs, waiting: how many.
        """
        tensors = x, self.weight, self.bias
        arguments: Any = *tensors, order, pairs, waiting
        if torch.compiler.is_compiling() or transformed() or _forward_mode(*tensors):
            return plain_level(*arguments)
        on_device = fused("symmetric_gru", *tensors)
        needed = torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
        if not (on_device or needed):
            return plain_level(*arguments)
        result: Any = _Level.apply(*arguments, self._biases, on_device)
        return result

    @cached_property
    def _biases(self) -> Tensor:
        """[2, 1, 4 C] the bias of both halves, 0 for the odd one, of which none takes derivatives.

        With it, one batched product makes both halves.
        """
        bias = self.bias.detach()
        return torch.stack([bias, torch.zeros_like(bias)]).unsqueeze(1)


def plain_level(
    x: Tensor, weight: Tensor, bias: Tensor, order: Tensor, pairs: int, waiting: int
) -> tuple[Tensor, Tensor]:
    """`SymmetricGRU.level` by operations that torch differentiates."""
    sizes = pairs, pairs, waiting, order.size(0) - 2 * pairs - waiting
    left, right, alone, done = x.index_select(0, order).split(sizes)
    return torch.cat([SymmetricGRU(weight, bias)(left, right), alone]), done


class _Level(torch.autograd.Function):
    """A level that keeps the gates; of gradients with a graph, the plain one's are taken.

    With s, d = b + a, b - a for the partners a and b, and S, D = W s, W d, the gates are S + D for
    GRU(b, a), whose state is a, and S - D for GRU(a, b).
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        order: Tensor,
        pairs: int,
        waiting: int,
        biases: Tensor,
        on_device: bool,
    ) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.sizes = pairs, waiting
        if on_device:
            from geqlib.kernels.symmetric_gru_triton import gates, sums

            values = sums(x, order, pairs)
            products = torch.baddbmm(biases, values, weight.mT)
            new, done = gates(products, x, order, pairs, waiting)
            rest = products, values
        else:
            new, done, *rest = _plain_forward(x, weight, biases, order, pairs, waiting)
        ctx.save_for_backward(x, weight, bias, order, *rest)
        return new, done

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        x, weight, bias, order, *rest = ctx.saved_tensors
        if torch.is_grad_enabled() or vectorised(*grads):
            results = _with_graph((x, weight, bias), grads, order, *ctx.sizes)
        elif len(rest) == 2:
            from geqlib.kernels.symmetric_gru_triton import gradients

            results = gradients(grads, x, weight, order, *rest, *ctx.sizes)
        else:
            results = _plain_backward(grads, x, weight, order, *rest, *ctx.sizes)
        return *results, *[None] * 5


def _plain_forward(
    x: Tensor, weight: Tensor, biases: Tensor, order: Tensor, pairs: int, waiting: int
) -> tuple[Tensor, ...]:
    """New members, finished ones; gates [2, P, 4 C], s and d, and both partners, [2, P, C] each."""
    channels, rows = x.size(-1), 2 * pairs
    members = x.index_select(0, order)
    partners = members[:rows].reshape(2, -1, channels)
    values = torch.empty_like(partners)
    torch.add(*partners, out=values[0])
    torch.sub(partners[1], partners[0], out=values[1])
    even, odd = torch.baddbmm(biases, values, weight.mT).to(x.dtype)
    gates = x.new_empty(2, *even.shape)
    torch.add(even, odd, out=gates[0])
    torch.sub(even, odd, out=gates[1])
    gates[..., : 2 * channels].sigmoid_()
    reset, update, candidate, of_state = gates.chunk(4, -1)
    candidate.addcmul_(reset, of_state).tanh_()
    new = x.new_empty(pairs + waiting, *x.shape[1:])
    both = torch.lerp(candidate, partners, update)
    torch.add(*both, out=new[:pairs].view(-1, channels)).div_(2)
    if waiting:
        new[pairs:] = members[rows : rows + waiting]
    return new, members[rows + waiting :], gates, values, partners


def _plain_backward(
    grads: Any,
    x: Tensor,
    weight: Tensor,
    order: Tensor,
    gates: Tensor,
    values: Tensor,
    partners: Tensor,
    pairs: int,
    waiting: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Derivatives by x, weight and bias."""
    channels = x.size(-1)
    by_new, by_done = grads
    if by_new is None:
        by_new = x.new_zeros(pairs + waiting, *x.shape[1:])
    reset, update, candidate, of_state = gates.chunk(4, -1)
    slope = torch.empty_like(gates)
    by_reset, by_update, by_input, by_state = slope.chunk(4, -1)
    half = by_new[:pairs].reshape(1, -1, channels) / 2
    by_partners = update * half
    torch.mul(partners - candidate, half, out=by_update)
    torch.ops.aten.tanh_backward.grad_input(half - by_partners, candidate, grad_input=by_input)
    torch.mul(by_input, reset, out=by_state)
    torch.mul(by_input, of_state, out=by_reset)
    both = slope[..., : 2 * channels]
    torch.ops.aten.sigmoid_backward.grad_input(both, gates[..., : 2 * channels], grad_input=both)
    by_products = torch.empty_like(slope)
    torch.add(*slope, out=by_products[0])
    torch.sub(*slope, out=by_products[1])
    by_bias = by_products[0].sum(0)
    by_weight = torch.bmm(by_products.mT, values)
    even, odd = torch.bmm(by_products, weight.to(x.dtype))
    by_partners += even
    by_partners[0] -= odd
    by_partners[1] += odd
    parts = [by_partners.view(2 * pairs, *x.shape[1:]), by_new[pairs:]]
    finished = x.size(0) - 2 * pairs - waiting
    if finished:
        parts.append(x.new_zeros(finished, *x.shape[1:]) if by_done is None else by_done)
    rows = torch.cat(parts) if finished or waiting else parts[0]
    return torch.zeros_like(x).index_add_(0, order, rows), by_weight, by_bias


def _with_graph(
    inputs: tuple[Tensor, ...], grads: Any, order: Tensor, pairs: int, waiting: int
) -> list[Tensor | None]:
    """The same by torch: for derivatives of derivatives, and for several gradients at once."""
    graph = torch.is_grad_enabled()
    with torch.enable_grad():
        # of other graph nodes than the inputs', which may depend on each other
        inputs = tuple(t.view_as(t) for t in inputs)
        x, weight, bias = inputs
        outputs = plain_level(x, weight, bias, order, pairs, waiting)
    pairs_of = [(y, g) for y, g in zip(outputs, grads, strict=True) if g is not None]
    needed = [t for t in inputs if t.requires_grad]
    if not pairs_of or not needed:
        return [None] * len(inputs)
    ys, gs = zip(*pairs_of, strict=True)
    results = iter(torch.autograd.grad(ys, needed, gs, create_graph=graph, allow_unused=True))
    return [next(results) if t.requires_grad else None for t in inputs]


def _forward_mode(*tensors: Tensor) -> bool:
    return any(unpack_dual(t).tangent is not None for t in tensors)
