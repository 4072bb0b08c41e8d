"""How many steps and graphs a run trains on in a second."""

from __future__ import annotations

import time
from typing import Any


class Throughput:
    """Counts batches and graphs of training, and the seconds between the start of its first batch
    and its end, without those of validation.

    Example:
        >>> speed = Throughput()
        >>> speed.begin(), speed.count(25), speed.pause()
        (None, None, None)
        >>> sorted(speed.rates(steps=1))
        ['graphs_per_second', 'steps_per_second']
    """

    def __init__(self) -> None:
        self.graphs, self.seconds = 0, 0.0
        self.started: float | None = None

    def begin(self) -> None:
        """Training goes on."""
        if self.started is None:
            self.started = time.perf_counter()

    def pause(self) -> None:
        """Something else begins, or training ends."""
        if self.started is not None:
            self.seconds += time.perf_counter() - self.started
        self.started = None

    def count(self, graphs: int) -> None:
        """A batch was trained on."""
        self.graphs += graphs

    def rates(self, steps: int) -> dict[str, float]:
        """Per second, of all processes if numbers are theirs; nothing before the first batch."""
        if not self.graphs or not self.seconds:
            return {}
        values = {"steps_per_second": steps, "graphs_per_second": self.graphs}
        return {name: float(f"{value / self.seconds:.4g}") for name, value in values.items()}


def graphs_of(batch: Any) -> int:
    """How many graphs a batch has; 0 where it does not say."""
    return int(getattr(batch, "num_graphs", 0))
