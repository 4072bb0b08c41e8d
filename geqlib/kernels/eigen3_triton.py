"""Kernel of eigenvalues and eigenvectors of many symmetric 3 x 3 matrices, by Jacobi's rotations.

One thread takes a matrix and turns it, in registers, in the planes of two axes until nothing is
left outside of its diagonal: five times in each of three planes, where four were enough in all
tests, as what is left is at least squared each time. Rotations keep the eigenvectors orthonormal to
rounding, however close eigenvalues are, so that nothing is checked afterwards. For B matrices it
reads 9 B numbers, writes 12 B and computes about 800 B; one launch, where the closed form of
`geqlib/frames/eigen3.py`, its twin, takes 60 and waits for its largest residual. NaN and infinity
give NaN.
"""

# kernels are written in Triton's language, which type checkers take for Python
# pyright: reportArgumentType=false, reportCallIssue=false, reportAssignmentType=false
# pyright: reportGeneralTypeIssues=false

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 64  # matrices of a program
SWEEPS = 5


def eigen3(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues [B, 3], descending, and eigenvectors [B, 3, 3] in columns.

    Args:
        matrix: [B, 3, 3], of which the lower triangle is read.
    """
    count = len(matrix)
    values, vectors = matrix.new_empty(count, 3), matrix.new_empty(count, 3, 3)
    if count:
        wide = matrix.dtype == torch.float64
        grid = (triton.cdiv(count, BLOCK),)
        _eigen3[grid](values, vectors, matrix.contiguous(), count, wide, BLOCK, SWEEPS)
    return values, vectors


@triton.jit
def _turned(p, q, off, p_r, q_r, p0, p1, p2, q0, q1, q2):
    """Turn two axes in their plane, so that the matrix has 0 for them instead of `off`.

    p and q are their entries on the diagonal, p_r and q_r those with the third axis, and the others
    their components.
    """
    difference = q - p
    length = tl.abs(difference) + tl.sqrt(difference * difference + 4 * off * off)
    # the smaller one of the two angles
    tangent = 2 * tl.where(difference < 0, -off, off) / tl.where(length == 0, 1.0, length)
    c = 1 / tl.sqrt(1 + tangent * tangent)
    s = tangent * c
    p, q = p - tangent * off, q + tangent * off
    p_r, q_r = c * p_r - s * q_r, s * p_r + c * q_r
    p0, q0 = c * p0 - s * q0, s * p0 + c * q0
    p1, q1 = c * p1 - s * q1, s * p1 + c * q1
    p2, q2 = c * p2 - s * q2, s * p2 + c * q2
    return p, q, p_r, q_r, p0, p1, p2, q0, q1, q2


@triton.jit
def _larger_first(p, q, p0, p1, p2, q0, q1, q2):
    """Two values and their vectors in descending order."""
    swap = q > p
    p, q = tl.where(swap, q, p), tl.where(swap, p, q)
    p0, q0 = tl.where(swap, q0, p0), tl.where(swap, p0, q0)
    p1, q1 = tl.where(swap, q1, p1), tl.where(swap, p1, q1)
    p2, q2 = tl.where(swap, q2, p2), tl.where(swap, p2, q2)
    return p, q, p0, p1, p2, q0, q1, q2


@triton.jit
def _eigen3(
    values,
    vectors,
    matrix,
    count,
    WIDE: tl.constexpr,
    BLOCK: tl.constexpr,
    SWEEPS: tl.constexpr,
):
    dtype: tl.constexpr = tl.float64 if WIDE else tl.float32
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = n < count
    at = matrix + 9 * n
    a = tl.load(at, inside, 0).to(dtype)
    b = tl.load(at + 4, inside, 0).to(dtype)
    c = tl.load(at + 8, inside, 0).to(dtype)
    ab = tl.load(at + 3, inside, 0).to(dtype)
    ac = tl.load(at + 6, inside, 0).to(dtype)
    bc = tl.load(at + 7, inside, 0).to(dtype)
    # in units of the largest entry, so that no square overflows
    size = tl.maximum(tl.maximum(tl.abs(a), tl.abs(b)), tl.maximum(tl.abs(c), tl.abs(ab)))
    size = tl.maximum(size, tl.maximum(tl.abs(ac), tl.abs(bc)))
    size = tl.where(size == 0, 1.0, size).to(dtype)
    a, b, c, ab, ac, bc = a / size, b / size, c / size, ab / size, ac / size, bc / size
    zero, one = tl.zeros_like(a), tl.full(a.shape, 1, dtype)
    a0, a1, a2, b0, b1, b2, c0, c1, c2 = one, zero, zero, zero, one, zero, zero, zero, one
    for _ in tl.static_range(SWEEPS):
        a, b, ac, bc, a0, a1, a2, b0, b1, b2 = _turned(a, b, ab, ac, bc, a0, a1, a2, b0, b1, b2)
        ab = zero
        a, c, ab, bc, a0, a1, a2, c0, c1, c2 = _turned(a, c, ac, ab, bc, a0, a1, a2, c0, c1, c2)
        ac = zero
        b, c, ab, ac, b0, b1, b2, c0, c1, c2 = _turned(b, c, bc, ab, ac, b0, b1, b2, c0, c1, c2)
        bc = zero
    a, b, a0, a1, a2, b0, b1, b2 = _larger_first(a, b, a0, a1, a2, b0, b1, b2)
    b, c, b0, b1, b2, c0, c1, c2 = _larger_first(b, c, b0, b1, b2, c0, c1, c2)
    a, b, a0, a1, a2, b0, b1, b2 = _larger_first(a, b, a0, a1, a2, b0, b1, b2)
    to = values + 3 * n
    tl.store(to, a * size, inside)
    tl.store(to + 1, b * size, inside)
    tl.store(to + 2, c * size, inside)
    to = vectors + 9 * n
    tl.store(to, a0, inside)
    tl.store(to + 1, b0, inside)
    tl.store(to + 2, c0, inside)
    tl.store(to + 3, a1, inside)
    tl.store(to + 4, b1, inside)
    tl.store(to + 5, c1, inside)
    tl.store(to + 6, a2, inside)
    tl.store(to + 7, b2, inside)
    tl.store(to + 8, c2, inside)
