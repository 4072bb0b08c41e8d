"""`geqlib motifs` prints what a motif is made of, and how often it occurs."""

from __future__ import annotations

import re
from pathlib import Path

import networkx as nx
import pytest

from geqlib.cli import main
from tests.data.graphs import raw_graphs


def test_dimensions(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["motifs", "C4", "C8", "star3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name, patterns, dimension, network in (
        ("C4", "3", "2", "PPGN"),
        ("C8", "35", "3", "more than PPGN"),
        ("star3", "3", "1", "message passing"),
    ):
        (line,) = [x for x in lines if x.startswith(f"│ {name} ")]
        cells = [cell.strip() for cell in line.strip("│").split("│")]
        assert cells == [name, patterns, dimension, network]
    (line,) = [x for x in lines if x.startswith("C4: ")]
    assert re.fullmatch(r"C4: 1/8 hom\(.*\) - 1/4 hom\(.*\) \+ 1/8 hom\(0-1\)", line)


def test_graphs_of_a_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rings and stars of 3 to 8 nodes: four of the twenty rings are triangles."""
    monkeypatch.setenv("GEQLIB_DATA", str(tmp_path))
    monkeypatch.setenv("GEQLIB_CACHE", str(tmp_path / "cache"))
    raw_graphs.write(tmp_path, "MUTAG", kinds=3)
    assert main(["motifs", "C3", "K2", "K4", "--data", "MUTAG"]) == 0
    out = capsys.readouterr().out
    assert re.findall(r"(\d+) of 40", out) == ["4", "40", "0"]


def test_a_directed_graph_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By its own number and those of its nodes, and not by those of a batch."""
    monkeypatch.setenv("GEQLIB_DATA", str(tmp_path))
    monkeypatch.setenv("GEQLIB_CACHE", str(tmp_path / "cache"))
    ring = nx.cycle_graph(5).to_directed()
    raw_graphs.write_set(tmp_path, "MUTAG", [ring, nx.DiGraph([(0, 1)]), ring], [0, 1, 0])
    assert main(["motifs", "C3", "--data", "MUTAG"]) == 2
    error = capsys.readouterr().err
    assert "Motifs of graph 1 are not counted. The edge 0 -> 1 has no edge back" in error


def test_text_that_is_no_pattern(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["motifs", "ring"]) == 2
    assert "'ring' is no pattern: write C5" in capsys.readouterr().err
