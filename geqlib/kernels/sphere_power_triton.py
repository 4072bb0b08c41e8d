"""Kernels of weighted powers of functions on the sphere: values, and two kinds of derivatives.

One program takes a block of rows, each a channel of a node, and goes through the points of the grid
in blocks: values there, their powers, and what these give coefficients stay in registers. With R
rows, P points, K and M coefficients before and after, and orders up to n, in numbers of 4 bytes in
float32, weights and matrices left out, which caches hold, one launch each:

- `_powers`: the sum over all orders. 2 R P (K + n M) operations; reads R K numbers, writes R M.
- `_powers` of each order by itself, times a gradient: for the derivative by the weights. Operations
  2 R P n (K + M); reads n R (K + M), writes n R M.
- `_slopes`: the derivative by coefficients. 2 R P (2 K + n M) operations; reads R (K + M), writes
  R K.

Derivatives of derivatives are the same kernels of one order less, times values of a further
function: 2 R P K operations and R K numbers more. The twin keeps values at points and their powers
in memory: forward it reads and writes R (K + 2 P + 4 n P + 6 n M + M) numbers.

Matrix products are those of float32, never of TF32. Elements out of range have no weights.
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

ROWS = 32  # of a program
POINTS = 16  # of a block


def powers(
    x: Tensor, weight: Tensor, choice: Any, element: Any, tables: Any, along: Tensor | None = None
) -> Tensor:
    """z [M, N, C]; with `along` its derivative in that direction of x."""
    return _launch_powers(x, weight, None, choice, element, tables, along)


def weighted_orders(
    x: Tensor, grad: Tensor, weight: Tensor, tables: Any, along: Tensor | None = None
) -> Tensor:
    """[n, M, N, C] the derivative of the sum of z * grad, or of its derivative in the direction
    `along` of x, by the weights of each node."""
    return _launch_powers(x, weight, grad, None, None, tables, along)


def slopes(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    choice: Any,
    element: Any,
    tables: Any,
    along: Tensor | None = None,
) -> Tensor:
    """[K, N, C] the derivative by x of the sum of z * grad, and that one's in a direction."""
    result = torch.empty_like(x, memory_format=torch.contiguous_format)
    if x.numel() == 0:
        return result
    arguments, constants = _arguments(x, weight, grad, choice, element, tables, along)
    _slopes[(triton.cdiv(x[0].numel(), ROWS),)](
        result, *arguments, SHIFT=1 if along is None else 2, **constants
    )
    return result


def _launch_powers(
    x: Tensor, weight: Tensor, grad: Any, choice: Any, element: Any, tables: Any, along: Any
) -> Tensor:
    order, size = tables.projection.shape[:2]
    shape = (size, *x.shape[1:])
    result = x.new_empty(shape if grad is None else (order, *shape))
    if result.numel() == 0:
        return result
    arguments, constants = _arguments(x, weight, grad, choice, element, tables, along)
    _powers[(triton.cdiv(x[0].numel(), ROWS), 1 if grad is None else order)](
        result,
        *arguments,
        EACH=grad is not None,
        SHIFT=0 if along is None else 1,
        **constants,
    )
    return result


