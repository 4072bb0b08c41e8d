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
C^2, one sum and one fill. Index tensors are taken as they are: numbers out of range are skipped.
"""

# kernels are written in Triton's language, which type checkers take for Python
# pyright: reportArgumentType=false, reportCallIssue=false, reportAssignmentType=false
# pyright: reportGeneralTypeIssues=false

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 512  # numbers of a program


def sums(x: Tensor, order: Tensor, pairs: int) -> Tensor:
    """[2, P, C] right + left and right - left partners of x [members, ..., C]."""
    width = x[:1].numel()
    values = x.new_empty(2, pairs * width // x.size(-1), x.size(-1))
    _sums[_grid(pairs * width)](
        values, x.contiguous(), order, x.size(0), pairs, width, _double(x), BLOCK
    )
    return values


def gates(
    products: Tensor, x: Tensor, order: Tensor, pairs: int, waiting: int
) -> tuple[Tensor, Tensor]:
    """New members and finished ones, from what the gates see of sums and of differences."""
    width, members = x[:1].numel(), order.size(0)
    new = x.new_empty(pairs + waiting, *x.shape[1:])
    done = x.new_empty(members - 2 * pairs - waiting, *x.shape[1:])
    _gates[_grid((members - pairs) * width)](
        new,
        done,
        products.contiguous(),
        x.contiguous(),
        order,
        x.size(0),
        pairs,
        waiting,
        members,
        width,
        x.size(-1),
        _double(x),
        BLOCK,
    )
    return new, done


def gradients(
    grads: Any,
    x: Tensor,
    weight: Tensor,
    order: Tensor,
    products: Tensor,
    values: Tensor,
    pairs: int,
    waiting: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Derivatives by x, weight and bias."""
    width, channels, members = x[:1].numel(), x.size(-1), order.size(0)
    new, done = (None if g is None else g.contiguous() for g in grads)
    if new is None:
        new = x.new_zeros(pairs + waiting, *x.shape[1:])
    by_products = x.new_empty(products.shape)
    direct = torch.empty_like(values)
    x = x.contiguous()
    _gates_backward[_grid(pairs * width)](
        by_products,
        direct,
        new,
        products.contiguous(),
        x,
        order,
        x.size(0),
        pairs,
        width,
        channels,
        _double(x),
        BLOCK,
    )
    by_values = torch.bmm(by_products, weight.to(x.dtype))
    by_x = torch.zeros_like(x)
    _members[_grid((members - pairs) * width)](
        by_x,
        direct,
        by_values,
        new,
        new if done is None else done,
        order,
        x.size(0),
        pairs,
        waiting,
        members if done is not None else 2 * pairs + waiting,
        width,
        BLOCK,
    )
    return by_x, torch.bmm(by_products.mT, values), by_products[0].sum(0)


def _grid(numbers: int) -> tuple[int]:
    return (max(triton.cdiv(numbers, BLOCK), 1),)


def _double(x: Tensor) -> bool:
    return x.dtype == torch.float64


@triton.jit
def _partner(order, number, members, inside):
    """Where a member is stored, and whether that is inside."""
    place = tl.load(order + number, inside, 0).to(tl.int64)
    return place, inside & (place >= 0) & (place < members)


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
def _of_order(even, odd, SIGN: tl.constexpr, at, channels, inside, dtype: tl.constexpr):
    """What the four gates see in one order of the partners."""
    s = tl.load(even + at, inside, 0).to(dtype)
    return s + SIGN * tl.load(odd + at, inside, 0).to(dtype)


