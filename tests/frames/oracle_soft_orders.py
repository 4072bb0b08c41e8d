"""Soft orders by their formulas, one graph and one entry at a time; GroCo's loss as published."""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor


def softsort(scores: list[float], temperature: float) -> np.ndarray:
    """P_ij = exp(-|k_(i) - k_j| / T) / sum over l of exp(-|k_(i) - k_l| / T)."""
    matrix = []
    for smallest in sorted(scores):
        row = [math.exp(-abs(smallest - k) / temperature) for k in scores]
        matrix.append([entry / sum(row) for entry in row])
    return np.array(matrix).reshape(len(scores), len(scores))


def sinkhorn(scores: list[float], temperature: float, rounds: int = 3000) -> np.ndarray:
    """Rows and columns of exp(-|k_(i) - k_j| / T) scaled in turn."""
    k = np.array(scores)
    matrix = np.exp(-np.abs(np.sort(k)[:, None] - k) / temperature)
    for _ in range(rounds):
        matrix = matrix / matrix.sum(1, keepdims=True)
        matrix = matrix / matrix.sum(0, keepdims=True)
    return matrix


def odd_even(keys: list[float], steepness: float, swap: str) -> tuple[np.ndarray, np.ndarray]:
    """Keys and P after n layers of swaps, each a matrix."""
    functions = {
        "cauchy": lambda v: math.atan(v) / math.pi + 0.5,
        "logistic": lambda v: 1 / (1 + math.exp(-v)),
        "reciprocal": lambda v: 0.5 * (v / (2 + abs(v)) + 1),
        # diffsort's s_best
        "optimal": lambda v: (
            min(max(v, -0.25), 0.25)
            + 0.5
            + ((v > 0.25) - (v < -0.25)) * (0.25 - 1 / 16 / (abs(v) + 1e-10))
        ),
    }
    k, product = np.array(keys, dtype=float), np.eye(len(keys))
    for layer in range(len(keys)):
        step = np.eye(len(keys))
        for i in range(layer % 2, len(keys) - 1, 2):
            share = functions[swap](float(steepness * (k[i + 1] - k[i])))
            step[i : i + 2, i : i + 2] = [[share, 1 - share], [1 - share, share]]
        k, product = step @ k, step @ product
    return k, product


def groco(positive: Tensor, negative: Tensor, steepness: float) -> float:
    """The published loss of similarities [B, V] and [B, K]: both binary cross-entropies."""
    losses = []
    for own, other in zip(positive.tolist(), negative.tolist(), strict=True):
        count = len(other)
        matrix = odd_even([*sorted(other), *sorted(own)], steepness, "cauchy")[1]
        low, high = matrix[:count].sum(0).clip(0, 1), matrix[count:].sum(0).clip(0, 1)
        is_low = np.arange(len(matrix)) < count
        pairs = zip((low, high), (is_low, ~is_low), strict=True)
        losses += [-np.log(np.where(true, mass, 1 - mass)) for mass, true in pairs]
    return float(np.mean(losses))
