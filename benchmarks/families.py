"""The table "which family for which problem", whose numbers are those of the result files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.provenance import FIRST_EDITION
from benchmarks.rows import Column, Result, Row, Table

DOCS = Path(__file__).parents[1] / "docs"
HEADER = ("problem", "begin with", "measured", "beside it")


@dataclass(frozen=True)
class Problem:
    """A problem and where what was measured of it stands.

    Args:
        text: what the data is and what is wanted.
        model: what to begin with.
        page: of docs/, that describes it.
        result: name of the result file.
        quantity: what the column means to somebody who does not know the benchmark.
        column: key of the column.
        ours: labels of the row of the model.
        others: labels of a row to compare with, measured in the same run.
    """

    text: str
    model: str
    page: str
    result: str
    quantity: str
    column: str
    ours: tuple[str, ...]
    others: tuple[str, ...]


PROBLEMS = (
    Problem(
        "motion of charged bodies: points with velocities",
        "`PONITA`",
        "ponita.md",
        "accuracy/nbody",
        "squared error of 5-body positions",
        "mse",
        ("geqlib PONITA",),
        ("linear",),
    ),
    Problem(
        "energies and forces, few structures",
        "`GauntNet`",
        "gaunt_net.md",
        "accuracy/potential_3bpa",
        "forces of 3BPA, meV/Å",
        "forces, 300 K",
        ("geqlib GauntNet",),
        ("MACE",),
    ),
    Problem(
        "tensors of molecules as outputs",
        "`GauntNet`",
        "gaunt_net.md",
        "accuracy/water_tensors",
        "polarisabilities of water, degree 2, % of the spread",
        "degree 2",
        ("GauntNet",),
        ("e3nn",),
    ),
    Problem(
        "images and clouds in the plane that may be turned",
        "`PONITA` in the plane",
        "ponita.md",
        "accuracy/digits",
        "accuracy on turned digits, %",
        "turned",
        ("PONITA R2xS1",),
        ("PointNet",),
    ),
    Problem(
        "clouds of points in any pose, with a network of one's own",
        "`FrameAveraging`",
        "point_clouds.md",
        "accuracy/normals",
        "normals of turned surfaces, error",
        "error, I/SO(3)",
        ("FA-DGCNN",),
        ("DGCNN",),
    ),
    Problem(
        "classes of small graphs",
        "`SPEN`",
        "spen.md",
        "accuracy/tu",
        "accuracy on MUTAG, ten folds, %",
        "published",
        ("MUTAG", "SPEN"),
        ("MUTAG", "GIN"),
    ),
    Problem(
        "graphs that message passing does not distinguish",
        "counts of motifs, `PPGNpp`",
        "motifs.md",
        "accuracy/brec_exact",
        "pairs of BREC separated, of 400",
        "pairs",
        ("folklore 2-WL, Q5, cliques",),
        ("1-WL",),
    ),
    Problem(
        "sets larger than those of the training",
        "`MonoidAggregation`",
        "monoid.md",
        "accuracy/second_minimum",
        "second smallest of 200 numbers, accuracy in %",
        "200",
        ("second minimum", "monoid, selection"),
        ("second minimum", "PNA"),
    ),
)


def families(
    folder: Path,
    read: Callable[[str], Result],
    text: Callable[[Row, Column], str],
    mark: Callable[[Row, str], str],
) -> tuple[tuple[str, ...], list[list[str]], bool]:
    """The table for a document.

    Args:
        folder: of the document.
        read: a result by its name.
        text: a cell of a row.
        mark: of a row of that result, if it would be measured otherwise today.

    Returns:
        Header, lines, and whether a number was measured by the first edition.

    Raises:
        ValueError: if a result has no such row or column.
    """
    lines, old = [], False
    for problem in PROBLEMS:
        result = read(problem.result)
        column, ours = _found(result, problem, problem.ours)
        _, others = _found(result, problem, problem.others)
        old |= any(FIRST_EDITION in row.stamp for row in (ours, others))
        page = os.path.relpath(DOCS / problem.page, folder)
        shown = [f"{text(row, column)}{mark(row, result.name)}" for row in (ours, others)]
        lines.append(
            [
                problem.text,
                f"{problem.model} ([page]({page}))",
                f"{problem.quantity}: **{shown[0]}**",
                f"{others.labels[-1]}: {shown[1]}",
            ]
        )
    return HEADER, lines, old


def _found(result: Result, problem: Problem, labels: tuple[str, ...]) -> tuple[Column, Row]:
    for table in result.tables:
        if (column := _column(table, problem.column)) is None:
            continue
        for row in _named(table, labels):
            return column, row
    raise ValueError(f"{result.name} has no row {labels} with {problem.column!r}.")


def _column(table: Table, key: str) -> Column | None:
    return next((column for column in table.columns if column.key == key), None)


def _named(table: Table, labels: tuple[str, ...]) -> Iterator[Row]:
    return (row for row in table.rows if row.labels == labels and row.origin != "published")
