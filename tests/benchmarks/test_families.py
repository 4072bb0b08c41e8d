"""The table "which family for which problem": its numbers are those of the result files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import families
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
    _, lines, old = families.families(Path(families.DOCS), result, text, marked)
    assert not old
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
    _, lines, old = families.families(Path(families.DOCS), lambda name: None, format, format)
    assert lines[0][2:] == ["error: not measured yet", "theirs: not measured yet"] and not old


def test_rows_are_told_apart_by_what_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        families, "PROBLEMS", (replace(PROBLEM, ours=("ours", "1"), others=("theirs", "1")),)
    )
    _, lines, _ = families.families(Path(families.DOCS), lambda name: None, format, format)
    assert lines[0][3] == "theirs: not measured yet"


def test_every_family_has_a_page_in_the_table() -> None:
    pages = {problem.page for problem in families.PROBLEMS}
    assert {"escaip.md", "dpa3.md", "motifs.md", "pard.md", "subsets.md", "generation.md"} <= pages


def test_the_documents_have_every_problem() -> None:
    for folder in (families.DOCS, families.DOCS.parent):
        text = families_markdown(folder)
        assert len(text.splitlines()) >= 2 + len(families.PROBLEMS)
        assert all((families.DOCS / problem.page).exists() for problem in families.PROBLEMS)
    assert "](docs/monoid.md)" in families_markdown(families.DOCS.parent)
