"""`geqlib brec` measures, goes on, and says what the protocol says."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from geqlib.cli import main
from geqlib.cli.brec import losses, notes, pair_numbers, show
from tests.data.graphs import raw_brec

TEXT = """
model:
  class_path: geqlib.models.PPGNpp
  init_args: {in_channels: 1, out_channels: 16, channels: 4, layers: 2, degree: 4}
recipe: {epochs: 1, batch_size: 32}
exact: folklore 2-WL
"""


def test_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One of the first two pairs is two equal graphs."""
    monkeypatch.setenv("GEQLIB_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    raw_brec.write(tmp_path)
    Path("net.yaml").write_text(TEXT)
    command = ["brec", "--config", "net.yaml", "--seeds", "1", "2", "--pairs", "0:2"]
    assert main(command) == 0
    out, err = capsys.readouterr()
    assert "BREC, seed" in out and "(best of 2 seeds)" in out
    assert "wrote runs/net/results.json" in out and "seed 2, pair 1," in err
    results = json.loads(Path("runs/net/results.json").read_text())
    assert results["valid"] and results["exact"]["separated"] == {"basic": 1, "all": 1}
    separated = results["seeds"][str(results["best"])]["basic"]["separated"]
    assert len(results["exact"]["lost"].get("basic", [])) == 1 - separated
    assert results["exact"]["unseen"] == {"basic": [1]}  # the two equal graphs
    assert "exact features (folklore 2-WL) separate 1 of these pairs." in out
    assert "not in these features, basic: 1 (1)" in out
    assert json.loads(Path("runs/net/exact.json").read_text())["features"] == "folklore 2-WL"
    remaining = {p: p.stat().st_mtime_ns for p in Path("runs").glob("net/seed*/*")}
    assert len(remaining) == 4 and main(command) == 0
    assert all(path.stat().st_mtime_ns == time for path, time in remaining.items())
    capsys.readouterr()
    assert main([*command, "--recipe.lr=1e-3"]) == 2
    assert "recipe.lr was 0.0001 and is 0.001" in capsys.readouterr().err


def test_pairs_lost() -> None:
    exact: dict[str, Any] = {"features": "1-WL", "separated": {"all": 5}}
    exact |= {"lost": {"basic": [1], "CFI": [300, 301, 309]}, "unseen": {"CFI": [302, 303]}}
    lines = losses({"best": 100, "exact": exact | {"won": {"basic": [7]}}})
    assert lines[1:] == [
        "lost in training, basic: 1 (1)",
        "lost in training, CFI: 300-301, 309 (3)",
        "not in these features, CFI: 302-303 (2)",
        "separated beyond exact features, basic: 7 (1)",
    ]
    assert losses({"best": 100, "exact": exact | {"lost": {}, "won": {}, "unseen": {}}})[1:] == [
        "Seed 100 loses none of them."
    ]
    assert losses({"best": 100}) == []


def test_missing_pairs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GEQLIB_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    Path("net.yaml").write_text(TEXT)
    raw_brec.write(tmp_path, pairs=59)
    assert main(["brec", "--config", "net.yaml"]) == 2
    assert "hold 798 graphs, expected 800 (400 pairs)" in capsys.readouterr().err
    raw_brec.write(tmp_path)
    assert main(["brec", "--config", "net.yaml", "--pairs", "399:401"]) == 2
    assert "There is no pair 400: choose from 0 to 399" in capsys.readouterr().err
    assert not Path("runs").exists()


def test_ranges_of_pairs() -> None:
    assert pair_numbers("0:400") == list(range(400)) and pair_numbers("7") == [7]
    for text in ("", "5:5", "a:b", "1:2:3", "-1:4"):
        with pytest.raises(ValueError, match="means no pairs: write FIRST:END"):
            pair_numbers(text)


def totals(real: int, failures: int) -> dict[str, dict[str, Any]]:
    row = {
        "pairs": 60, "separated": real + failures, "failures": failures, "real": real,
        "separated_exactly": 58, "failures_exactly": 3, "seconds": 1.26, "mebibytes": None,
        "spread": 2e-7,
    }  # fmt: skip
    return {"distance regular": row, "all": row}


def test_table_fits_a_terminal() -> None:
    results = {"best": 200, "valid": True, "seeds": {100: totals(50, 0), 200: totals(52, 0)}}
    expected = ["distance", "regular", "52", "of", "60", "0", "52", "58", "(3)", "1.3"]
    exact: dict[str, Any] = {"features": "1-WL", "lost": {}, "won": {}, "unseen": {}}
    exact["separated"] = {"distance regular": 59, "all": 59}
    for more, cells in (({}, []), ({"exact": exact}, ["59"])):
        console = Console(file=StringIO(), width=80)
        show(results | more, console)
        lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
        (line,) = [line for line in lines if "distance regular" in line]
        assert line.split() == expected + cells


def test_seeds_that_are_not_reliable_make_no_result() -> None:
    lines = notes({100: totals(50, 0), 200: totals(52, 1), 300: totals(51, 2)})
    assert lines[0].endswith("by seed: 100: 50, 200: 52, 300: 51.")
    assert lines[1].startswith("No valid result") and "seed 200 and 1 more" in lines[1]
    assert not any("No valid" in line for line in notes({100: totals(50, 0)}))
