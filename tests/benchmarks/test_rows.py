"""Typed rows and their files."""

from __future__ import annotations

import doctest
import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import rows, tables
from benchmarks.rows import Row, Value, from_json, joined, over, read_result, to_json, write_result
from tests.benchmarks.example import RESULT, TABLE


@pytest.fixture(autouse=True)
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(rows, "RESULTS", tmp_path)
    return tmp_path


def test_what_is_written_is_read() -> None:
    write_result(RESULT)
    assert read_result("accuracy/balls") == RESULT


def test_numbers_keep_every_bit() -> None:
    numbers = (0.1 + 0.2, 1e-300, 1.7976931348623157e308, 3, float("inf"))
    curve = tuple((float(k), x) for k, x in enumerate(numbers))
    row = Row(("a",), {"x": over(numbers[:2]), "n": 7, "text": "yes"}, curves={"c": curve})
    result = replace(RESULT, tables=(replace(TABLE, rows=(row,)),))
    (table,) = from_json(to_json(result), Path("x.json")).tables
    assert table.rows == (row,) and isinstance(table.rows[0].cells["n"], int)


def test_lists_of_numbers_take_one_line() -> None:
    assert '"mse": {"mean": 0.25, "deviation": 0.01, "seeds": [0.24, 0.26]}' in to_json(RESULT)


def test_damaged_files_are_named(results: Path) -> None:
    with pytest.raises(ValueError, match=r"no nbody.json: run python benchmarks/accuracy/nbody.py"):
        read_result("accuracy/nbody")
    path = write_result(RESULT)
    content = json.loads(path.read_text())
    for broken in ("{", "{}", json.dumps(content | {"strange": 1}), '{"tables": [{}]}'):
        path.write_text(broken)
        with pytest.raises(ValueError, match=r"balls.json is damaged, or was written by another"):
            read_result("accuracy/balls")


def test_rows_that_are_not_measured_anew_stay() -> None:
    new = replace(TABLE, rows=(replace(TABLE.rows[1], cells={"mse": 0.4}), TABLE.rows[2]))
    assert joined("accuracy/balls", new) == new
    write_result(RESULT)
    table = joined("accuracy/balls", new)
    assert [row.labels[0] for row in table.rows] == ["geqlib `A`", "peer", "old", "paper"]
    assert table.row("peer").number("mse") == 0.4


def test_values_of_a_row() -> None:
    row = TABLE.row("geqlib `A`")
    assert row.value("mse") == Value(0.25, 0.01, (0.24, 0.26)) and row.number("degree") == 2
    with pytest.raises(ValueError, match="There is no row nothing"):
        TABLE.row("nothing")
    with pytest.raises(ValueError, match="The cell a of x is text"):
        Row(("x",), {"a": "yes"}).number("a")


def test_measured_rows_get_a_stamp() -> None:
    result = rows.measured("accuracy/balls", "A title.\n\nProtocol: of\nballs.\n", [TABLE])
    ours, _, published, old = result.tables[0].rows
    assert ours.stamp.startswith(f"geqlib {result.environment['geqlib']} at ")
    assert not published.stamp and old.stamp == "geqlib 1, first edition"
    assert (result.title, result.protocol) == ("A title", "Protocol: of balls.")


@pytest.mark.parametrize("module", [rows, tables])
def test_examples(module: object) -> None:
    assert doctest.testmod(module).failed == 0
