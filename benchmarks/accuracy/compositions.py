"""Parts of the library inside each other: are they symmetric, and do they train?

Protocol: the compositions of tests/compositions.py, 4 channels wide. The error is the largest that
`geqlib.testing.equivariance_error` finds under relabelling and under the exact group, on graphs of
0 to 4 nodes with random edges in float64, with random weights. Training is on what the same
composition with other weights says of 16 random graphs, Adam with learning rate 0.01, 100 steps in
float32; the loss is the mean squared error of targets that are scaled to a mean square of 1.

    python benchmarks/accuracy/compositions.py
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

from rich.progress import track

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.markdown import markdown
from benchmarks.measure import write_result
from benchmarks.training import show
from geqlib.testing import equivariance_error
from tests.compositions import COMPOSITIONS, Composition, fit
from tests.contract import RAGGED, Case, join, random_graphs

STEPS = 100
HEAD = ("part", "in", "exact symmetry", "error", "parameters", "loss before", "after")


def main() -> None:
    rows = [measured(given) for given in track(COMPOSITIONS, "compositions")]
    content = {"protocol": " ".join((__doc__ or "").split("\n\n")[1].split()), "rows": rows}
    path = write_result("accuracy/compositions", content)
    show("Compositions", HEAD, _rows(content))
    sys.stdout.write(f"wrote {path}\n")


def measured(given: Composition) -> dict[str, Any]:
    losses, module = fit(given.case, STEPS)
    return {
        "part": given.part,
        "host": given.host,
        "symmetry": given.symmetry,
        "error": error(given.case),
        "parameters": sum(p.numel() for p in module.parameters()),
        "before": losses[0],
        "after": losses[-1],
    }


def error(case: Case) -> float:
    """The largest under relabelling and all exact groups, in float64."""
    inputs = join(random_graphs(case, RAGGED))
    fn = partial(case.call, case.make(), len(RAGGED))
    return max(
        equivariance_error(fn, inputs, case.outputs, group) for group in ("S_n", *case.groups)
    )


def table(found: dict[str, Any]) -> str:
    return markdown(HEAD, _rows(found))


def _rows(found: dict[str, Any]) -> list[tuple[object, ...]]:
    return [
        (
            row["part"],
            row["host"],
            row["symmetry"],
            f"{row['error']:.0e}",
            row["parameters"],
            f"{row['before']:.2f}",
            f"{row['after']:.2f}",
        )
        for row in found["rows"]
    ]


if __name__ == "__main__":
    main()
