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

from benchmarks.measure import write_result
from tests.properties.cases import all_cases
from tests.properties.measure import wrong_with

AT_ONCE = 200  # graphs in a batch


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--graphs", type=int, default=10_000, help="for each layer and model")
    given = parser.parse_args()
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    batches, wrong = -(-given.graphs // AT_ONCE), []
    cases = all_cases()
    for number, (name, case) in enumerate(track(cases.items(), "layers and models")):
        # not the seeds of the tests
        seeds = range(1000 * (number + 1), 1000 * (number + 1) + batches)
        found = (wrong_with(name, case, AT_ONCE, seed) for seed in seeds)
        wrong += [sentence for sentence in found if sentence]
    content = {"cases": sorted(cases), "graphs": batches * AT_ONCE, "wrong": wrong}
    write_result("properties", content)
    sys.stdout.writelines(f"{sentence}\n" for sentence in wrong)
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
