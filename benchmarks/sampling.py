"""Errors of a mean over test samples, by the bootstrap: what another draw of them would give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from benchmarks.rows import Value, over

DRAWS = 2000
LEVEL = 0.95


def bootstrap(errors: Sequence[Sequence[float]]) -> Value:
    """Mean over runs and samples, deviation over runs, and the interval over samples.

    Args:
        errors: [runs, samples]; the interval is that of the mean over runs.

    Example:
        >>> value = bootstrap([[1.0, 2.0, 3.0], [1.0, 2.0, 6.0]])
        >>> value.mean, value.seeds, value.interval[0] < 2.5 < value.interval[1]
        (2.5, (2.0, 3.0), True)
    """
    table = np.asarray(errors)
    return replace(over(table.mean(1).tolist()), interval=interval(table.mean(0)))


def paired(ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]]) -> Value:
    """Theirs less ours, sample by sample, so that what both find hard cancels.

    Args:
        ours, theirs: [runs, samples] each, of the same samples; the runs may differ in number.
    """
    difference = np.asarray(theirs).mean(0) - np.asarray(ours).mean(0)
    return Value(float(difference.mean()), interval=interval(difference))


def interval(values: np.ndarray) -> tuple[float, float]:
    """Where the mean of as many samples lies in `LEVEL` of all draws with replacement."""
    rng = np.random.default_rng(0)
    picks = (rng.integers(len(values), size=len(values)) for _ in range(DRAWS))
    means = np.array([values[pick].mean() for pick in picks])
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(means, (tail, 1 - tail))
    return float(low), float(high)
