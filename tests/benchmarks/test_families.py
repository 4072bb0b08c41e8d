"""The table "which family for which problem": its numbers are those of the result files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import families, tables
from benchmarks.accuracy import generation
from benchmarks.rows import Column, Result, Row, Table
from benchmarks.tables import families_markdown

PROBLEM = families.Problem(
    "sets", "`Net`", "monoid.md", "accuracy/some", "error", "mse", ("ours",), ("theirs",)
)


def result(name: str) -> Result:
    rows = tuple(
        Row((label,), {"mse": value}, origin, stamp="geqlib at abc")
        for label, value, origin in (
            ("ours", 0.25, "geqlib"),
            ("theirs", 0.5, "peer"),
            ("theirs", 9.0, "published"),
        )
    )
    return Result(name, "Some", "", (Table(("",), (Column("mse", "MSE", "", ".2f"),), rows),))


def drawn(monkeypatch: pytest.MonkeyPatch, problem: families.Problem, mark: str = "") -> list[str]:
    monkeypatch.setattr(families, "PROBLEMS", (problem,))
    text = lambda row, column: format(row.cells[column.key], column.format)  # noqa: E731
    marked = lambda row, name: mark if row.labels == ("ours",) else ""  # noqa: E731
    _, lines, notes = families.families(Path(families.DOCS), result, text, marked)
    assert not notes
    return lines[0]


def test_a_line_has_the_numbers_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    assert drawn(monkeypatch, PROBLEM) == [
        "sets",
        "`Net` ([page](monoid.md))",
        "error: **0.25**",
        "theirs: 0.50",
    ]
    assert drawn(monkeypatch, PROBLEM, " †")[2:] == ["error: **0.25 †**", "theirs: 0.50"]


def test_a_column_that_no_file_has(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"accuracy/some has no column 'mae'"):
        drawn(monkeypatch, replace(PROBLEM, column="mae"))


def test_what_was_not_measured_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    line = drawn(monkeypatch, replace(PROBLEM, ours=("nobody",)))
    assert line[2:] == ["error: not measured yet", "theirs: 0.50"]
    monkeypatch.setattr(families, "PROBLEMS", (PROBLEM,))
    _, lines, notes = families.families(Path(families.DOCS), lambda name: None, format, format)
    assert lines[0][2:] == ["error: not measured yet", "theirs: not measured yet"] and not notes


def test_notes_of_tables_are_below(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each once, but those that are not about the numbers."""

    def with_note(name: str) -> Result:
        table = replace(result(name).tables[0], note=f"Chosen on the test set of {name}.")
        return replace(result(name), tables=(table,))

    others = (
        PROBLEM,
        replace(PROBLEM, result="accuracy/other"),
        PROBLEM,
        replace(PROBLEM, result="accuracy/third", noted=False),
        replace(PROBLEM, ours=("nobody",), others=("nobody",), result="accuracy/fourth"),
    )
    monkeypatch.setattr(families, "PROBLEMS", others)
    _, lines, notes = families.families(
        Path(families.DOCS), with_note, lambda row, column: "1", lambda row, name: ""
    )
    assert [line[2] for line in lines] == [
        "error: **1** (note 1)",
        "error: **1** (note 2)",
        "error: **1** (note 1)",
        "error: **1**",
        "error: not measured yet",
    ]
    assert notes == [
        "Note 1: Chosen on the test set of accuracy/some.",
        "Note 2: Chosen on the test set of accuracy/other.",
    ]


def test_numbers_of_the_first_edition_have_a_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    def old(name: str) -> Result:
        rows = tuple(replace(row, stamp="geqlib 1, first edition") for row in TABLE.rows)
        return replace(result(name), tables=(replace(TABLE, rows=rows),))

    TABLE = result("accuracy/some").tables[0]
    monkeypatch.setattr(families, "PROBLEMS", (PROBLEM,))
    monkeypatch.setattr(tables, "read_result", old)
    monkeypatch.setattr(tables, "RESULTS", families.DOCS)  # where the file may be anything
    monkeypatch.setattr(Path, "exists", lambda path: True)
    text = tables.families_markdown(families.DOCS)
    assert "error: **0.25 ‡** | theirs: 0.50 ‡ |" in text
    assert "\n‡ Measured by the first edition.\n" in text


def test_rows_are_told_apart_by_what_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        families, "PROBLEMS", (replace(PROBLEM, ours=("ours", "1"), others=("theirs", "1")),)
    )
    _, lines, _ = families.families(Path(families.DOCS), lambda name: None, format, format)
    assert lines[0][3] == "theirs: not measured yet"


def test_every_family_has_a_page_in_the_table() -> None:
    pages = {problem.page for problem in families.PROBLEMS}
    assert {"escaip.md", "dpa3.md", "motifs.md", "pard.md", "subsets.md", "generation.md"} <= pages


def test_rows_of_generation_have_the_labels_that_its_benchmark_writes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.argv", ["generation.py"])
    plan = generation.planned(generation._arguments())
    written = {(label, f"{sigma_max:g}") for label, _, sigma_max, _ in plan}
    (problem,) = (p for p in families.PROBLEMS if p.result == "accuracy/generation")
    assert {problem.ours, problem.others} <= written
    assert problem.column in {column.key for column in generation.COLUMNS}


def test_exact_features_are_no_network() -> None:
    """340 of BREC's pairs are separated by features; no network was trained for that number."""
    (problem,) = (p for p in families.PROBLEMS if p.result == "accuracy/brec_exact")
    assert "PPGN" not in problem.model and "without any network" in problem.quantity


def test_the_documents_have_every_problem() -> None:
    for folder in (families.DOCS, families.DOCS.parent):
        text = families_markdown(folder)
        assert len(text.splitlines()) >= 2 + len(families.PROBLEMS)
        assert all((families.DOCS / problem.page).exists() for problem in families.PROBLEMS)
    assert "](docs/monoid.md)" in families_markdown(families.DOCS.parent)
