"""Kernels of the sum over edges: one over each node's messages, and one over each edge.

With N nodes, R kernels that serve E messages, P points, C channels and M factors, in numbers (of
4 bytes in float32), each tensor being read or written once but for what caches do not hold; kernels
of nodes to themselves are left out:

- `_node_sum`, one program for each node and block of channels, one launch: y, or its transpose.
  Operations 2 E P C, and 2 E P C M for values from factors. It reads E P C numbers of features and
  E P C values, or E M (P + C) factors; and writes N P C.
- `_edge_slope`, one program for each kernel, one launch: derivatives by values or by both factors.
  Operations 2 E P C, and 2 R P C M for each factor. It reads 2 E P C numbers of features and
  R M (P + C) factors; and writes R P C values, or R M (P + C) factors.

Index tensors are taken as they are: numbers out of range are skipped, never read.
"""

# kernels are written in Triton's language, which type checkers take for Python
# pyright: reportArgumentType=false, reportCallIssue=false, reportAssignmentType=false

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 1024  # accumulators of a program, in registers
CHANNELS = 128  # of a block, at most


def partial_derivatives(
    wanted: str,
    a: Any,
    w: Any,
    x: Any,
    g: Any,
    source: Tensor,
    target: Tensor,
    paired: int,
    antipode: Tensor | None,
    message: Tensor,
    other: Tensor,
    ptr: Tensor,
) -> tuple[Tensor, ...]:
    """What `geqlib.kernels.edge_product._Partial` computes, from its arguments."""
    w, x, g = (None if t is None else t.contiguous() for t in (w, x, g))
    if w is not None or not _points_in_order(a):
        a = a.contiguous()
    total: dict[str, Tensor] = {}
    for row, (name, features) in enumerate((("g", x), ("x", g))):
        if name in wanted:
            order = message[row], other[row], ptr[row]
            total[name] = _sum_messages(a, w, features, antipode, order, source.size(0), paired)
    if "a" in wanted or "w" in wanted:
        total |= _slopes(wanted, a, w, x, g, source, target, paired, antipode)
    return tuple(total[name] for name in wanted)


def _sum_messages(
    a: Any, w: Any, x: Any, antipode: Any, order: Any, kernels: int, paired: int
) -> Tensor:
    nodes, points, channels = x.shape
    own = a.size(0) - kernels
    y = x.new_empty(x.shape, dtype=torch.promote_types(a.dtype, x.dtype))
    if a.size(0) == 0 or y.numel() == 0:
        return y.zero_()
    size = _blocks(points, channels)
    _node_sum[(nodes, triton.cdiv(channels, size["BLOCK_C"]))](
        y,
        x,
        a,
        a if w is None else w,
        *order,
        x if antipode is None else antipode,
        nodes,
        kernels,
        kernels + paired,
        points,
        channels,
        a.stride(1),
        FACTORS=0 if w is None else w.size(1),
        ANTIPODE=antipode is not None,
        OWN="none" if own == 0 else "shared" if own < nodes else "each",
        WIDE=_is_double(a, w, x),
        **size,
    )
    return y


def _points_in_order(a: Tensor) -> bool:
    """Whether channels lie side by side, and all points at one distance: kernels of a layer may be
    columns of those of all layers."""
    return a.stride(2) == 1 and a.stride(0) == a.size(1) * a.stride(1)


def _slopes(
    wanted: str,
    a: Any,
    w: Any,
    x: Any,
    g: Any,
    source: Tensor,
    target: Tensor,
    paired: int,
    antipode: Tensor | None,
) -> dict[str, Tensor]:
    nodes, points, channels = x.shape
    kernels = source.size(0)
    dtype = torch.promote_types(x.dtype, g.dtype)
    total = {}
    if "a" in wanted:
        total["a"] = a.new_empty(a.shape, dtype=dtype)
    if "w" in wanted:
        total["w"] = w.new_empty(w.shape, dtype=dtype)
    if channels == 0 or nodes == 0:
        return {name: t.zero_() for name, t in total.items()}
    if a.size(0) > kernels:
        _own_slopes(total, a, w, x * g, kernels)
    if kernels == 0:
        return total
    factors = 0 if w is None else w.size(1)
    _edge_slope[(kernels,)](
        total.get("a", x),
        total.get("w", x),
        x,
        g,
        a,
        a if w is None else w,
        source,
        target,
        x if antipode is None else antipode,
        nodes,
        paired,
        points,
        channels,
        FACTORS=factors,
        BLOCK_F=triton.next_power_of_2(max(factors, 1)),
        ANTIPODE=antipode is not None,
        BY_A="a" in wanted,
        BY_W="w" in wanted,
        WIDE=_is_double(a, w, x, g),
        **_blocks(points, channels),
    )
    return total


def _own_slopes(total: dict[str, Tensor], a: Any, w: Any, slope: Tensor, kernels: int) -> None:
    """Derivatives by the kernels of nodes to themselves, which stand behind the others."""
    if a.size(0) - kernels < slope.size(0):
        slope = slope.sum(0, keepdim=True)
    own = slice(kernels, None)
    if "a" in total:
        total["a"][own] = slope if w is None else torch.bmm(slope, w[own].mT)
    if "w" in total:
        total["w"][own] = torch.bmm(a[own].mT, slope)


