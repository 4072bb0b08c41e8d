"""A training step of geqlib beside that of another implementation: time and peak memory."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping

from benchmarks.measure import in_own_process, interleaved, peak_memory
from benchmarks.rows import Column, Row, Table

COLUMNS = (
    Column("seconds", "time", "s", ".2f"),
    Column("memory", "peak memory", "MiB", ".0f"),
)
Steps = Mapping[str, Callable[[], object]]


def printed_memory(steps: Callable[[], Steps], small: Callable[[], Steps]) -> bool:
    """Print the peak memory of one step, in a process that was started as `SCRIPT --memory NAME`.

    Args:
        steps: makes both, by name.
        small: the same of a small size, which loads all code before.
    """
    if "--memory" not in sys.argv:
        return False
    name = sys.argv[sys.argv.index("--memory") + 1]
    small()[name]()
    sys.stdout.write(json.dumps(peak_memory(steps()[name])) + "\n")
    return True


def measured_steps(
    script: str, steps: Steps, rounds: int, *arguments: str
) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds in an interleaved run; MiB in processes of their own, which call `printed_memory`.

    Args:
        script: that is running.
        steps: both, by name.
        rounds: of the interleaved run.
        arguments: of the script in these processes.
    """
    seconds = interleaved(steps, rounds)
    return seconds, {name: in_own_process(script, "--memory", name, *arguments) for name in seconds}


def step_table(
    title: str, seconds: Mapping[str, float], memory: Mapping[str, float], same: str
) -> Table:
    """The table of both, geqlib first; `same` says in what they agree."""
    ours, theirs = seconds
    rows = tuple(
        Row(
            (name,),
            {"seconds": seconds[name], "memory": memory[name]},
            "geqlib" if name == ours else "peer",
        )
        for name in seconds
    )
    speedup, share = seconds[theirs] / seconds[ours], memory[ours] / memory[theirs]
    note = (
        f"{speedup:.2f} times faster at {100 * share:.0f} % of the peak memory, for the same "
        f"{same}."
    )
    return Table((title,), COLUMNS, rows, "seconds", note)
