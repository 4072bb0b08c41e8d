"""The symmetric GRU, and a reduction tree with it, whose derivative is written out.

On a GPU a level of the tree runs as two kernels forward and two backward (`symmetric_gru_triton`),
beside batched matrix products; else in plain torch, with few operations and no tensor of more than
one level: larger ones would be fetched anew from the system in every step, which takes a CPU a
quarter of its time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual
from torch.nn.functional import linear

from geqlib.graph.functional import transformed, vectorised
from geqlib.kernels.selection import fused


class Level(NamedTuple):
    """How the members of a level are arranged.

    Args:
        order: [members] pairs of partners, waiting and finished members.
        pairs, waiting: numbers of pairs and of waiting members.
        in_order: whether all members are partners as they stand, so that nothing is moved.
    """

    order: Tensor
    pairs: int
    waiting: int
    in_order: bool = False


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

    def tree(self, x: Tensor, levels: Sequence[Level]) -> tuple[list[Tensor], list[Tensor]]:
        """After each level, the products of pairs followed by what waits, and what is finished.

        Args:
            x: [members, ..., C] of the first level.
            levels: one at least, each of the members that the level before leaves.
        """
        tensors = x, self.weight, self.bias
        if torch.compiler.is_compiling() or transformed() or _forward_mode(*tensors):
            return plain_tree(*tensors, levels)
        on_device = fused("symmetric_gru", *tensors)
        needed = torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
        if not (on_device or needed):
            return plain_tree(*tensors, levels)
        # further dimensions are members of their own
        copies = x.shape[1:-1].numel()
        flat = x.reshape(-1, x.size(-1))
        rows = [_repeated(level, copies) for level in levels]
        outputs: Any = _Tree.apply(flat, *tensors[1:], rows, on_device)
        parts = [y.view(-1, *x.shape[1:]) for y in outputs]
        return parts[: len(levels)], parts[len(levels) :]


def _repeated(level: Level, copies: int) -> Level:
    """The level of members that are `copies` rows each, one after the other."""
    order, pairs, waiting, in_order = level
    if copies == 1:
        return Level(order.long(), pairs, waiting, in_order)
    rows = order[:, None] * copies + torch.arange(copies, device=order.device)
    partners = rows[: 2 * pairs].unflatten(0, (pairs, 2)).transpose(1, 2)
    order = torch.cat([partners.flatten(), rows[2 * pairs :].flatten()])
    return Level(order, copies * pairs, copies * waiting)


def plain_tree(
    x: Tensor, weight: Tensor, bias: Tensor, levels: Sequence[Level]
) -> tuple[list[Tensor], list[Tensor]]:
    """`SymmetricGRU.tree` by operations that torch differentiates."""
    gru, states, finished = SymmetricGRU(weight, bias), [x], []
    for order, pairs, waiting, _ in levels:
        sizes = 2 * pairs, waiting, order.size(0) - 2 * pairs - waiting
        partners, alone, done = states[-1].index_select(0, order).split(sizes)
        left, right = partners.unflatten(0, (pairs, 2)).unbind(1)
        states.append(torch.cat([gru(left, right), alone]))
        finished.append(done)
    return states[1:], finished


class _Tree(torch.autograd.Function):
    """A tree that keeps the gates; of gradients with a graph, the plain one's are taken.

    All levels are one function, whose weights have one derivative: not one a level, to be added.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, levels: list[Level], on_device: bool
    ) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.levels, ctx.on_device = levels, on_device
        if on_device:
            from geqlib.kernels.symmetric_gru_triton import forward
        else:
            forward = _plain_forward
        states, finished, saved = forward(x, weight, bias, levels)
        ctx.save_for_backward(x, weight, bias, *saved)
        return *states, *finished

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        x, weight, bias, *saved = ctx.saved_tensors
        if torch.is_grad_enabled() or vectorised(*grads):
            return *_with_graph((x, weight, bias), grads, ctx.levels), None, None
        if ctx.on_device:
            from geqlib.kernels.symmetric_gru_triton import backward
        else:
            backward = _plain_backward
        count = len(ctx.levels)
        by_states, by_finished = grads[:count], grads[count:]
        results = backward(by_states, by_finished, x, weight, ctx.levels, *saved)
        return *results, None, None


