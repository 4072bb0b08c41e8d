"""Kernel of the product of functions on the sphere: z = C^T ((A x) * (B y)), in one launch.

One program takes a block of rows, each a channel of a node, and goes through the points of the grid
in blocks: values of both functions, their product and its share of the coefficients of z stay in
registers. With R rows, P points and K1, K2 and K3 coefficients: 2 R P (K1 + K2 + K3) operations; it
reads R (K1 + K2) numbers and writes R K3 (of 4 bytes in float32), beside the matrices, which caches
hold. Its derivatives are the same kernel with A, B and C exchanged.

Matrix products are those of float32, never of TF32.
"""

# kernels are written in Triton's language, which type checkers take for Python
# pyright: reportArgumentType=false, reportCallIssue=false, reportAssignmentType=false

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

ROWS = 32  # of a program
POINTS = 16  # of a block


class Side(NamedTuple):
    """One of the three factors.

    Args:
        matrix: [P, K] from coefficients to values at points, in float64.
        order: [K C] where coefficient k of channel c stands in a node's features, at k C + c.
    """

    matrix: Tensor
    order: Tensor


def grid_product(x: Tensor, y: Tensor, first: Side, second: Side, out: Side) -> Tensor:
    """[n, K3 C] of x [n, K1 C] and y [n, K2 C]."""
    points, sizes = first.matrix.size(0), [side.matrix.size(1) for side in (first, second, out)]
    channels = x.size(1) // sizes[0]
    z = x.new_empty(x.size(0), channels * sizes[2])
    rows = x.size(0) * channels
    if rows == 0:
        return z
    _grid_product[(triton.cdiv(rows, ROWS),)](
        z,
        x.contiguous(),
        y.contiguous(),
        *first,
        *second,
        *out,
        rows,
        channels,
        points,
        *sizes,
        *(max(triton.next_power_of_2(size), 16) for size in sizes),
        WIDE=x.dtype == torch.float64,
        ROWS=ROWS,
        POINTS=POINTS,
    )
    return z


@triton.jit
def _places(order, row, coefficients, rows, channels, K: tl.constexpr):
    """[ROWS, K] where the coefficients of rows stand, and whether they do."""
    k = tl.arange(0, K)
    inside = (row < rows)[:, None] & (k < coefficients)[None, :]
    at = k[None, :] * channels + (row % channels)[:, None]
    place = tl.load(order + at, inside, 0).to(tl.int64)
    width = coefficients * channels
    return (row // channels)[:, None] * width + place, inside & (place >= 0) & (place < width)


@triton.jit
def _grid_product(
    z,
    x,
    y,
    of_x,
    order_x,
    of_y,
    order_y,
    of_z,
    order_z,
    rows,
    channels,
    points,
    size_x,
    size_y,
    size_z,
    K1: tl.constexpr,
    K2: tl.constexpr,
    K3: tl.constexpr,
    WIDE: tl.constexpr,
    ROWS: tl.constexpr,
    POINTS: tl.constexpr,
):
    dtype: tl.constexpr = tl.float64 if WIDE else tl.float32
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    k1, k2, k3 = tl.arange(0, K1), tl.arange(0, K2), tl.arange(0, K3)
    place, inside = _places(order_x, row, size_x, rows, channels, K1)
    a = tl.load(x + place, inside, 0)
    place, inside = _places(order_y, row, size_y, rows, channels, K2)
    b = tl.load(y + place, inside, 0)
    total = tl.zeros((ROWS, K3), dtype)
    for start in range(0, points, POINTS):
        p = start + tl.arange(0, POINTS)
        in_p = p < points
        at, mask = p[None, :] * size_x + k1[:, None], in_p[None, :] & (k1 < size_x)[:, None]
        matrix = tl.load(of_x + at, mask, 0).to(dtype)
        values = tl.dot(a, matrix, input_precision="ieee", out_dtype=dtype)
        at, mask = p[None, :] * size_y + k2[:, None], in_p[None, :] & (k2 < size_y)[:, None]
        matrix = tl.load(of_y + at, mask, 0).to(dtype)
        values *= tl.dot(b, matrix, input_precision="ieee", out_dtype=dtype)
        at, mask = p[:, None] * size_z + k3[None, :], in_p[:, None] & (k3 < size_z)[None, :]
        matrix = tl.load(of_z + at, mask, 0).to(dtype)
        total += tl.dot(values, matrix, input_precision="ieee", out_dtype=dtype)
    place, inside = _places(order_z, row, size_z, rows, channels, K3)
    tl.store(z + place, total, inside)
