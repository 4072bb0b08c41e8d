"""The two orders of a GRU cell at once: the formula, and a form of it that stays in the cache."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from geqlib.gaunt.scratch import Scratch

# of the fused form: some rows of both orders' gates fit into a core's second-level cache
BLOCK = 512
FEW = 128  # rows for which that does not pay


def symmetric_gru(
    a: Tensor, b: Tensor, of_sum: Tensor, of_difference: Tensor, bias: Tensor
) -> Tensor:
    """(GRU(a, b) + GRU(b, a)) / 2 by products of s = a + b and d = a - b.

    The gates of GRU(a, b) are E s + O d + bias and those of its mirror image E s - O d + bias. On
    CPUs a fused form works block by block, and keeps the gates alone for its derivative; the
    formula is for few rows, for second derivatives, for autocast and for compilers.

    Args:
        a: [..., C].
        b: [..., C].
        of_sum: E [4 C, C]: rows of the reset gate, the update gate, the news and the kept state.
        of_difference: O [4 C, C].
        bias: [4 C].

    Returns:
        [..., C].
    """
    cpu = a.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
    if cpu and a.numel() >= FEW * a.size(-1) and not torch.compiler.is_compiling():
        return _Fused.apply(a, b, of_sum, of_difference, bias)[0]
    return plain_symmetric_gru(a, b, of_sum, of_difference, bias)


def plain_symmetric_gru(
    a: Tensor, b: Tensor, of_sum: Tensor, of_difference: Tensor, bias: Tensor
) -> Tensor:
    """The formula of `symmetric_gru`."""
    even = linear(a + b, of_sum, bias).to(a.dtype)
    odd = linear(a - b, of_difference).to(a.dtype)
    # chunks that are used once each: their derivatives are joined by one concatenation
    reset, update, news, kept = (even + odd).chunk(4, -1)
    reset_, update_, news_, kept_ = (even - odd).chunk(4, -1)
    return (_gru(reset, update, news, kept_, b) + _gru(reset_, update_, news_, kept, a)) / 2


def _gru(reset: Tensor, update: Tensor, news: Tensor, kept: Tensor, state: Tensor) -> Tensor:
    """(1 - z) n + z h, from products W_i x of this order and, for W_h h, of the other order."""
    return torch.lerp(torch.addcmul(news, reset.sigmoid(), kept).tanh(), state, update.sigmoid())


class _Fused(torch.autograd.Function):
    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(*inputs, output[1])

    @staticmethod
    def forward(
        a: Tensor, b: Tensor, of_sum: Tensor, of_difference: Tensor, bias: Tensor
    ) -> tuple[Tensor, Tensor]:
        left, right = a.reshape(-1, a.size(-1)), b.reshape(-1, b.size(-1))
        out = torch.empty_like(left)
        gates = a.new_empty(2, len(left), len(bias))
        new = Scratch(a)
        for x, y, z, p, q in zip(*map(_blocks, (left, right, out, *gates)), strict=True):
            new.clear()
            even = torch.addmm(bias, torch.add(x, y, out=z), of_sum.T, out=new(*p.shape))
            odd = torch.mm(torch.sub(x, y, out=z), of_difference.T, out=new(*p.shape))
            reset, update, news, kept = torch.add(even, odd, out=p).chunk(4, 1)
            reset_, update_, news_, kept_ = torch.sub(even, odd, out=q).chunk(4, 1)
            _tanh(news.addcmul_(reset.sigmoid_(), kept_))
            _tanh(news_.addcmul_(reset_.sigmoid_(), kept))
            torch.lerp(news, y, update.sigmoid_(), out=z)
            z.add_(torch.lerp(news_, x, update_.sigmoid_(), out=new(*x.shape))).mul_(0.5)
        return out.view(a.shape), gates

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        *inputs, gates = ctx.saved_tensors
        if torch.is_grad_enabled():
            made = plain_symmetric_gru(*inputs)
            return torch.autograd.grad(made, inputs, grads[0], create_graph=True)
        a, b, of_sum, of_difference, _ = inputs
        return _derivatives(grads[0], a, b, of_sum, of_difference, gates)


def _blocks(x: Tensor) -> tuple[Tensor, ...]:
    return x.split(BLOCK)


def _tanh(x: Tensor) -> Tensor:
    # in a third of the time of tanh_, and as accurate beside 1
    return x.mul_(2).sigmoid_().mul_(2).sub_(1)


def _derivatives(
    grad: Tensor, a: Tensor, b: Tensor, of_sum: Tensor, of_difference: Tensor, gates: Tensor
) -> tuple[Tensor, ...]:
    left, right, halved = (x.reshape(-1, x.size(-1)) for x in (a, b, grad / 2))
    to_a, to_b = torch.empty_like(left), torch.empty_like(right)
    to_sum, to_difference = torch.zeros_like(of_sum), torch.zeros_like(of_difference)
    to_bias = grad.new_zeros(len(of_sum))
    new, ones = Scratch(a), grad.new_ones(BLOCK)
    rows = (left, right, halved, *gates, to_a, to_b)
    for x, y, g, p, q, out_a, out_b in zip(*map(_blocks, rows), strict=True):
        new.clear()
        to_p, to_q, even = new(*p.shape), new(*p.shape), new(*p.shape)
        (*own, kept), (*mirrored, kept_) = p.chunk(4, 1), q.chunk(4, 1)
        (*to_own, to_kept), (*to_mirrored, to_kept_) = to_p.chunk(4, 1), to_q.chunk(4, 1)
        _gru_derivatives(g, y, own, kept_, to_own, to_kept_)
        _gru_derivatives(g, x, mirrored, kept, to_mirrored, to_kept)
        torch.add(to_p, to_q, out=even)
        odd = to_p.sub_(to_q)
        to_s = torch.mm(even, of_sum, out=new(*x.shape))
        to_d = torch.mm(odd, of_difference, out=new(*x.shape))
        torch.add(to_s, to_d, out=out_a).addcmul_(g, mirrored[1])
        torch.sub(to_s, to_d, out=out_b).addcmul_(g, own[1])
        to_sum.addmm_(even.T, torch.add(x, y, out=to_s))
        to_difference.addmm_(odd.T, torch.sub(x, y, out=to_d))
        to_bias.addmv_(even.T, ones[: len(x)])
    return to_a.view(a.shape), to_b.view(b.shape), to_sum, to_difference, to_bias


def _gru_derivatives(
    grad: Tensor, state: Tensor, gates: list[Tensor], kept: Tensor, out: list[Tensor], last: Tensor
) -> None:
    """Of one order, into the products of its three gates and, as `last`, into the kept state.

    With y = (1 - z) n + z h and n = tanh(m + r k): to m = (1 - z)(1 - n^2), to z = (h - n) (1 - z)
    z, to k = r times, and to r = k r (1 - r) times what m gets; gates z and r before the sigmoid.
    """
    reset, update, news = gates
    to_reset, to_update, to_news = out
    through = torch.addcmul(grad, grad, update, value=-1)
    torch.mul(state - news, through, out=to_update).mul_(update)
    torch.addcmul(through, through, news * news, value=-1, out=to_news)
    torch.mul(to_news, reset, out=last)
    torch.mul(last, kept, out=to_reset).addcmul_(to_reset, reset, value=-1)
