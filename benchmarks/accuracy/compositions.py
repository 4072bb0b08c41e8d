"""Parts of the library inside each other: are they symmetric, and do they train?

Protocol: the compositions of tests/compositions.py, 4 channels wide. The error is the largest that
`geqlib.testing.equivariance_error` finds under relabelling and under the exact group, on graphs of
0 to 4 nodes with random edges in float64, with random weights. Training is to the outputs of the
same composition with other weights for 16 random graphs, Adam with learning rate 0.01, {steps}
steps in float32; the loss is the mean squared error of targets that are scaled to a mean square of
1.

    python benchmarks/accuracy/compositions.py
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from rich.progress import track

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.provenance import start
from benchmarks.rows import Column, Row, Table, measured
from benchmarks.tables import publish
from geqlib.testing import equivariance_error
from tests.compositions import COMPOSITIONS, Composition, fit
from tests.contract import RAGGED, Case, join, random_graphs

STEPS = 100
COLUMNS = (
    Column("error", "error", "", ".0e"),
    Column("parameters", "parameters"),
    Column("before", "loss before", "", ".2f"),
    Column("after", "after", "", ".2f"),
)
HEADS = ("part", "in", "exact symmetry")


def main() -> None:
    rows = tuple(row(composition) for composition in track(COMPOSITIONS, "compositions"))
    publish(measured("accuracy/compositions", __doc__, [Table(HEADS, COLUMNS, rows, "error")]))


def row(composition: Composition) -> Row:
    losses, module = fit(composition.case, STEPS)
    labels = (composition.part, composition.host, composition.symmetry)
    cells = {
        "error": error(composition.case),
        "parameters": sum(p.numel() for p in module.parameters()),
        "before": losses[0],
        "after": losses[-1],
    }
    return Row(labels, cells)


def error(case: Case) -> float:
    """The largest under relabelling and all exact groups, in float64."""
    inputs = join(random_graphs(case, RAGGED))
    fn = partial(case.call, case.make(), len(RAGGED))
    return max(
        equivariance_error(fn, inputs, case.outputs, group) for group in ("S_n", *case.groups)
    )


if __name__ == "__main__":
    start(main)
