"""Where a function of one number jumps: intervals to look into, and what is left of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Array = np.ndarray
NARROW = 1e-7  # of an interval in which a continuous function does not change


def suspects(changes: Array) -> set[int]:
    """The intervals whose change is least like the mean of those beside."""
    before, after = changes[:-2], changes[2:]
    unlike = np.abs(changes[1:-1] - (before + after) / 2)
    curved = unlike / (np.abs(after - before) + 1e-3 * unlike.max() + 1e-12)
    return {int(k) + 1 for key in (unlike, curved) for k in np.argsort(key)[-2:]}


def divided(at: Callable[[float], Array], a: float, b: float, quantity: int) -> float:
    """The change that is left in an interval, divided by eight again and again."""
    while True:
        points = np.linspace(a, b, 9)
        changes = np.diff([at(r)[quantity] for r in points])
        if b - a < 8 * NARROW or not np.isfinite(changes).all():
            return float(np.abs(changes).max())
        k = int(np.abs(changes - np.median(changes)).argmax())
        a, b = points[k], points[k + 1]
