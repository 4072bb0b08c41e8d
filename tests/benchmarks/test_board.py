"""The board of all results."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from benchmarks import board, rows
from benchmarks.board import differences, main_rows, main_table, write_board
from benchmarks.rows import Row, write_result
from tests.benchmarks.example import RESULT, TABLE

PNG = b"\x89PNG\r\n\x1a\n"


class Page(HTMLParser):
    """The pictures of a page, and what it would load from elsewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.pictures: list[str] = []
        self.elsewhere: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        source = attributes.get("src") or attributes.get("href")
        if source and source.startswith("data:image/png;base64,"):
            self.pictures.append(source)
        elif source:
            self.elsewhere.append(source)


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(rows, "RESULTS", tmp_path / "results")
    return tmp_path / "results"


@pytest.mark.slow
def test_board(results, tmp_path, capsys):
    write_result(RESULT)
    (results / "accuracy" / "balls.png").write_bytes(PNG)
    out = tmp_path / "out"
    assert board.main(["--out", str(out)]) == 0
    assert f"wrote {out}/board.md and {out}/board.html" in capsys.readouterr().out
    text = (out / "board.md").read_text()
    assert "## accuracy/balls: How balls move" in text
    assert "three balls" in text and "Some words." in text and "torch 1" in text
    assert "| geqlib A | 2 | 0.25000 ± 0.01000 | 20.0 | measured |" in text
    assert text.index("*paper*") > text.index("| peer | 2 | 0.5000 | 50.0 | measured, 2 seeds |")
    assert "Differences of: test MSE.\n\n- geqlib A: -0.250 (-50 %) against peer" in text
    assert "Measured by geqlib 1, first edition." in text
    assert (out / "board.png").read_bytes().startswith(PNG)
    assert (out / "accuracy_balls.png").read_bytes() == PNG
    page = Page((out / "board.html").read_text())
    assert len(page.pictures) == 2 and not page.elsewhere


def test_damaged_results_and_none(results, tmp_path):
    out = ["--out", str(tmp_path / "out")]
    with pytest.raises(ValueError, match="run geqlib bench accuracy or speed first"):
        board.main(out)
    write_result(RESULT).write_text("{")
    with pytest.raises(ValueError, match=r"balls\.json is damaged"):
        board.main(out)
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="is a file: choose another --out"):
        write_board([RESULT], tmp_path / "file")


def test_the_main_quantity_is_drawn_and_no_other_number():
    assert main_table(RESULT) is TABLE and board.main_column(TABLE).key == "mse"
    without = replace(TABLE, main="")
    assert main_table(replace(RESULT, tables=(without,))) is None
    assert main_table(replace(RESULT, tables=(without, TABLE))) is TABLE


def test_published_rows_are_no_peers():
    origins = {name: row.origin for name, row in main_rows(TABLE).items()}
    assert origins == {
        "geqlib A": "geqlib",
        "peer": "peer",
        "paper": "published",
        "old": "geqlib",
    }
    assert not any("paper" in line for line in differences(TABLE))


def test_rows_are_compared_within_their_group():
    rows = [
        Row((group, name), {"mse": value}, origin)
        for group in ("a", "b")
        for name, value, origin in (("ours", 1.0, "geqlib"), ("MACE", 2.0, "peer"))
    ]
    table = replace(TABLE, heads=("", ""), rows=tuple(rows))
    assert differences(table) == [
        "a, ours: -1.00 (-50 %) against MACE",
        "b, ours: -1.00 (-50 %) against MACE",
    ]


def test_the_results_of_the_repository():
    shown = {result.name: main_table(result) for result in board.results()}
    gaunt = shown["speed/gaunt"]
    assert gaunt is not None and board.main_column(gaunt).unit == "ms"
    products = shown["accuracy/nbody_products"]
    assert products is not None and products.main == "mse"
    frames = shown["accuracy/nbody_frames"]
    assert frames is not None and not differences(frames)
