"""`geqlib bench` and the board: on a clone in miniature, whose benchmarks take no time."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from textwrap import dedent

import pytest

from geqlib.cli import bench, main
from geqlib.report import Section, write_board
from geqlib.report.board import differences
from geqlib.report.markdown_table import find_tables, read_scores

PNG = b"\x89PNG\r\n\x1a\n"
BALLS = '''
    """How balls move, beside others.

    Protocol: three balls.

        python benchmarks/accuracy/balls.py [--minutes 1] [--seeds 0]
    """
    import json, sys
    from argparse import ArgumentParser
    from pathlib import Path

    def table(found):
        rows = [("**geqlib**", found["mse"]), ("peer", 0.5)]
        lines = "".join(f"| {name} | {value} | measured |\\n" for name, value in rows)
        head = "|  | test MSE | |\\n| --- | --- | --- |\\n"
        return f"{head}{lines}| paper | 0.3 | published |\\n\\nSome `words`.\\n"

    if __name__ == "__main__":
        parser = ArgumentParser()
        parser.add_argument("--minutes", type=float)
        parser.add_argument("--seeds", type=int, nargs="+")
        given = parser.parse_args()
        found = vars(given) | {"mse": 0.25, "protocol": "three balls", "environment": {"torch": 1}}
        path = Path("benchmarks/results/accuracy/balls.json")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found))
'''
FIXED = '"""A fixed protocol."""\nprint("ran", flush=True)\n'
BROKEN = '"""It cannot work."""\nraise SystemExit(3)\n'


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    scripts = {"accuracy/balls": BALLS, "accuracy/broken": BROKEN, "speed/fixed": FIXED}
    for name, text in scripts.items():
        path = tmp_path / "benchmarks" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))
    (tmp_path / "benchmarks" / "measure.py").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_list(clone, capsys):
    assert main(["bench"]) == 0
    out = capsys.readouterr().out
    assert [n for n in re.findall(r"\w+/\w+", out)] == [
        "accuracy/balls",
        "accuracy/broken",
        "speed/fixed",
    ]
    assert "How balls move" in out and "--minutes --seeds" in out


def test_run_with_options(clone, capsys):
    assert main(["bench", "accuracy", "balls", "--minutes", "2", "--seeds", "0", "1"]) == 0
    found = json.loads((clone / "benchmarks/results/accuracy/balls.json").read_text())
    assert found["minutes"] == 2 and found["seeds"] == [0, 1]
    out = capsys.readouterr().out
    assert "0.25" in out and re.search(r"accuracy/balls +done +0\.", out)


def test_options_that_a_script_does_not_take(clone, capfd):
    assert main(["bench", "speed", "--minutes", "2"]) == 0
    out = capfd.readouterr().out
    assert "speed/fixed has no --minutes: it keeps to its own protocol." in out and "ran" in out


def test_one_failure_does_not_stop_the_others(clone, capsys):
    assert main(["bench", "accuracy", "broken", "balls"]) == 1
    out = capsys.readouterr().out
    assert "failed, exit code 3" in out and re.search(r"accuracy/balls +done", out)


def test_interruption(clone, capsys, monkeypatch):
    def stop(*args, **keywords):
        raise KeyboardInterrupt

    monkeypatch.setattr("geqlib.cli.bench.subprocess.run", stop)
    assert main(["bench", "accuracy"]) == 130
    out = capsys.readouterr().out
    assert "stopped: the same command goes on" in out and "accuracy/broken" not in out


def test_unknown_name(clone, capsys):
    assert main(["bench", "accuracy", "nope"]) == 2
    said = "There is no accuracy benchmark 'nope': choose from balls, broken."
    assert said in capsys.readouterr().err


def test_outside_of_a_clone(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("geqlib.cli.bench.geqlib.__file__", str(tmp_path / "geqlib/__init__.py"))
    for arguments in (["bench"], ["report", "--board"]):
        assert main(arguments) == 2
        assert "scripts of the repository, so clone it" in capsys.readouterr().err


def test_names_of_the_repository(monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[2])
    found = {script.name: script for script in bench.scripts()}
    assert {"accuracy/nbody", "speed/ponita"} <= found.keys()
    assert found["accuracy/tu"].takes("--minutes") and found["accuracy/tu"].takes("--seeds")
    assert not found["speed/ponita"].takes("--minutes")
    assert all(script.title != name for name, script in found.items())


# --- the board -----------------------------------------------------------------------------------


class Page(HTMLParser):
    """The pictures of a page, and what it would load from elsewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.pictures: list[str] = []
        self.elsewhere: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        known = dict(attrs)
        source = known.get("src") or known.get("href")
        if source and source.startswith("data:image/png;base64,"):
            self.pictures.append(source)
        elif source:
            self.elsewhere.append(source)