def _blocks(points: int, channels: int) -> dict[str, int]:
    block_p = triton.next_power_of_2(points)
    block_c = min(triton.next_power_of_2(channels), max(BLOCK // block_p, 16), CHANNELS)
    return {"BLOCK_P": block_p, "BLOCK_C": block_c}


def _is_double(*tensors: Tensor | None) -> bool:
    return any(t is not None and t.dtype == torch.float64 for t in tensors)


@triton.jit
def _values(
    a,
    w,
    r,
    q,
    c,
    in_q,
    in_c,
    points,
    channels,
    stride,
    FACTORS: tl.constexpr,
    dtype: tl.constexpr,
):
    """k of one kernel at the points q and in the channels c."""
    if FACTORS == 0:
        at = (r * points + q)[:, None] * stride + c[None, :]
        k = tl.load(a + at, in_q[:, None] & in_c[None, :], 0).to(dtype)
    else:
        k = tl.zeros((q.shape[0], c.shape[0]), dtype)
        for f in range(FACTORS):
            of_p = tl.load(a + (r * points + q) * FACTORS + f, in_q, 0).to(dtype)
            of_c = tl.load(w + (r * FACTORS + f) * channels + c, in_c, 0).to(dtype)
            k += of_p[:, None] * of_c[None, :]
    return k


@triton.jit
def _node_sum(
    y,
    x,
    a,
    w,
    message,
    other,
    ptr,
    antipode,
    nodes,
    kernels,
    messages,
    points,
    channels,
    stride,
    FACTORS: tl.constexpr,
    ANTIPODE: tl.constexpr,
    OWN: tl.constexpr,
    WIDE: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    dtype: tl.constexpr = tl.float64 if WIDE else tl.float32
    node = tl.program_id(0).to(tl.int64)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    p = tl.arange(0, BLOCK_P)
    in_c, in_p = c < channels, p < points
    inside = in_p[:, None] & in_c[None, :]
    place = p[:, None] * channels + c[None, :]
    total = tl.zeros((BLOCK_P, BLOCK_C), dtype)
    begin = tl.maximum(tl.load(ptr + node), 0)
    end = tl.minimum(tl.load(ptr + node + 1), messages)
    for n in range(begin, end):
        m = tl.load(message + n).to(tl.int64)
        j = tl.load(other + n).to(tl.int64)
        real = (m >= 0) & (m < messages) & (j >= 0) & (j < nodes)
        r = tl.where(m >= kernels, m - kernels, m)
        q = p.to(tl.int64)
        if ANTIPODE:
            q = tl.where(m >= kernels, tl.load(antipode + p, in_p, 0).to(tl.int64), q)
        in_q = in_p & real & (q >= 0) & (q < points)
        in_c_q = in_c & real
        k = _values(a, w, r, q, c, in_q, in_c_q, points, channels, stride, FACTORS, dtype)
        value = tl.load(x + j * points * channels + place, inside & real, 0).to(dtype)
        total += k * value
    if OWN != "none":
        q = p.to(tl.int64)
        r = kernels + node * (OWN == "each")
        k = _values(a, w, r, q, c, in_p, in_c, points, channels, stride, FACTORS, dtype)
        total += k * tl.load(x + node * points * channels + place, inside, 0).to(dtype)
    tl.store(y + node * points * channels + place, total, inside)


@triton.jit
def _edge_slope(
    by_a,
    by_w,
    x,
    g,
    a,
    w,
    source,
    target,
    antipode,
    nodes,
    paired,
    points,
    channels,
    FACTORS: tl.constexpr,
    BLOCK_F: tl.constexpr,
    ANTIPODE: tl.constexpr,
    BY_A: tl.constexpr,
    BY_W: tl.constexpr,
    WIDE: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    dtype: tl.constexpr = tl.float64 if WIDE else tl.float32
    r = tl.program_id(0).to(tl.int64)
    i, j = tl.load(target + r).to(tl.int64), tl.load(source + r).to(tl.int64)
    real = (i >= 0) & (i < nodes) & (j >= 0) & (j < nodes)
    p, f = tl.arange(0, BLOCK_P), tl.arange(0, BLOCK_F)
    in_p = (p < points) & real
    q = p.to(tl.int64)
    if ANTIPODE:
        q = tl.load(antipode + p, p < points, 0).to(tl.int64)
    in_q = in_p & (q >= 0) & (q < points) & (r < paired)
    i_p, i_q = (i * points + p)[:, None] * channels, (i * points + q)[:, None] * channels
    j_p, j_q = (j * points + p)[:, None] * channels, (j * points + q)[:, None] * channels
    total = tl.zeros((BLOCK_P, BLOCK_F), dtype)
    for start in range(0, channels, BLOCK_C):
        c = start + tl.arange(0, BLOCK_C)
        in_c = (c < channels)[None, :]
        at = c[None, :]
        slope = tl.load(x + j_p + at, in_p[:, None] & in_c, 0).to(dtype)
        slope *= tl.load(g + i_p + at, in_p[:, None] & in_c, 0).to(dtype)
        turned = tl.load(x + i_q + at, in_q[:, None] & in_c, 0).to(dtype)
        slope += turned * tl.load(g + j_q + at, in_q[:, None] & in_c, 0).to(dtype)
        if FACTORS == 0:
            place = (r * points + p)[:, None] * channels + at
            tl.store(by_a + place, slope, (p < points)[:, None] & in_c)
        else:
            for m in range(FACTORS):
                of_c = (r * FACTORS + m) * channels + c
                if BY_A:
                    value = tl.load(w + of_c, c < channels, 0).to(dtype)
                    part = tl.sum(slope * value[None, :], 1)
                    total += tl.where(f[None, :] == m, part[:, None], 0)
                if BY_W:
                    value = tl.load(a + (r * points + p) * FACTORS + m, p < points, 0).to(dtype)
                    tl.store(by_w + of_c, tl.sum(slope * value[:, None], 0), c < channels)
    if BY_A and FACTORS > 0:
        place = (r * points + p)[:, None] * FACTORS + f[None, :]
        tl.store(by_a + place, total, (p < points)[:, None] & (f < FACTORS)[None, :])