def _arguments(
    x: Tensor, weight: Tensor, grad: Any, choice: Any, element: Any, tables: Any, along: Any
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    # rows of any strides: components often come last in memory
    columns = [x if t is None else t.flatten(1) for t in (grad, x.flatten(1), along)]
    order, size, points = tables.projection.shape
    tensors = (
        *columns,
        weight.contiguous(),
        x if choice is None else choice.contiguous(),
        x if element is None else element,
        tables.values.contiguous(),
        tables.projection.contiguous(),
    )
    strides = [step for t in columns for step in t.stride()[:2]]
    numbers = (weight.size(0), x[0].numel(), x.size(2), points, x.size(0), size, *strides)
    constants = {
        "ORDER": order,
        "ALONG": along is not None,
        "CHOSEN": choice is not None,
        "K": max(triton.next_power_of_2(x.size(0)), 16),
        "M": max(triton.next_power_of_2(size), 16),
        "WIDE": x.dtype == torch.float64,
        "ROWS": ROWS,
        "POINTS": POINTS,
    }
    return (*tensors, *numbers), constants


@triton.jit
def _columns(x, row, rows, size, of_k, of_row, K: tl.constexpr):
    """[ROWS, K] coefficients of rows, from where those of one stand `of_k` apart."""
    k = tl.arange(0, K)
    inside = (row < rows)[:, None] & (k < size)[None, :]
    return tl.load(x + k.to(tl.int64)[None, :] * of_k + row[:, None] * of_row, inside, 0)


@triton.jit
def _product(a, b, WIDE: tl.constexpr):
    """The matrix product of a and b, in the precision of their numbers."""
    dtype: tl.constexpr = tl.float64 if WIDE else tl.float32
    return tl.dot(a, b, input_precision="ieee", out_dtype=dtype)


@triton.jit
def _at_points(
    a, b, values, p, points, size, ALONG: tl.constexpr, K: tl.constexpr, WIDE: tl.constexpr
):
    """[ROWS, POINTS] values of a at points p, and their power 0: 1, or with `ALONG` values of b."""
    k = tl.arange(0, K)
    mask = (p < points)[None, :] & (k < size)[:, None]
    matrix = tl.load(values + p[None, :] * size + k[:, None], mask, 0)
    v = _product(a, matrix, WIDE)
    power = v * 0 + 1
    if ALONG:
        power = _product(b, matrix, WIDE)
    return v, power


@triton.jit
def _weights(
    weight,
    choice,
    element,
    row,
    rows,
    channels,
    elements,
    order,
    size,
    ORDER: tl.constexpr,
    CHOSEN: tl.constexpr,
    M: tl.constexpr,
):
    """[ROWS, M] weights of one order, of the elements of rows."""
    k = tl.arange(0, M)
    inside = row < rows
    node, channel = row // channels, row % channels
    own = node * 0
    if CHOSEN:
        own = tl.load(element + node, inside, -1).to(tl.int64)
        inside = inside & (own >= 0) & (own < elements)
    at = ((own * ORDER + (order - 1)) * size)[:, None] + k[None, :]
    mask = inside[:, None] & (k < size)[None, :]
    w = tl.load(weight + at * channels + channel[:, None], mask, 0)
    if CHOSEN:
        w *= tl.load(choice + node * elements + own, inside, 0)[:, None]
    return w


@triton.jit
def _powers(
    z,
    grad,
    x,
    along,
    weight,
    choice,
    element,
    values,
    projection,
    elements,
    rows,
    channels,
    points,
    size_x,
    size_z,
    k_of_grad,
    row_of_grad,
    k_of_x,
    row_of_x,
    k_of_along,
    row_of_along,
    ORDER: tl.constexpr,
    SHIFT: tl.constexpr,
    EACH: tl.constexpr,
    ALONG: tl.constexpr,
    CHOSEN: tl.constexpr,
    K: tl.constexpr,
    M: tl.constexpr,
    WIDE: tl.constexpr,
    ROWS: tl.constexpr,
    POINTS: tl.constexpr,
):
    dtype: tl.constexpr = tl.float64 if WIDE else tl.float32
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    m = tl.arange(0, M)
    a = _columns(x, row, rows, size_x, k_of_x, row_of_x, K)
    b = a
    if ALONG:
        b = _columns(along, row, rows, size_x, k_of_along, row_of_along, K)
    order = tl.program_id(1) + 1
    total = tl.zeros((ROWS, M), dtype)
    for start in range(0, points, POINTS):
        p = start + tl.arange(0, POINTS)
        in_p = p < points
        v, power = _at_points(a, b, values, p, points, size_x, ALONG, K, WIDE)
        at, mask = m[None, :] * points + p[:, None], in_p[:, None] & (m < size_z)[None, :]
        if EACH:
            for n in range(1, order - SHIFT + 1):
                power = power * v / n
            matrix = tl.load(projection + (order - 1) * size_z * points + at, mask, 0)
            total += _product(power, matrix, WIDE)
        else:
            for n in tl.static_range(1, ORDER + 1):
                if n > SHIFT:
                    power = power * v / (n - SHIFT)
                if n >= SHIFT:
                    matrix = tl.load(projection + (n - 1) * size_z * points + at, mask, 0)
                    part = _product(power, matrix, WIDE)
                    total += part * _weights(
                        weight,
                        choice,
                        element,
                        row,
                        rows,
                        channels,
                        elements,
                        n,
                        size_z,
                        ORDER,
                        CHOSEN,
                        M,
                    )
    if EACH:
        total *= _columns(grad, row, rows, size_z, k_of_grad, row_of_grad, M)
        total = tl.where(order >= SHIFT, total, 0)
        z += (order - 1).to(tl.int64) * size_z * rows
    inside = (row < rows)[:, None] & (m < size_z)[None, :]
    tl.store(z + m.to(tl.int64)[None, :] * rows + row[:, None], total, inside)


@triton.jit
def _slopes(
    result,
    grad,
    x,
    along,
    weight,
    choice,
    element,
    values,
    projection,
    elements,
    rows,
    channels,
    points,
    size_x,
    size_z,
    k_of_grad,
    row_of_grad,
    k_of_x,
    row_of_x,
    k_of_along,
    row_of_along,
    ORDER: tl.constexpr,
    SHIFT: tl.constexpr,
    ALONG: tl.constexpr,
    CHOSEN: tl.constexpr,
    K: tl.constexpr,
    M: tl.constexpr,
    WIDE: tl.constexpr,
    ROWS: tl.constexpr,
    POINTS: tl.constexpr,
):
    dtype: tl.constexpr = tl.float64 if WIDE else tl.float32
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    k, m = tl.arange(0, K), tl.arange(0, M)
    a = _columns(x, row, rows, size_x, k_of_x, row_of_x, K)
    g = _columns(grad, row, rows, size_z, k_of_grad, row_of_grad, M)
    b = a
    if ALONG:
        b = _columns(along, row, rows, size_x, k_of_along, row_of_along, K)
    total = tl.zeros((ROWS, K), dtype)
    for start in range(0, points, POINTS):
        p = start + tl.arange(0, POINTS)
        in_p = p < points
        v, power = _at_points(a, b, values, p, points, size_x, ALONG, K, WIDE)
        at, mask = m[:, None] * points + p[None, :], in_p[None, :] & (m < size_z)[:, None]
        change = tl.zeros((ROWS, POINTS), dtype)
        for n in tl.static_range(1, ORDER + 1):
            if n > SHIFT:
                power = power * v / (n - SHIFT)
            if n >= SHIFT:
                w = _weights(
                    weight,
                    choice,
                    element,
                    row,
                    rows,
                    channels,
                    elements,
                    n,
                    size_z,
                    ORDER,
                    CHOSEN,
                    M,
                )
                matrix = tl.load(projection + (n - 1) * size_z * points + at, mask, 0)
                change += power * _product(w * g, matrix, WIDE)
        at, mask = p[:, None] * size_x + k[None, :], in_p[:, None] & (k < size_x)[None, :]
        matrix = tl.load(values + at, mask, 0)
        total += _product(change, matrix, WIDE)
    inside = (row < rows)[:, None] & (k < size_x)[None, :]
    tl.store(result + k.to(tl.int64)[None, :] * rows + row[:, None], total, inside)
