"""Speed benchmarks of two checkouts beside each other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import compare
from benchmarks.rows import to_json
from tests.benchmarks.example import RESULT

TOP = Path(__file__).parents[2]
SCRIPT = """
import os, pathlib
path = pathlib.Path(os.environ["GEQLIB_RESULTS"], "speed", "balls.json")
path.parent.mkdir(parents=True)
path.write_text(pathlib.Path("result.json").read_text())
"""


def checkout(folder: Path, result: str, script: str = SCRIPT) -> Path:
    (folder / "benchmarks" / "speed").mkdir(parents=True)
    (folder / "benchmarks" / "speed" / "balls.py").write_text(script)
    (folder / "result.json").write_text(result)
    return folder


def test_medians_and_ratios(tmp_path, monkeypatch, capsys):
    text = to_json(RESULT)
    old = checkout(tmp_path / "old", text.replace('"seconds": 0.02', '"seconds": 0.03'))
    monkeypatch.setattr(compare, "NEW", checkout(tmp_path / "new", text))
    assert compare.main([str(old), "balls", "--rounds", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| benchmark | row | quantity | old | new | new / old |"
    assert lines[2:] == [
        "| balls | geqlib `A` | time, ms | 30.0 | 20.0 | 0.67 |",
        "| balls | peer | time, ms | 50.0 | 50.0 | 1.00 |",
    ]


def test_a_failure_is_said_and_the_other_checkout_shown(tmp_path, monkeypatch, capsys):
    old = checkout(tmp_path / "old", "", "raise ValueError('no data')")
    monkeypatch.setattr(compare, "NEW", checkout(tmp_path / "new", to_json(RESULT)))
    assert compare.main([str(old), "balls", "--rounds", "1"]) == 0
    captured = capsys.readouterr()
    assert "balls failed in old: ValueError: no data" in captured.err
    assert "| balls | peer | time, ms | - | 50.0 | - |" in captured.out
    with pytest.raises(SystemExit, match="has no benchmarks/speed"):
        compare.main([str(tmp_path)])


def test_results_of_the_first_edition():
    content = {
        "degrees": {"2": {"grid": {"seconds": 0.02, "memory_mib": 9.0}, "aligned": {}}},
    }
    (table,) = compare.first_edition("gaunt_convolution", content)
    assert table.row("2", '`GauntConvolution`, "grid"').cells == {"seconds": 0.02, "memory": 9.0}
    with pytest.raises(SystemExit, match="no speed benchmark"):
        compare.first_edition("frames" + "_none", content)


def test_a_result_file_of_the_first_edition(tmp_path):
    path = tmp_path / "ponita.json"
    path.write_text(
        json.dumps({"seconds": {"geqlib": 1.0, "p": 2.0}, "memory_mib": {"geqlib": 3.0, "p": 4.0}})
    )
    numbers, _ = compare.numbers_of("ponita", path)
    assert numbers["ponita", "geqlib", "time, s"] == 1.0
    assert numbers["ponita", "p", "peak memory, MiB"] == 4.0