def test_board(clone, capsys):
    assert main(["bench", "accuracy", "balls"]) == 0
    (clone / "benchmarks/results/accuracy/balls.png").write_bytes(PNG)
    assert main(["report", "--out", "out"]) == 0
    assert "wrote out/board.md and out/board.html" in capsys.readouterr().out
    text = (clone / "out/board.md").read_text()
    assert "## accuracy/balls: How balls move, beside others" in text
    assert "three balls" in text and "Some words." in text and "torch 1" in text
    assert "| geqlib | 0.25 | measured |" in text
    assert text.index("*paper*") > text.index("| peer | 0.5 | measured |")
    assert "Differences of: test MSE.\n\n- geqlib: -0.250 (-50 %) against peer" in text
    assert (clone / "out/board.png").read_bytes().startswith(PNG)
    assert (clone / "out/accuracy_balls.png").read_bytes() == PNG
    page = Page((clone / "out/board.html").read_text())
    assert len(page.pictures) == 2 and not page.elsewhere


def test_board_survives_a_stale_file(clone, capsys):
    path = clone / "benchmarks/results/accuracy/balls.json"
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    assert main(["report", "--board", "--out", "out"]) == 0
    text = (clone / "out/board.md").read_text()
    assert "another version of its script: run geqlib bench accuracy balls again" in text
    path.write_text("{")
    assert main(["report", "--board", "--out", "out"]) == 2
    assert "balls.json is damaged" in capsys.readouterr().err


def test_board_without_results(clone, capsys):
    assert main(["report"]) == 2
    assert "run geqlib bench accuracy or speed first" in capsys.readouterr().err
    assert main(["report", "run", "--board"]) == 2
    assert "name runs, or give --board" in capsys.readouterr().err
    (clone / "file").touch()
    with pytest.raises(ValueError, match="is a file: choose another --out"):
        write_board([Section("a/b", "t", "", "", {})], clone / "file")


def test_scores_of_a_table():
    text = (
        "|  | parameters, MSE |  |\n| --- | --- | --- |\n"
        "| **geqlib, a** | 3.0 / 8.8 | measured |\n"
        "| peer \\| b | 1.5e-05 ± 2.0e-06 | |\n"
        "| paper | 4 | published |\n"
        "| none | - | |\n"
    )
    (table,) = find_tables(f"words\n\n{text}\nwords | more\n")
    found = read_scores(table)
    assert found.column == "parameters, MSE"
    assert {name: (s.value, s.second, s.deviation, s.kind) for name, s in found.rows.items()} == {
        "geqlib, a": (3.0, 8.8, 0.0, "geqlib"),
        "peer | b": (1.5e-5, None, 2e-6, "peer"),
        "paper": (4.0, None, 0.0, "published"),
    }


def test_scores_of_peers_in_columns():
    text = (
        "| set | SPEN | GIN, same run | best published |\n|---|---|---|---|\n"
        "| MUTAG | **90.1 ± 5.0** | 88.0 ± 6.0, +2.1 (p 0.3) | CCN 91.6 |\n"
    )
    found = read_scores(find_tables(text)[0])
    assert found.rows["MUTAG"].kind == "geqlib" and found.rows["MUTAG, GIN"].value == 88.0
    assert differences(found) == ["MUTAG: +2.10 (+2 %) against MUTAG, GIN"]


def test_both_numbers_of_a_cell_are_compared():
    text = (
        "| | energy / forces |\n|---|---|\n| **geqlib** | 20.0 / 22.0 |\n| MACE | 40.0 / 20.0 |\n"
    )
    found = differences(read_scores(find_tables(text)[0]))
    assert found == ["geqlib: -20.0 (-50 %) / +2.00 (+10 %) against MACE"]


def test_tables_without_geqlib_have_no_differences():
    text = "| | s | name |\n|---|---|---|\n| a | 1 | x |\n| b | 2 | y |\n"
    found = read_scores(find_tables(text)[0])
    assert {score.kind for score in found.rows.values()} == {"measured"} and not differences(found)
    assert not read_scores([["a", "b"], ["x", "y"]]).rows


def test_bold_peers_are_no_rows_of_geqlib():
    text = "| | s |\n|---|---|\n| **geqlib PONITA** | 1 |\n| **MACE** | 2 |\n| paper | 3 |\n"
    found = read_scores(find_tables(text)[0])
    assert differences(found) == [
        "geqlib PONITA: -1.00 (-50 %) against MACE",
        "geqlib PONITA: -2.00 (-67 %) against paper",
    ]
    again = read_scores([["", "s", ""], ["MACE", "1", ""], ["MACE", "2", "published"]])
    assert list(again.rows) == ["MACE", "MACE, published"]
    bold = read_scores(find_tables(text.replace("geqlib ", ""))[0])
    assert [score.kind for score in bold.rows.values()] == ["geqlib", "geqlib", "peer"]
