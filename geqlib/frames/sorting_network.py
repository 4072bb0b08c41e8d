"""Odd-even sorting networks whose swaps are soft: what GroCo sorts with.

Source: Petersen et al., "Monotonic differentiable sorting networks" (ICLR 2022, arXiv 2203.09630).
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor

Swap = Literal["cauchy", "logistic", "reciprocal", "optimal"]


def odd_even_sort(
    keys: Tensor, *, steepness: float = 1.0, swap: Swap = "cauchy"
) -> tuple[Tensor, Tensor]:
    """Softly sorted keys P k, and the doubly stochastic P.

    n layers compare neighbours, those of an even and those of an odd place in turn, and replace
    each pair (a, b) by

        a' = s a + (1 - s) b,   b' = (1 - s) a + s b,   s = f(steepness (b - a)),

    with f(v) = 1/2 + arctan(v) / pi for "cauchy", 1 / (1 + exp(-v)) for "logistic",
    1/2 + v / (4 + 2 |v|) for "reciprocal"; for "optimal" 1/2 + v where |v| < 1/4, and
    1 - 1 / (16 v) beyond, v > 0.

    Symmetry: **none**. P depends on the order in which keys come: of 8 Gaussian keys at steepness
    10, entries of P differ by up to 0.2 in the mean over random orders, and by 0.5 at most. GroCo
    sorts the keys before. That makes the result invariant, and still not continuous: where two
    neighbours tie it jumps, by up to 0.2, unless the first layer compares them
    (`python benchmarks/accuracy/soft_orders.py`). For orders that are invariant and continuous take
    `geqlib.frames.soft_orders`; this is for the reproduction of GroCo.

    Source: Petersen et al., "Monotonic differentiable sorting networks" (ICLR 2022).

    Args:
        keys: [..., n].
        steepness: hard swaps as it grows; positive.
        swap: f.

    Returns:
        [..., n], ascending as the steepness grows, and P [..., n, n]: P_ij says how much of key j
        is in place i.

    Raises:
        ValueError: a steepness that is not positive, another swap.

    Example:
        >>> values, matrix = odd_even_sort(torch.tensor([3.0, 1.0, 2.0]), steepness=1e4)
        >>> values.round(), matrix.argmax(-1)
        (tensor([1., 2., 3.]), tensor([1, 2, 0]))
    """
    if not 0 < steepness < float("inf"):
        raise ValueError(f"steepness must be positive and finite, got {steepness}.")
    if swap not in get_args(Swap):
        raise ValueError(f"swap must be one of {get_args(Swap)}, got {swap!r}.")
    n = keys.size(-1)
    identity = torch.eye(n, dtype=keys.dtype, device=keys.device)
    # keys and the rows of P go through the same swaps
    rows = torch.cat([keys[..., None], identity.expand(*keys.shape, n)], -1)
    for layer in range(n):
        upper = torch.arange(layer % 2, n - 1, 2, device=keys.device)
        a, b = rows[..., upper, :], rows[..., upper + 1, :]
        share = swap_share(steepness * (b[..., :1] - a[..., :1]), swap)
        swapped = torch.cat([share * a + (1 - share) * b, (1 - share) * a + share * b], -2)
        rows = rows.index_copy(-2, torch.cat([upper, upper + 1]), swapped)
    return rows[..., 0], rows[..., 1:]


def swap_share(v: Tensor, swap: Swap) -> Tensor:
    """f(v): from 0 to 1, and 1/2 at 0."""
    if swap == "cauchy":
        return 0.5 + v.atan() / math.pi
    if swap == "logistic":
        return v.sigmoid()
    if swap == "reciprocal":
        return 0.5 + v / (4 + 2 * v.abs())
    tail = v.sign() * (0.5 - 1 / (16 * v.abs().clamp(min=0.25)))
    return 0.5 + torch.where(v.abs() < 0.25, v, tail)
