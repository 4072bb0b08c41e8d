"""The table "which family for which problem", whose numbers are those of the result files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from benchmarks.rows import Column, Result, Row, Table

DOCS = Path(__file__).parents[1] / "docs"
UNMEASURED = "not measured yet"
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
        noted: whether the note below the table of the result is about these numbers.
    """

    text: str
    model: str
    page: str
    result: str
    quantity: str
    column: str
    ours: tuple[str, ...]
    others: tuple[str, ...]
    noted: bool = True


PROBLEMS = (
    Problem(
        "motion of charged bodies: points with velocities",
        "`PONITA`",
        "ponita.md",
        "accuracy/nbody",
        "squared error of 5-body positions",
        "mse",
        ("geqlib PONITA",),
        ("EGNN",),
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
        "atoms, large data sets, by plain attention on invariants",
        "`EScAIP`",
        "escaip.md",
        "accuracy/potentials",
        "forces of 3BPA at equal processor time, meV/Å",
        "forces",
        ("3BPA, 300 K", "2", "geqlib EScAIP"),
        ("3BPA, 300 K", "2", "MACE"),
    ),
    Problem(
        "atoms, when data are large or mixed and training is long",
        "`DPA3`",
        "dpa3.md",
        "accuracy/potentials",
        "forces of 3BPA at equal processor time, meV/Å",
        "forces",
        ("3BPA, 300 K", "2", "geqlib DPA3"),
        ("3BPA, 300 K", "2", "MACE"),
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
        "counts of motifs as features",
        "motifs.md",
        "accuracy/brec_exact",
        "pairs of BREC, of 400, that exact features separate without any network (folklore 2-WL, "
        "Q5, cliques)",
        "pairs",
        ("folklore 2-WL, Q5, cliques",),
        ("1-WL",),
        noted=False,  # it is about the time of the counts
    ),
    Problem(
        "numbers that depend on the rings of a molecule",
        "counts of motifs",
        "motifs.md",
        "accuracy/logp",
        "penalised logP, mean absolute error of GIN with counts of cycles",
        "mae",
        ("GIN, cycles",),
        ("GIN",),
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
    Problem(
        "the subset of a set that is right",
        "`EquiVSet`",
        "subsets.md",
        "accuracy/subsets",
        "Jaccard index of the odd points of 100 in two moons",
        "own",
        ("moons, 10 of 100", "INSET, superset"),
        ("moons, 10 of 100", "DeepSet"),
    ),
    Problem(
        "new molecules like those of a data set",
        "`MoleculeDiffusion`",
        "generation.md",
        "accuracy/generation",
        "stable molecules of QM9's elements, %",
        "molecule",
        ("geqlib PONITA", "5"),
        ("EGNN", "5"),
    ),
    Problem(
        "new graphs like those of a data set",
        "`PARD`",
        "pard.md",
        "accuracy/graph_generation",
        "discrepancy of the degrees of small communities",
        "degree",
        ("community_small", "PARD, K = 3"),
        ("community_small", "training graphs"),
    ),
)


def families(
    folder: Path,
    read: Callable[[str], Result | None],
    text: Callable[[Row, Column], str],
    mark: Callable[[Row, str], str],
) -> tuple[tuple[str, ...], list[list[str]], list[str]]:
    """The table for a document.

    Args:
        folder: of the document.
        read: a result by its name; None if it was not measured yet.
        text: a cell of a row.
        mark: behind a row of the result of this name, if it would be measured otherwise today.

    Returns:
        Header, lines, and the notes below the tables that numbers are from, to which lines refer.

    Raises:
        ValueError: if a result has no such column.
    """
    lines: list[list[str]] = []
    notes: list[str] = []
    for problem in PROBLEMS:
        result = read(problem.result)
        shown, note = [], ""
        for labels in (problem.ours, problem.others):
            place = None if result is None else _place(result, problem, labels)
            if place is None:
                shown.append(UNMEASURED)
                continue
            table, column, row = place
            note = table.note if problem.noted else ""
            shown.append(f"{text(row, column)}{mark(row, problem.result)}")
        ours, others = shown
        ours = ours if ours == UNMEASURED else f"**{ours}**"
        if note:
            notes += [] if note in notes else [note]
            ours += f" (note {notes.index(note) + 1})"
        page = os.path.relpath(DOCS / problem.page, folder)
        lines.append(
            [
                problem.text,
                f"{problem.model} ([page]({page}))",
                f"{problem.quantity}: {ours}",
                f"{_beside(problem)}: {others}",
            ]
        )
    return HEADER, lines, [f"Note {k}: {note}" for k, note in enumerate(notes, 1)]


def _beside(problem: Problem) -> str:
    """What tells the row to compare with from that of the model."""
    pairs = zip(problem.others, problem.ours, strict=True)
    return ", ".join(other for other, own in pairs if other != own)


def _place(
    result: Result, problem: Problem, labels: tuple[str, ...]
) -> tuple[Table, Column, Row] | None:
    """Where a number stands; None if there is no such row."""
    tables = [table for table in result.tables if _column(table, problem.column)]
    if not tables:
        raise ValueError(f"{result.name} has no column {problem.column!r}.")
    rows = ((table, row) for table in tables for row in _named(table, labels))
    place = next(rows, None)
    if place is None:
        return None
    table, row = place
    return table, cast(Column, _column(table, problem.column)), row


def _column(table: Table, key: str) -> Column | None:
    return next((column for column in table.columns if column.key == key), None)


def _named(table: Table, labels: tuple[str, ...]) -> Iterator[Row]:
    return (row for row in table.rows if row.labels == labels and row.origin != "published")
