"""Every layer and model on 10 000 generated graphs each: finite, and symmetric within rounding.

The tests (tests/properties) do the same on 200 graphs a layer, degenerate ones among them. What is
wrong is written down with its seed, and the exit code says whether anything was.

python benchmarks/properties.py [--graphs 10000]
"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path

from rich.progress import track

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.provenance import start
from benchmarks.rows import Column, Row, Table, measured, write_result
from tests.properties.cases import all_cases
from tests.properties.measure import wrong_with

AT_ONCE = 200  # graphs in a batch


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--graphs", type=int, default=10_000, help="for each layer and model")
    command = parser.parse_args()
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    batches = -(-command.graphs // AT_ONCE)
    wrong: dict[str, list[str]] = {}
    for number, (name, case) in enumerate(track(all_cases().items(), "layers and models")):
        # not the seeds of the tests
        seeds = range(1000 * (number + 1), 1000 * (number + 1) + batches)
        sentences = (wrong_with(name, case, AT_ONCE, seed) for seed in seeds)
        wrong[name] = [sentence for sentence in sentences if sentence]
    rows = tuple(
        Row((name,), {"graphs": batches * AT_ONCE, "wrong": "; ".join(sentences)})
        for name, sentences in sorted(wrong.items())
    )
    columns = (Column("graphs", "graphs"), Column("wrong", "errors"))
    write_result(measured("properties", __doc__, [Table(("case",), columns, rows)]))
    sys.stdout.writelines(f"{sentence}\n" for part in wrong.values() for sentence in part)
    return int(any(wrong.values()))


if __name__ == "__main__":
    start(main)
