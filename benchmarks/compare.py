"""Two checkouts beside each other: their speed benchmarks, alternating in one session.

Each checkout runs its own scripts, one process after the other, old and new in turn; the table has
medians over rounds of every time and peak memory that both measured. Results go to a temporary
folder, not to benchmarks/results.

python benchmarks/compare.py OLD_CHECKOUT [NAME ...] [--rounds 3]
python benchmarks/compare.py OLD_CHECKOUT ponita "gaunt 4"      # arguments of a script, in quotes
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.rows import Column, Row, Table, from_json
from benchmarks.tables import markdown, text

NEW = Path(__file__).parents[1]
UNITS = ("ms", "s", "MiB", "GiB", "steps per second")
Key = tuple[str, str, str]  # benchmark, row, quantity
Numbers = dict[Key, float]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("old", type=Path, help="a checkout")
    parser.add_argument("names", nargs="*", help="such as ponita; all by default")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    if not (options.old / "benchmarks" / "speed").is_dir():
        raise SystemExit(f"{options.old} is no checkout: it has no benchmarks/speed.")
    every = sorted(path.stem for path in (NEW / "benchmarks" / "speed").glob("*.py"))
    trees = {"old": options.old.resolve(), "new": NEW}
    columns: dict[Key, Column] = {}
    rounds: dict[str, list[Numbers]] = {tree: [] for tree in trees}
    for _ in range(options.rounds):
        for words in map(shlex.split, options.names or every):
            for tree, folder in trees.items():
                numbers, shown = measure(folder, *words)
                rounds[tree].append(numbers)
                columns |= shown
    medians = {tree: medians_of(of_tree) for tree, of_tree in rounds.items()}
    header = ["benchmark", "row", "quantity", "old", "new", "new / old"]
    sys.stdout.write(markdown(header, lines(medians["old"], medians["new"], columns)))
    return 0


def measure(tree: Path, name: str, *arguments: str) -> tuple[Numbers, dict[Key, Column]]:
    """Run a script of a checkout; nothing where it fails, which is said."""
    with TemporaryDirectory() as folder:
        settings = {"GEQLIB_RESULTS": folder, "PYTHONPATH": str(tree)}
        command = [sys.executable, f"benchmarks/speed/{name}.py", *arguments]
        done = subprocess.run(
            command, cwd=tree, env=os.environ | settings, capture_output=True, text=True
        )
        path = Path(folder) / "speed" / f"{name}.json"
        if done.returncode or not path.exists():
            last = (done.stderr.strip().splitlines() or ["no result"])[-1]
            sys.stderr.write(f"{name} failed in {tree.name}: {last}\n")
            return {}, {}
        return numbers_of(name, path)


def numbers_of(name: str, path: Path) -> tuple[Numbers, dict[Key, Column]]:
    """Times and memory in a result file, and how they are shown."""
    content = path.read_text(encoding="utf-8")
    if "tables" in json.loads(content):
        tables: Sequence[Table] = from_json(content, path).tables
    else:
        tables = first_edition(name, json.loads(content))
    numbers: Numbers = {}
    columns: dict[Key, Column] = {}
    for table in tables:
        for row in table.rows:
            for column in table.columns:
                if column.key in row.cells and (column.unit or column.title) in UNITS:
                    key = name, ", ".join(row.labels), column.header
                    numbers[key], columns[key] = row.number(column.key), column
    return numbers, columns


def medians_of(rounds: Sequence[Numbers]) -> Numbers:
    keys = dict.fromkeys(key for numbers in rounds for key in numbers)
    return {key: median(numbers[key] for numbers in rounds if key in numbers) for key in keys}


def lines(old: Numbers, new: Numbers, columns: Mapping[Key, Column]) -> list[list[str]]:
    """Cells of every quantity that one of the checkouts has measured."""
    cells = []
    for key in dict.fromkeys([*new, *old]):
        pair = [
            text(Row((), {columns[key].key: of_tree[key]}), columns[key]) if key in of_tree else "-"
            for of_tree in (old, new)
        ]
        ratio = f"{new[key] / old[key]:.2f}" if key in new and old.get(key) else "-"
        cells.append([*key, *pair, ratio])
    return cells


def first_edition(name: str, content: Mapping[str, Any]) -> list[Table]:
    """Tables of a result of the first edition, whose files had a form for each script."""
    readers: dict[str, Callable[[Mapping[str, Any]], list[Table]]] = {
        "dynamics": lambda c: [script.compared(c["rates"])],
        "frames": lambda c: [
            script.cost_table(c["seconds"]),
            script.eigen_table(c["eigen_seconds"], c["eigen_residual"]),
        ],
        "gaunt": lambda c: [
            script.peer_table({int(n): _both(x["seconds"]) for n, x in c["by_threads"].items()}),
            script.method_table(c["methods"]),
        ],
        "gaunt_convolution": lambda c: [
            script.compared(
                [
                    script.own_row(degree, method, _memory(cells))
                    for degree, of_degree in c["degrees"].items()
                    for method, cells in of_degree.items()
                    if method not in ("aligned", "neighbors")
                ]
            )
        ],
        "gaunt_power": lambda c: [
            script.compared(
                [
                    row
                    for degree, pair in c["degrees"].items()
                    for row in script.own_rows(degree, {k: _memory(x) for k, x in pair.items()})
                ]
            )
        ],
        "import_time": lambda c: [script.compared(c["seconds"])],
        "memory": lambda c: [script.compared(c["rows"])],
        "monoid": lambda c: [script.compared(c["seconds"], c["memory_mib"])],
        "ponita": lambda c: [script.compared(c["seconds"], c["memory_mib"])],
        "programs": lambda c: [
            script.compared(
                [script.own_row(x["network"], x["atoms"], x["seconds"]) for x in c["rows"]]
            )
        ],
        "spen": lambda c: [
            script.step_table({int(n): x for n, x in c["proteins_seconds"].items()}),
            script.memory_table(c["memory"]),
            script.loops_table(c["mutag_seconds"]),
            script.large_table(c["large"]),
        ],
        "streaming": lambda c: [script.compared([Row((str(x["frames"]),), x) for x in c["rows"]])],
    }
    if name not in readers:
        raise SystemExit(f"The first edition has no speed benchmark {name}.")
    script: Any = import_module(f"benchmarks.speed.{name}")
    return readers[name](content)


def _both(seconds: Mapping[str, float]) -> dict[str, float]:
    return {k.replace("| and back", "| forward and back"): x for k, x in seconds.items()}


def _memory(cells: Mapping[str, float]) -> dict[str, float]:
    return {"seconds": cells["seconds"], "memory": cells["memory_mib"]}


if __name__ == "__main__":
    raise SystemExit(main())
