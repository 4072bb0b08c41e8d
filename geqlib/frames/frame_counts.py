"""Counts of frames as they are computed, and of degenerate ones among them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

Counts = list[tuple[int, int]]

_OPEN: list[Counts] = []


@contextmanager
def watch_frames() -> Iterator[Counts]:
    """Counts of frames that are computed inside the block, and of degenerate ones among them.

    Degenerate are samples whose covariance has repeated eigenvalues: their frame comes from extreme
    points, and jumps nearby (`geqlib.frames.degenerate`). Of local frames (`geqlib.nn.LocalFrames`)
    they are nodes with an arbitrary axis.

    Yields:
        a list to which each batch of samples appends (samples, degenerate ones).

    Example:
        >>> import torch
        >>> from geqlib.nn import FrameAveraging
        >>> net = FrameAveraging(torch.nn.Identity(), "O(3)", inputs={"input": "vector"},
        ...                      outputs="vector")
        >>> with watch_frames() as counts:
        ...     _ = net(input=torch.eye(3))
        >>> counts
        [(1, 1)]
    """
    counts: Counts = []
    _OPEN.append(counts)
    try:
        yield counts
    finally:
        _OPEN[:] = [other for other in _OPEN if other is not counts]


def open_counts() -> list[Counts]:
    """The lists of all open blocks of `watch_frames`, to which whatever computes frames appends."""
    return _OPEN
