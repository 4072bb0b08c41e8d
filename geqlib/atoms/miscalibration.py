"""How honest standard deviations are: shares of errors within normal intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import erf

COUNT = 200  # of intervals


def interval_shares(scaled: Any, count: int = COUNT) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of central normal intervals, and shares of errors in them, [count] each.

    Args:
        scaled: errors over their standard deviations, [M].
        count: of intervals.

    Example:
        >>> interval_shares(np.array([0.1, -3.0]), 2)
        (array([0.25, 0.75]), array([0.5, 0.5]))
    """
    probability = erf(np.sort(np.abs(np.asarray(scaled, dtype=np.float64))) / np.sqrt(2))
    levels = (np.arange(count) + 0.5) / count
    share = np.searchsorted(probability, levels, side="right") / len(probability)
    return levels, share


def miscalibration_area(scaled: Any, count: int = COUNT) -> float:
    """Between the share of errors in central normal intervals and the probability of these.

    0 is perfect; 0.5 is the most there is.

    Args:
        scaled, count: as of `interval_shares`.

    Example:
        >>> miscalibration_area(np.full(10, 100.0))
        0.5
    """
    levels, share = interval_shares(scaled, count)
    return float(np.abs(share - levels).mean())
