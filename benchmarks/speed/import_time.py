"""What `import geqlib` adds to importing torch, torch_geometric and e3nn.

Protocol: fresh interpreters, all statements once per round, medians of {rounds} rounds. geqlib's
layers are to take at most 15 % more than the three packages that they are built on.

    python benchmarks/speed/import_time.py
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.measure import interleaved
from benchmarks.provenance import start
from benchmarks.rows import Column, Row, Table, measured
from benchmarks.tables import publish

ROUNDS = 7
BASE = "import torch, torch_geometric, e3nn.o3"
LAYERS = "import torch, torch_geometric.nn, e3nn.o3"
STATEMENTS = {
    "torch, torch_geometric, e3nn": BASE,
    "and geqlib": f"{BASE}, geqlib",
    "torch_geometric.nn, e3nn": LAYERS,
    "and geqlib.nn": f"{LAYERS}, geqlib.nn",
    "and geqlib.nn, geqlib.models": f"{LAYERS}, geqlib.nn, geqlib.models",
}
BASES = {
    "and geqlib": "torch, torch_geometric, e3nn",
    "and geqlib.nn": "torch_geometric.nn, e3nn",
    "and geqlib.nn, geqlib.models": "torch_geometric.nn, e3nn",
}


def main() -> None:
    seconds = interleaved({name: _import(code) for name, code in STATEMENTS.items()}, ROUNDS)
    publish(measured("speed/import_time", __doc__, [compared(seconds)]))


def compared(seconds: dict[str, float]) -> Table:
    rows = []
    for name, time in seconds.items():
        cells = {"seconds": time}
        if BASES.get(name) in seconds:
            cells["ratio"] = time / seconds[BASES[name]]
        rows.append(Row((name,), cells, "geqlib" if name in BASES else "peer"))
    columns = (Column("seconds", "time", "s", ".2f"), Column("ratio", "times without", "", ".2f"))
    return Table(("import of",), columns, tuple(rows), "seconds")


def _import(code: str) -> Callable[[], object]:
    return lambda: subprocess.run([sys.executable, "-c", code], check=True)


if __name__ == "__main__":
    start(main)
