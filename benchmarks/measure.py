"""How the benchmarks measure: interleaved medians, peak memory in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from rich.progress import track

from geqlib.files.atomic import replace_file
from geqlib.train.record import environment

RESULTS = Path(os.environ.get("GEQLIB_RESULTS", Path(__file__).parent / "results"))
STARTED = time.perf_counter()


def interleaved(
    runs: Mapping[str, Callable[[], object]],
    rounds: int,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Median seconds of each, all of them once a round: the machine's drift hits all alike.

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


def write_result(name: str, content: dict[str, Any]) -> Path:
    """Write benchmarks/results/NAME.json, with the environment it was measured in.

    Beside it stand the options of the script, and the wall time of its process up to now: what
    calls before this one did, whose finished runs it has read, is not in it.

    Args:
        name: of the script below benchmarks/, such as "accuracy/nbody".
        content: JSON values: the protocol, what was varied and what was measured.
    """
    path = RESULTS / f"{name}.json"
    known: dict[str, Any] = {
        "environment": environment() | {"e3nn": version("e3nn"), "numpy": version("numpy")},
        "options": sys.argv[1:],
        "wall_seconds": round(time.perf_counter() - STARTED, 1),
    }
    text = json.dumps(known | content, indent=1)
    replace_file(path, lambda part: part.write_text(text + "\n"))
    return path


def read_result(name: str) -> dict[str, Any]:
    """What `write_result` wrote."""
    path = RESULTS / f"{name}.json"
    if not path.exists():
        raise ValueError(f"There is no {path.name}: run python benchmarks/{name}.py first.")
    return json.loads(path.read_text())


def _high_water() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
