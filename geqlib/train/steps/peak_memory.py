"""How much memory a part of a program takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch


class PeakMemory:
    """The most memory that was in use since this was made, above what was then in use.

    On a GPU that of torch's tensors. On a CPU that of the process, where Linux counts it; memory
    that an earlier part gave back to the allocator, and not to the system, is not seen again.

    Args:
        device: whose memory.

    Example:
        >>> memory = PeakMemory()
        >>> memory.mebibytes() is None or memory.mebibytes() >= 0
        True
    """

    def __init__(self, device: Any = "cpu") -> None:
        self.device = torch.device(device)
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            self.start: float | None = torch.cuda.memory_allocated(self.device) / 2**20
        else:
            self.start = _reset()

    def mebibytes(self) -> float | None:
        """MiB; None where nobody counts."""
        if self.start is None:
            return None
        if self.device.type == "cuda":
            peak: float | None = torch.cuda.max_memory_allocated(self.device) / 2**20
        else:
            peak = _status("VmHWM")
        return None if peak is None else max(peak - self.start, 0.0)


def _reset() -> float | None:
    """What the process has now, from which the peak is counted anew."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    return _status("VmRSS")


def _status(name: str) -> float | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(x.split()[1]) / 2**10 for x in lines if x.startswith(f"{name}:")), None)
