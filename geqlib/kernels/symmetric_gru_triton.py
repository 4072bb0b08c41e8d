"""Kernels of a level of a reduction tree with the symmetric GRU.

With P pairs, W waiting and F finished members of C channels each, in numbers (of 4 bytes in
float32) that are read or written once; all are bound by memory, with at most 60 operations a
number, and one launch each:

- `_sums`: b + a and b - a of the partners a, b. Reads 2 P C, writes 2 P C.
- `_gates`: the mean of both GRUs, and members that stay as they are. Reads 10 P C + (W + F) C,
  writes (P + W + F) C.
- `_gates_backward`: derivatives by the matrix products and, so far as they go past these, by the
  partners. Reads 11 P C, writes 10 P C.
- `_members`: derivatives by the members. Reads 4 P C + (W + F) C, writes (2 P + W + F) C.

Between them stand one batched matrix product forward, 16 P C^2 operations, and two backward, 32 P
C^2, one product with a vector, for the bias, and one fill. Index tensors are taken as they are:
numbers out of range are skipped.
"""

# kernels are written in Triton's language, which type checkers take for Python
# pyright: reportArgumentType=false, reportCallIssue=false, reportAssignmentType=false
# pyright: reportGeneralTypeIssues=false

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

Level = tuple[Tensor, int, int, bool]  # as `SymmetricGRU.tree` takes them
BLOCK = 512  # numbers of a program


