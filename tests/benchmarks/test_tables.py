"""Tables of documents."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import rows, tables
from benchmarks.rows import Column, Row, Value, write_result
from benchmarks.tables import demo_result, text, to_markdown
from tests.benchmarks.example import RESULT, TABLE

SHOWN = """\
|  | degree | test MSE | time, ms | source |
| --- | --- | --- | --- | --- |
| **geqlib `A`** | 2 | 0.25000 ± 0.01000 | 20.0 | measured |
| peer | 2 | 0.5000 | 50.0 | measured, 2 seeds |
| paper |  | 2.0e-04 |  | published (Someone et al. 2020) |
| **old** (removed) ‡ | 3 | 0.3000 |  | measured |

Some words.

‡ Measured by the first edition.
"""


def test_rows_of_every_kind() -> None:
    assert to_markdown(RESULT) == SHOWN


def test_the_first_edition_says_which_rows_and_from_which_trees() -> None:
    """Published rows have no mark, whatever their stamp says."""
    *others, old = TABLE.rows
    dirty = replace(old, stamp="geqlib 1 at abc-dirty, first edition")
    for some, sentence in (
        ((dirty,), "with uncommitted changes."),
        ((old, dirty), "in part with uncommitted changes."),
    ):
        changed = replace(TABLE, rows=(*others, *some))
        text = to_markdown(replace(RESULT, tables=(changed,)))
        assert f"\n‡ Measured by the first edition, {sentence}\n" in text
        assert text.count("| **old** (removed) ‡ |") == len(some)
    published = replace(TABLE, rows=(replace(old, origin="published"),))
    assert "‡" not in to_markdown(replace(RESULT, tables=(published,)))


def test_columns_as_lines() -> None:
    table = replace(TABLE, rows=TABLE.rows[:2], turned=True, note="")
    lines = to_markdown(replace(RESULT, tables=(table,))).splitlines()
    assert lines[0] == "|  | geqlib `A` | peer |"
    assert lines[4] == "| time, ms | 20.0 | 50.0 |"


def test_a_table_of_geqlib_alone_is_not_bold() -> None:
    table = replace(TABLE, rows=TABLE.rows[:1])
    assert "| geqlib `A` | 2 | 0.25000" in to_markdown(replace(RESULT, tables=(table,)))


@pytest.mark.parametrize(
    ("cell", "format", "shown"),
    [
        (0.00345, "error", "0.0034"),
        (0.000345, "error", "3.4e-04"),
        (Value(4.1e-5, 2.4e-6), "error", "4.1e-05 ± 2.4e-06"),
        (46496, "", "46496"),
        ("yes", ".3f", "yes"),
    ],
)
def test_cells(cell: object, format: str, shown: str) -> None:
    assert text(Row(("a",), {"x": cell}), Column("x", "x", "", format)) == shown  # type: ignore
    assert text(Row(("a",), {}), Column("x", "x", "", format)) == ""


def test_documents_are_rewritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "RESULTS", tmp_path)
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    write_result(replace(RESULT, picture="balls"))
    page = tmp_path / "page.md"
    page.write_text(
        "a\n<!-- table:accuracy/balls -->\nold\n<!-- end -->\nb\n"
        "<!-- table:speed/nothing -->\n<!-- end -->\n"
    )
    rewritten = tables.rewritten(page)
    assert rewritten.startswith(f"a\n<!-- table:accuracy/balls -->\n{SHOWN[:20]}")
    assert "![balls](accuracy/balls.png)\n" in rewritten
    assert rewritten.endswith("<!-- table:speed/nothing -->\nNot measured yet.\n<!-- end -->\n")


def test_the_demo_is_a_result() -> None:
    run = {
        "name": "nbody",
        "seed": 0,
        "task": "DisplacementTask",
        "model": "PONITA",
        "data": "NBodyData",
        "metrics": {"test/mse": 0.004, "test/median": 1e-4},
        "baselines": {"copy": {"mse": 0.3, "median": 0.2}},
        "fit": {"seconds": 120.0, "epochs": 3, "steps": 9, "parameters": 5},
        "environment": {"geqlib": "2", "commit": "abc", "threads": "2"},
    }
    result = demo_result(run)
    assert "measured, 2.0 minutes of training on 2 threads of " in to_markdown(result)
    assert result.tables[0].rows[0].stamp.startswith("geqlib 2 at abc, ")
