"""How the benchmarks measure: interleaved medians, peak memory in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from rich.progress import track


def interleaved(
    runs: Mapping[str, Callable[[], object]],
    rounds: int,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Median seconds of each, all of them once per round: the machine's drift hits all alike.

    `clock=time.process_time` counts only what this process computes, for machines that others use.
    """
    times: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in track(range(rounds), "timing"):
        for name, run in runs.items():
            start = clock()
            run()
            times[name].append(clock() - start)
    return {name: median(seconds) for name, seconds in times.items()}


def peak_memory(run: Callable[[], object]) -> float:
    """MiB that `run` needs at its peak beyond what this process holds already.

    Linux only: `getrusage` would not do, because a child starts with its parent's peak there.
    """
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of what came before
    before = _high_water()
    run()
    return (_high_water() - before) / 1024


def processor_seconds(pid: int) -> float:
    """Seconds that all threads of a running process have computed (Linux only)."""
    # behind the name, which may hold spaces, in its parentheses
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def in_own_process(script: str, *args: str) -> Any:
    """The last line that `script` prints in a fresh process, read as JSON.

    The process gives freed tensors back to the system at once (glibc otherwise keeps some), so
    that its resident size is that of the live tensors.
    """
    command = [sys.executable, script, *args]
    settings = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=settings)
    return json.loads(done.stdout.strip().splitlines()[-1])


def _high_water() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
