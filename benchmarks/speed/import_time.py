"""What `import geqlib` adds to importing torch and torch_geometric.

Protocol: fresh interpreters, all statements once per round, medians of {rounds} rounds.

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
STATEMENTS = {
    "torch, torch_geometric": "import torch, torch_geometric",
    "and geqlib": "import torch, torch_geometric, geqlib",
    "torch_geometric.nn": "import torch, torch_geometric.nn",
    "and geqlib's layers and models": "import torch, torch_geometric.nn, geqlib.nn, geqlib.models",
}


def main() -> None:
    seconds = interleaved({name: _import(code) for name, code in STATEMENTS.items()}, ROUNDS)
    publish(measured("speed/import_time", __doc__, [compared(seconds)]))


def compared(seconds: dict[str, float]) -> Table:
    bases = {"and geqlib": "torch, torch_geometric"}
    bases["and geqlib's layers and models"] = "torch_geometric.nn"
    rows = []
    for name, time in seconds.items():
        cells = {"seconds": time}
        if name in bases:
            cells["ratio"] = time / seconds[bases[name]]
        rows.append(Row((name,), cells, "geqlib" if name in bases else "peer"))
    columns = (Column("seconds", "time", "s", ".2f"), Column("ratio", "times without", "", ".2f"))
    return Table(("import of",), columns, tuple(rows), "seconds")


def _import(code: str) -> Callable[[], object]:
    return lambda: subprocess.run([sys.executable, "-c", code], check=True)


if __name__ == "__main__":
    start(main)
