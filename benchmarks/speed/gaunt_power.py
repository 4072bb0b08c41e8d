"""Many-body products: powers on one grid against MACE's symmetric contraction.

Protocol: products of order {order} of features of natural parity to degree L, {channels} channels,
{nodes} nodes of 4 elements, outputs to degree L, float32; forward and backward to the features and
the weights. MACE's `SymmetricContraction` (mace-torch, its own environment) has weights for every
path, geqlib's `GauntPower` for every degree. Each is timed in processes of its own, alternately;
the median of their medians. Peak memory is the rise of a fresh process's maximum resident size over
one step, after steps on two nodes that load all code.

    make peers
    python benchmarks/speed/gaunt_power.py [ROUNDS] [DEGREES ...]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.peers import mace
from benchmarks.provenance import start
from benchmarks.rows import Column, Row, Table, measured
from benchmarks.tables import publish

WORKER = Path(__file__).parents[1] / "peers" / "many_body.py"
CHANNELS, NODES, ORDER = 32, 500, 3
COLUMNS = (
    Column("seconds", "time", "ms", ".2f", 1e3),
    Column("memory", "peak memory", "MiB", ".1f"),
    Column("speedup", "times as fast", "", ".1f"),
    Column("share", "of the memory", "%", ".0f", 100),
)
NAMES = {"geqlib": "`GauntPower`", "mace": "MACE's `SymmetricContraction`"}
SECONDS = 2.0  # of timing in each process


def once(name: str, degree: int, seconds: float, **settings: str) -> float:
    """Median seconds of a step, or its peak MiB for `seconds` 0, in a process of its own."""
    python = sys.executable if name == "geqlib" else str(mace.BIN / "python")
    sizes = [str(n) for n in (degree, CHANNELS, NODES, ORDER, seconds)]
    command = [python, str(WORKER), name, *sizes]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env=os.environ | settings
    )
    return json.loads(done.stdout.strip().splitlines()[-1])


def measure(degree: int, rounds: int) -> dict[str, dict[str, float]]:
    seconds: dict[str, list[float]] = {"geqlib": [], "mace": []}
    for _ in range(rounds):
        for name, times in seconds.items():
            times.append(once(name, degree, SECONDS))
    # freed tensors go back to the system at once, so that sizes are those of the live ones
    threshold = {"MALLOC_MMAP_THRESHOLD_": "65536"}
    return {
        name: {"seconds": median(times), "memory": once(name, degree, 0, **threshold)}
        for name, times in seconds.items()
    }


def main() -> None:
    if not mace.available():
        raise SystemExit("MACE is missing: run make peers.")
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    degrees = [int(word) for word in sys.argv[2:]] or [1, 2, 3]
    rows = [row for n in degrees for row in own_rows(str(n), measure(n, rounds))]
    publish(measured("speed/gaunt_power", __doc__, [compared(rows)]))


def own_rows(degree: str, pair: dict[str, dict[str, float]]) -> list[Row]:
    ours, theirs = pair["geqlib"], pair["mace"]
    ratios = {
        "speedup": theirs["seconds"] / ours["seconds"],
        "share": ours["memory"] / theirs["memory"],
    }
    return [
        Row((degree, NAMES["geqlib"]), ours | ratios),
        Row((degree, NAMES["mace"]), theirs, "peer"),
    ]


def compared(rows: list[Row]) -> Table:
    return Table(("L", "forward and backward"), COLUMNS, tuple(rows), "seconds")


if __name__ == "__main__":
    start(main)