def _joint(weight: Tensor) -> Tensor:
    """[4, 2, C, 2, C] what each gate of each order of two partners sees of either partner.

    Order k is that in which partner k is the state. With s, d = b + a, b - a for the partners a and
    b, the gates are W_e s + W_o d for GRU(b, a), whose state is a, and W_e s - W_o d for GRU(a, b).
    """
    even, odd = weight.unflatten(1, (4, -1)).unbind()
    own, other = even - odd, even + odd
    return torch.stack([torch.stack([own, other], 2), torch.stack([other, own], 2)], 1)


def _of_joint(by_joint: Tensor) -> Tensor:
    """[2, 4 C, C] the derivative by the weight, of one by `_joint`."""
    own = by_joint[:, 0, :, 0] + by_joint[:, 1, :, 1]
    other = by_joint[:, 0, :, 1] + by_joint[:, 1, :, 0]
    return torch.stack([other + own, other - own]).flatten(1, 2)


def _plain_forward(
    x: Tensor, weight: Tensor, bias: Tensor, levels: list[Level]
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """New members and finished ones of each level; its partners and gates [P, 5, 2 C].

    The gates are those of `_gates`; partners are [P, 2 C], or all members, where they are that.
    """
    channels, dtype = x.size(-1), _product_dtype(x)
    joint = _joint(weight.detach().to(dtype)).view(8 * channels, 2 * channels).T
    biases = bias.detach().to(dtype).unflatten(0, (4, 1, -1)).expand(-1, 2, -1).flatten()
    states, finished, saved = [x], [], []
    for order, pairs, waiting, in_order in levels:
        members, ends = states[-1], 2 * pairs + waiting
        arranged = members if in_order else members.index_select(0, order[: 2 * pairs])
        partners = arranged.reshape(pairs, 2 * channels)
        gates = x.new_empty(pairs, 5, 2 * channels)
        both = _gates(partners, gates, joint, biases)
        new = x.new_empty(pairs + waiting, channels)
        torch.mean(both.view(pairs, 2, channels), 1, out=new[:pairs])
        if waiting:
            torch.index_select(members, 0, order[2 * pairs : ends], out=new[pairs:])
        states.append(new)
        finished.append(members.index_select(0, order[ends:]) if ends < len(order) else x[:0])
        saved += [arranged, gates]
    return states[1:], finished, saved


def _product_dtype(x: Tensor) -> torch.dtype:
    """Of matrix products with x: autocast lowers all but double precision."""
    lowered = torch.is_autocast_enabled(x.device.type) and x.dtype != torch.float64
    return torch.get_autocast_dtype(x.device.type) if lowered else x.dtype


def _gates(partners: Tensor, gates: Tensor, joint: Tensor, biases: Tensor) -> Tensor:
    """[P, 2 C] the GRU in both orders: n + z t, with t = h - n for the state h.

    Writes [P, 5, 2 C], for both orders r, z, n, W_hn h and t.
    """
    products = gates[:, :4].flatten(1)
    if products.dtype == joint.dtype:
        torch.addmm(biases, partners, joint, out=products)
    else:
        products.copy_(torch.addmm(biases, partners.to(joint.dtype), joint))
    gates[:, :2].sigmoid_()
    reset, update, candidate, of_state, change = gates.unbind(1)
    candidate.addcmul_(reset, of_state).tanh_()
    torch.sub(partners, candidate, out=change)
    return torch.addcmul(candidate, update, change)


def _plain_backward(
    by_states: Sequence[Tensor | None],
    by_finished: Sequence[Tensor | None],
    x: Tensor,
    weight: Tensor,
    levels: list[Level],
    *saved: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Derivatives by x, weight and bias."""
    channels = x.size(-1)
    joint = _joint(weight.to(x.dtype)).roll(1, 0).view(8 * channels, 2 * channels)
    by_joint, by_biases = torch.zeros_like(joint), x.new_zeros(8 * channels)
    half = x.new_full((max(level.pairs for level in levels),), 0.5)
    by_x: Any = None
    for n in reversed(range(len(levels))):
        (order, pairs, waiting, in_order), (partners, gates) = levels[n], saved[2 * n : 2 * n + 2]
        partners = partners.reshape(pairs, 2 * channels)
        by_new = x.new_zeros(pairs + waiting, channels) if by_x is None else by_x
        if (by_state := by_states[n]) is not None:
            by_new = by_state if by_x is None else by_new + by_state
        slopes = _slopes(by_new[:pairs], gates)
        by_products = slopes[:, 1:].flatten(1)
        # half of each, as the result is the mean of both orders
        by_partners = torch.addmm(slopes[:, 0], by_products, joint, beta=0.5, alpha=0.5)
        by_joint.addmm_(by_products.mT, partners, alpha=0.5)
        by_biases.addmv_(by_products.mT, half[:pairs])
        if in_order:
            by_x = by_partners.view(-1, channels)
            continue
        by_x = x.new_empty(order.size(0), channels)
        by_x.index_copy_(0, order[: 2 * pairs], by_partners.view(-1, channels))
        alone, ended = order[2 * pairs :].tensor_split((waiting,))
        done = by_finished[n]
        if waiting:
            by_x.index_copy_(0, alone, by_new[pairs:])
        if ended.size(0) and done is None:
            by_x.index_fill_(0, ended, 0)
        elif ended.size(0):
            by_x.index_copy_(0, ended, done)
    by_weight = _of_joint(by_joint.view(4, 2, channels, 2, channels).roll(-1, 0))
    return by_x, by_weight, by_biases.view(4, 2, channels).sum(1).roll(-1, 0).flatten()


def _slopes(by_mean: Tensor, gates: Tensor) -> Tensor:
    """[P, 5, 2 C] twice the derivatives by h past the gates, and by W_hn h, r, z and n.

    Args:
        by_mean: [P, C] by the mean of both orders.
        gates: [P, 5, 2 C] see `_gates`.
    """
    slopes = torch.empty_like(gates)
    gates, parts = (t.unflatten(2, (2, -1)) for t in (gates, slopes))
    by_mean = by_mean[:, None]
    torch.mul(gates[:, 1::3], by_mean[:, None], out=parts[:, 0:4:3])  # z and t: by h and by z
    by_input = parts[:, 4]
    torch.sub(by_mean, parts[:, 0], out=by_input)
    torch.ops.aten.tanh_backward.grad_input(by_input, gates[:, 2], grad_input=by_input)
    torch.mul(gates[:, 0:4:3], by_input[:, None], out=parts[:, 1:3])  # r and W_hn h: by W_hn h, r
    both = parts[:, 2:4]
    torch.ops.aten.sigmoid_backward.grad_input(both, gates[:, :2], grad_input=both)
    return slopes


def _with_graph(
    inputs: tuple[Tensor, ...], grads: Sequence[Tensor | None], levels: list[Level]
) -> list[Tensor | None]:
    """The same by torch: for derivatives of derivatives, and for several gradients at once."""
    graph = torch.is_grad_enabled()
    with torch.enable_grad():
        # of other graph nodes than the inputs', which may depend on each other
        x, weight, bias = inputs = tuple(t.view_as(t) for t in inputs)
        states, finished = plain_tree(x, weight, bias, levels)
    outputs = zip([*states, *finished], grads, strict=True)
    pairs_of = [(y, g) for y, g in outputs if g is not None and y.requires_grad]
    needed = [t for t in inputs if t.requires_grad]
    if not pairs_of or not needed:
        return [None] * len(inputs)
    ys, gs = zip(*pairs_of, strict=True)
    results = iter(torch.autograd.grad(ys, needed, gs, create_graph=graph, allow_unused=True))
    return [next(results) if t.requires_grad else None for t in inputs]


def _forward_mode(*tensors: Tensor) -> bool:
    return any(unpack_dual(t).tangent is not None for t in tensors)