def forward(
    x: Tensor, weight: Tensor, bias: Tensor, levels: Sequence[Level]
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """New members and finished ones of each level, and what `backward` needs."""
    bias = bias.detach()
    biases = torch.stack([bias, torch.zeros_like(bias)]).unsqueeze(1)
    states, finished, saved = [x.contiguous()], [], []
    for level in levels:
        values = sums(states[-1], level)
        products = torch.baddbmm(biases, values, weight.mT)
        new, done = gates(products, states[-1], level)
        saved += [states[-1], values, products]
        states.append(new)
        finished.append(done)
    return states[1:], finished, saved


def backward(
    by_states: Sequence[Tensor | None],
    by_finished: Sequence[Tensor | None],
    x: Tensor,
    weight: Tensor,
    levels: Sequence[Level],
    *saved: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Derivatives by x, weight and bias."""
    by_weight, by_bias = torch.zeros_like(weight, dtype=x.dtype), x.new_zeros(weight.size(1))
    one = x.new_ones(max(pairs for _, pairs, *_ in levels))
    by_x: Any = None
    for n in reversed(range(len(levels))):
        members, values, products = saved[3 * n : 3 * n + 3]
        by_new = x.new_zeros(levels[n][1] + levels[n][2], x.size(1)) if by_x is None else by_x
        if (by_state := by_states[n]) is not None:
            by_new = by_state.contiguous() if by_x is None else by_new + by_state
        grads = by_new, by_finished[n]
        by_products, direct = products_gradient(by_new, members, products, levels[n])
        by_values = torch.bmm(by_products, weight.to(x.dtype))
        by_x = members_gradient(grads, direct, by_values, members, levels[n])
        by_weight.baddbmm_(by_products.mT, values)
        by_bias.addmv_(by_products[0].T, one[: values.size(1)])
    return by_x, by_weight, by_bias


def sums(x: Tensor, level: Level) -> Tensor:
    """[2, P, C] right + left and right - left partners of x [members, C]."""
    order, pairs, *_ = level
    values = x.new_empty(2, pairs, x.size(1))
    _sums[_grid(x, pairs)](values, x, order, x.size(0), pairs, x.size(1), _double(x), BLOCK)
    return values


def gates(products: Tensor, x: Tensor, level: Level) -> tuple[Tensor, Tensor]:
    """New members and finished ones, from what the gates see of sums and of differences."""
    order, pairs, waiting, _ = level
    channels, members = x.size(1), order.size(0)
    new = x.new_empty(pairs + waiting, channels)
    done = x.new_empty(members - 2 * pairs - waiting, channels)
    sizes = x.size(0), pairs, waiting, members, channels, _double(x), BLOCK
    grid = _grid(x, members - pairs)
    _gates[grid](new, done, products.contiguous(), x, order, *sizes)
    return new, done


def products_gradient(
    by_new: Tensor, x: Tensor, products: Tensor, level: Level
) -> tuple[Tensor, Tensor]:
    """Derivatives by the products and, past these, by the partners."""
    order, pairs, *_ = level
    by_products, direct = x.new_empty(products.shape), x.new_empty(2, pairs, x.size(1))
    sizes = x.size(0), pairs, x.size(1), _double(x), BLOCK
    grid = _grid(x, pairs)
    _gates_backward[grid](by_products, direct, by_new, products.contiguous(), x, order, *sizes)
    return by_products, direct


def members_gradient(
    grads: tuple[Tensor, Tensor | None], direct: Tensor, by_values: Tensor, x: Tensor, level: Level
) -> Tensor:
    """The derivative by x [members, C], from those by new and by finished members."""
    order, pairs, waiting, _ = level
    new, done = grads
    by_x = torch.zeros_like(x)
    members = order.size(0) if done is not None else 2 * pairs + waiting
    done = new if done is None else done.contiguous()
    sizes = x.size(0), pairs, waiting, members, x.size(1), BLOCK
    grid = _grid(x, order.size(0) - pairs)
    _members[grid](by_x, direct, by_values, new, done, order, *sizes)
    return by_x


def _grid(x: Tensor, rows: int) -> tuple[int]:
    return (max(triton.cdiv(rows * x.size(1), BLOCK), 1),)


def _double(x: Tensor) -> bool:
    return x.dtype == torch.float64


@triton.jit
def _partner(order, number, members, inside):
    """Where a member is stored, and whether that is inside."""
    place = tl.load(order + number, inside, 0).to(tl.int64)
    return place, inside & (place >= 0) & (place < members)


@triton.jit
def _pair(x, order, pair, column, members, channels, inside, dtype: tl.constexpr):
    """A channel of the left and right partners of pairs."""
    left, in_left = _partner(order, 2 * pair, members, inside)
    right, in_right = _partner(order, 2 * pair + 1, members, inside)
    a = tl.load(x + left * channels + column, in_left, 0).to(dtype)
    b = tl.load(x + right * channels + column, in_right, 0).to(dtype)
    return a, b


@triton.jit
def _sigmoid(x):
    return 1 / (1 + tl.exp(-x))


@triton.jit
def _tanh(x):
    # of |x|, so that nothing overflows
    power = tl.exp(-2 * tl.abs(x))
    value = (1 - power) / (1 + power)
    return tl.where(x < 0, -value, value)


@triton.jit
def _of_order(even, odd, SIGN: tl.constexpr, at, inside, dtype: tl.constexpr):
    """What a gate sees in one order of the partners."""
    s = tl.load(even + at, inside, 0).to(dtype)
    return s + SIGN * tl.load(odd + at, inside, 0).to(dtype)


@triton.jit
def _gru(products, size, SIGN: tl.constexpr, at, channels, inside, dtype: tl.constexpr):
    """Reset and update gates, W_hn h and the candidate in one order of the partners."""
    odd = products + 4 * size
    reset = _sigmoid(_of_order(products, odd, SIGN, at, inside, dtype))
    update = _sigmoid(_of_order(products, odd, SIGN, at + channels, inside, dtype))
    of_input = _of_order(products, odd, SIGN, at + 2 * channels, inside, dtype)
    of_state = _of_order(products, odd, SIGN, at + 3 * channels, inside, dtype)
    return reset, update, of_state, _tanh(of_input + reset * of_state)


@triton.jit
def _sums(
    values,
    x,
    order,
    members,
    pairs,
    channels,
    WIDE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    dtype: tl.constexpr = tl.float64 if WIDE else tl.float32
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    size = (n * 0 + pairs) * channels
    pair, column = n // channels, n % channels
    inside = pair < pairs
    a, b = _pair(x, order, pair, column, members, channels, inside, dtype)
    tl.store(values + n, b + a, inside)
    tl.store(values + n + size, b - a, inside)


@triton.jit
def _gates(
    new,
    done,
    products,
    x,
    order,
    stored,
    pairs,
    waiting,
    members,
    channels,
    WIDE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    dtype: tl.constexpr = tl.float64 if WIDE else tl.float32
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    size = (n * 0 + pairs) * channels
    joined = (n * 0 + pairs + waiting) * channels
    item, column = n // channels, n % channels
    inside = item < pairs
    a, b = _pair(x, order, item, column, stored, channels, inside, dtype)
    at = item * (4 * channels) + column
    total = tl.zeros((BLOCK,), dtype)
    for swap in tl.static_range(2):
        _reset, update, _of_state, candidate = _gru(
            products, size, 1 - 2 * swap, at, channels, inside, dtype
        )
        state = a if swap == 0 else b
        total += candidate + update * (state - candidate)
    tl.store(new + n, total / 2, inside)
    # members that stay as they are
    stays = (item >= pairs) & (pairs + item < members)
    place, in_place = _partner(order, pairs + item, stored, stays)
    value = tl.load(x + place * channels + column, in_place, 0)
    waits = stays & (item < pairs + waiting)
    tl.store(new + n, value, waits)
    tl.store(done + n - joined, value, stays & (item >= pairs + waiting))


@triton.jit
def _gates_backward(
    by_products,
    direct,
    by_new,
    products,
    x,
    order,
    stored,
    pairs,
    channels,
    WIDE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    dtype: tl.constexpr = tl.float64 if WIDE else tl.float32
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    size = (n * 0 + pairs) * channels
    item, column = n // channels, n % channels
    inside = item < pairs
    a, b = _pair(x, order, item, column, stored, channels, inside, dtype)
    half = tl.load(by_new + n, inside, 0).to(dtype) / 2
    at = item * (4 * channels) + column
    even_reset = tl.zeros((BLOCK,), dtype)
    even_update, even_input, even_state = even_reset, even_reset, even_reset
    odd_reset, odd_update, odd_input, odd_state = even_reset, even_reset, even_reset, even_reset
    for swap in tl.static_range(2):
        reset, update, of_state, candidate = _gru(
            products, size, 1 - 2 * swap, at, channels, inside, dtype
        )
        state = a if swap == 0 else b
        tl.store(direct + n + swap * size, update * half, inside)
        by_input = (1 - update) * half * (1 - candidate * candidate)
        by_state = by_input * reset
        by_reset = by_input * of_state * reset * (1 - reset)
        by_update = (state - candidate) * half * update * (1 - update)
        even_reset += by_reset
        even_update += by_update
        even_input += by_input
        even_state += by_state
        odd_reset += (1 - 2 * swap) * by_reset
        odd_update += (1 - 2 * swap) * by_update
        odd_input += (1 - 2 * swap) * by_input
        odd_state += (1 - 2 * swap) * by_state
    by_odd = by_products + 4 * size
    tl.store(by_products + at, even_reset, inside)
    tl.store(by_products + at + channels, even_update, inside)
    tl.store(by_products + at + 2 * channels, even_input, inside)
    tl.store(by_products + at + 3 * channels, even_state, inside)
    tl.store(by_odd + at, odd_reset, inside)
    tl.store(by_odd + at + channels, odd_update, inside)
    tl.store(by_odd + at + 2 * channels, odd_input, inside)
    tl.store(by_odd + at + 3 * channels, odd_state, inside)


@triton.jit
def _members(
    by_x,
    direct,
    by_values,
    by_new,
    by_done,
    order,
    stored,
    pairs,
    waiting,
    members,
    channels,
    BLOCK: tl.constexpr,
):
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    size = (n * 0 + pairs) * channels
    joined = (n * 0 + pairs + waiting) * channels
    item, column = n // channels, n % channels
    inside = item < pairs
    left, in_left = _partner(order, 2 * item, stored, inside)
    right, in_right = _partner(order, 2 * item + 1, stored, inside)
    even = tl.load(by_values + n, inside, 0)
    odd = tl.load(by_values + n + size, inside, 0)
    a = tl.load(direct + n, inside, 0)
    b = tl.load(direct + n + size, inside, 0)
    tl.store(by_x + left * channels + column, a + even - odd, in_left)
    tl.store(by_x + right * channels + column, b + even + odd, in_right)
    waits = (item >= pairs) & (item < pairs + waiting)
    ends = (item >= pairs + waiting) & (pairs + item < members)
    place, in_place = _partner(order, pairs + item, stored, waits | ends)
    value = tl.load(by_new + n, waits, 0)
    value += tl.load(by_done + n - joined, ends, 0)
    tl.store(by_x + place * channels + column, value, in_place)