@triton.jit
def _sums(
    values,
    x,
    order,
    members,
    pairs,
    width,
    WIDE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    dtype: tl.constexpr = tl.float64 if WIDE else tl.float32
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    size = (n * 0 + pairs) * width
    pair, column = n // width, n % width
    inside = pair < pairs
    left, in_left = _partner(order, pair, members, inside)
    right, in_right = _partner(order, pairs + pair, members, inside)
    a = tl.load(x + left * width + column, in_left, 0).to(dtype)
    b = tl.load(x + right * width + column, in_right, 0).to(dtype)
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
    width,
    channels,
    WIDE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    dtype: tl.constexpr = tl.float64 if WIDE else tl.float32
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    size = (n * 0 + pairs) * width
    joined = (n * 0 + pairs + waiting) * width
    item, column = n // width, n % width
    inside = item < pairs
    left, in_left = _partner(order, item, stored, inside)
    right, in_right = _partner(order, pairs + item, stored, inside)
    a = tl.load(x + left * width + column, in_left, 0).to(dtype)
    b = tl.load(x + right * width + column, in_right, 0).to(dtype)
    at = n // channels * (4 * channels) + n % channels
    odd = products + 4 * size
    total = tl.zeros((BLOCK,), dtype)
    for swap in tl.static_range(2):
        reset = _sigmoid(_of_order(products, odd, 1 - 2 * swap, at, channels, inside, dtype))
        update = _of_order(products, odd, 1 - 2 * swap, at + channels, channels, inside, dtype)
        update = _sigmoid(update)
        of_input = _of_order(
            products, odd, 1 - 2 * swap, at + 2 * channels, channels, inside, dtype
        )
        of_state = _of_order(
            products, odd, 1 - 2 * swap, at + 3 * channels, channels, inside, dtype
        )
        candidate = _tanh(of_input + reset * of_state)
        state = a if swap == 0 else b
        total += candidate + update * (state - candidate)
    tl.store(new + n, total / 2, inside)
    # members that stay as they are
    stays = (item >= pairs) & (pairs + item < members)
    place, in_place = _partner(order, pairs + item, stored, stays)
    value = tl.load(x + place * width + column, in_place, 0)
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
    width,
    channels,
    WIDE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    dtype: tl.constexpr = tl.float64 if WIDE else tl.float32
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    size = (n * 0 + pairs) * width
    item, column = n // width, n % width
    inside = item < pairs
    left, in_left = _partner(order, item, stored, inside)
    right, in_right = _partner(order, pairs + item, stored, inside)
    a = tl.load(x + left * width + column, in_left, 0).to(dtype)
    b = tl.load(x + right * width + column, in_right, 0).to(dtype)
    half = tl.load(by_new + n, inside, 0).to(dtype) / 2
    at = n // channels * (4 * channels) + n % channels
    odd = products + 4 * size
    even_reset = tl.zeros((BLOCK,), dtype)
    even_update, even_input, even_state = even_reset, even_reset, even_reset
    odd_reset, odd_update, odd_input, odd_state = even_reset, even_reset, even_reset, even_reset
    for swap in tl.static_range(2):
        reset = _sigmoid(_of_order(products, odd, 1 - 2 * swap, at, channels, inside, dtype))
        update = _of_order(products, odd, 1 - 2 * swap, at + channels, channels, inside, dtype)
        update = _sigmoid(update)
        of_input = _of_order(
            products, odd, 1 - 2 * swap, at + 2 * channels, channels, inside, dtype
        )
        of_state = _of_order(
            products, odd, 1 - 2 * swap, at + 3 * channels, channels, inside, dtype
        )
        candidate = _tanh(of_input + reset * of_state)
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
    width,
    BLOCK: tl.constexpr,
):
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    size = (n * 0 + pairs) * width
    joined = (n * 0 + pairs + waiting) * width
    item, column = n // width, n % width
    inside = item < pairs
    left, in_left = _partner(order, item, stored, inside)
    right, in_right = _partner(order, pairs + item, stored, inside)
    even = tl.load(by_values + n, inside, 0)
    odd = tl.load(by_values + n + size, inside, 0)
    a = tl.load(direct + n, inside, 0)
    b = tl.load(direct + n + size, inside, 0)
    tl.store(by_x + left * width + column, a + even - odd, in_left)
    tl.store(by_x + right * width + column, b + even + odd, in_right)
    waits = (item >= pairs) & (item < pairs + waiting)
    ends = (item >= pairs + waiting) & (pairs + item < members)
    place, in_place = _partner(order, pairs + item, stored, waits | ends)
    value = tl.load(by_new + n, waits, 0)
    value += tl.load(by_done + n - joined, ends, 0)
    tl.store(by_x + place * width + column, value, in_place)
