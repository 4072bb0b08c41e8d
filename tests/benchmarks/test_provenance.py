"""Code, configuration and data behind every row, and trees that are not clean."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from textwrap import dedent

import pytest

from benchmarks import board, provenance, rehash, rows, tables, training
from benchmarks.provenance import changes, hashes, marks, refuse_dirty
from tests.benchmarks.example import RESULT, TABLE

SCRIPT = '''
    """Balls.

    Protocol: {balls} balls.
    """
    from geqlib.models import Ball
    from benchmarks.peers.wall import Wall
    BALLS = 3
    PUBLISHED = {"paper": 0.1}
    CONFIG = f"configs/balls_{BALLS}.yaml"
    NAME = "MUTAG"

    def main():
        """Nothing."""
        return Ball, Wall
'''
TREE = {
    "geqlib/__init__.py": "",
    "geqlib/models/__init__.py": "from geqlib.balls import Ball\nfrom geqlib.cubes import Cube\n",
    "geqlib/balls.py": "from geqlib import units\nMASS = 1\n"
    "class Ball:\n    mass = MASS * units.METRE\n",
    "geqlib/cubes.py": "class Cube: pass\n",
    "geqlib/units.py": "METRE = 1\n",
    "geqlib/tasks.py": "class Task: pass\nclass Other: pass\n",
    "geqlib/data/published.json": json.dumps(
        [
            {
                "repository": "a/b",
                "commit": "c",
                "files": {
                    "TUDataset/MUTAG/raw/A.txt": ["A.txt", "0" * 64],
                    "TUDataset/NCI1/raw/A.txt": ["B.txt", "1" * 64],
                },
            }
        ]
    ),
    "benchmarks/rows.py": "WIDTH = 3\n",
    "benchmarks/peers/wall.py": "from benchmarks.rows import WIDTH\nclass Wall: pass\n",
    "benchmarks/accuracy/balls.py": dedent(SCRIPT),
    "configs/balls_three.yaml": "# balls\nmodel: {class_path: geqlib.tasks.Task}\nradius: 1\n",
    "configs/cubes.yaml": "model: {}\n",
}


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository in miniature, everything committed."""
    for name, text in TREE.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(provenance, "TOP", tmp_path)
    monkeypatch.setattr(provenance, "RESULTS", tmp_path / "benchmarks" / "results")
    monkeypatch.delenv(provenance.FORCED, raising=False)
    monkeypatch.delenv("GEQLIB_RESULTS", raising=False)
    forget()
    git(tmp_path, "init", "--quiet")
    commit(tmp_path)
    yield tmp_path
    forget()


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True)


def commit(folder: Path) -> None:
    git(folder, "add", ".")
    git(folder, "-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "--quiet", "-m", "all")


def forget() -> None:
    provenance.hashes.cache_clear()
    provenance.checkout.cache_clear()


def after(tree: Path, name: str, old: str, new: str) -> list[str]:
    """What has changed for the balls once a file has."""
    before = hashes("accuracy/balls")
    path = tree / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    forget()
    return changes(before, hashes("accuracy/balls"))


def test_what_a_benchmark_uses(tree):
    used = provenance.used_by("accuracy/balls", provenance.checkout(tree))
    assert {name for name in used["code"] if not name.startswith("benchmarks.accuracy.")} == {
        "benchmarks.peers.wall.Wall",
        "geqlib.balls.Ball",
        "geqlib.balls.MASS",
        "geqlib.units.METRE",
        "geqlib.tasks.Task",
    }
    assert set(used["configuration"]) == {"balls_three.yaml"}
    assert used["data"] == {"TUDataset/MUTAG/raw/A.txt": "0" * 64}


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("geqlib/balls.py", "MASS *", "2 * MASS *"),
        ("geqlib/balls.py", "MASS = 1", "MASS = 2"),
        ("geqlib/units.py", "1", "2"),
        ("geqlib/tasks.py", "Task: pass", "Task: x = 1"),
        ("benchmarks/peers/wall.py", "pass", "x = 1"),
        ("benchmarks/accuracy/balls.py", "return Ball", "return Wall"),
        ("benchmarks/accuracy/balls.py", "BALLS = 3", "BALLS = 4"),
    ],
)
def test_other_code(tree, name, old, new):
    assert after(tree, name, old, new) == ["older code"]


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("geqlib/cubes.py", "pass", "x = 1"),
        ("geqlib/tasks.py", "Other: pass", "Other: x = 1"),
        ("geqlib/units.py", "METRE = 1", '"""Units."""\n\n# of length\nMETRE   =  1'),
        ("benchmarks/rows.py", "3", "4"),
        ("benchmarks/accuracy/balls.py", '"""Nothing."""', '"""Two classes."""'),
        ("benchmarks/accuracy/balls.py", "0.1", "0.2"),
        ("configs/balls_three.yaml", "# balls", "# three balls"),
        ("configs/cubes.yaml", "{}", "{a: 1}"),
        ("geqlib/data/published.json", "1" * 64, "2" * 64),
    ],
)
def test_what_changes_no_number(tree, name, old, new):
    assert after(tree, name, old, new) == []


def test_other_configurations_and_data(tree):
    config, data = "configs/balls_three.yaml", "geqlib/data/published.json"
    assert after(tree, config, "radius: 1", "radius: 2") == ["an older configuration"]
    assert after(tree, data, "0" * 64, "3" * 64) == ["other data"]


def test_marks(tree):
    now = hashes("accuracy/balls")
    assert marks("geqlib 2 at abc, today", now, "accuracy/balls") == []
    assert marks("geqlib 2 at abc-dirty, today", now, "accuracy/balls") == ["uncommitted changes"]
    assert marks("geqlib 2 at abc, today", now | {"code": "x"}, "accuracy/balls") == ["older code"]
    assert marks("geqlib 2 at abc, today", {}, "accuracy/balls") == ["older code"]
    assert marks("geqlib 1 at abc-dirty, first edition", {}, "accuracy/balls") == []


def test_stale_rows_are_marked_where_they_are_drawn(tree):
    fresh = provenance.present("accuracy/balls")
    old = {"stamp": "geqlib 2 at abc, today", "hashes": fresh["hashes"] | {"code": "x"}}
    shown = (
        replace(TABLE.rows[0], **fresh),
        replace(TABLE.rows[1], **old),
        *TABLE.rows[2:],
    )
    result = replace(RESULT, tables=(replace(TABLE, rows=shown),))
    text = tables.to_markdown(result)
    assert "| **geqlib `A`** |" in text and "| peer † |" in text and "| paper |" in text
    assert "\n† Measured with older code.\n" in text
    turned = replace(result, tables=(replace(result.tables[0], turned=True),))
    assert "| geqlib `A` | peer † |" in tables.to_markdown(turned)
    assert ["peer †" in line for line in board.text_table(result.tables[0], result.name).rows] == [
        False,
        True,
        False,
    ]


def test_dirty_trees_are_refused(tree, monkeypatch, capsys):
    script = tree / "benchmarks" / "accuracy" / "balls.py"
    provenance.start(lambda: None)
    script.write_text(script.read_text() + "\n")
    with pytest.raises(SystemExit, match=r"balls.py has uncommitted changes.* --dirty.*GEQLIB_RES"):
        provenance.start(lambda: pytest.fail("it was measured"))
    refuse_dirty(tree / "elsewhere")
    with pytest.raises(ValueError, match="has uncommitted changes"):
        refuse_dirty(tree / "benchmarks" / "results")
    monkeypatch.setattr(rows, "RESULTS", tree / "benchmarks" / "results")
    with pytest.raises(ValueError, match="has uncommitted changes"):
        rows.write_result(RESULT)


def test_dirty_trees_are_marked_when_forced(tree, monkeypatch):
    (tree / "configs" / "new.yaml").write_text("a: 1\n")
    monkeypatch.setattr(sys, "argv", ["balls.py", "--dirty", "--minutes", "1"])
    monkeypatch.setenv(provenance.FORCED, "")
    monkeypatch.delenv(provenance.FORCED)
    provenance.start(lambda: None)
    assert sys.argv == ["balls.py", "--minutes", "1"]
    assert "-dirty, " in provenance.stamp()
    monkeypatch.setattr(rows, "RESULTS", tree / "benchmarks" / "results")
    rows.write_result(RESULT)
    with pytest.raises(SystemExit) as stop:
        provenance.start(lambda: 3)
    assert stop.value.code == 3


def test_results_do_not_make_the_tree_dirty(tree):
    results = tree / "benchmarks" / "results" / "accuracy"
    results.mkdir(parents=True)
    (results / "balls.json").write_text("{}")
    (tree / "README.md").write_text("Balls.\n")
    assert provenance.uncommitted() == [] and "-dirty" not in provenance.stamp()


def test_a_run_keeps_what_it_was_begun_with(tree, monkeypatch):
    monkeypatch.setattr(training, "RUNS", tree / "runs")
    monkeypatch.setattr(provenance.sys, "argv", [str(tree / "benchmarks/accuracy/balls.py")])
    assert provenance.running() == "accuracy/balls"
    first = training.finished("balls/0", lambda: {"mse": 1.0})
    folder = tree / "runs" / "ball"
    begun = provenance.recorded(folder, "accuracy/balls")
    after(tree, "geqlib/units.py", "1", "2")
    again = training.finished("balls/0", lambda: pytest.fail("it was measured again"))
    other = training.finished("balls/1", lambda: {"mse": 2.0})
    assert again == first and provenance.recorded(folder, "accuracy/balls") == begun
    shown = training.measured_by([other, again])
    assert marks(shown["stamp"], shown["hashes"], "accuracy/balls") == ["older code"]
    assert training.measured_by([other])["hashes"] == hashes("accuracy/balls")


def test_a_row_about_the_model_of_another_benchmark(tree):
    """It has the code that measures it; the training marks it where that is older."""
    name = "accuracy/cubes"

    def changed(path: str, text: str) -> None:
        (tree / path).write_text(text)
        commit(tree)
        forget()

    def row() -> dict[str, str]:
        return provenance.of_measurement({"provenance": begun}, "accuracy/balls", name)

    changed("benchmarks/accuracy/cubes.py", "from geqlib.models import Cube\n")
    begun = provenance.present("accuracy/balls")
    assert row()["hashes"] == hashes(name)
    assert row()["stamp"] == f"{provenance.stamp()}; trained by {begun['stamp']}"
    changed("benchmarks/accuracy/cubes.py", "from geqlib.models import Cube as Other\n")
    assert row()["hashes"] == hashes(name) and marks(row()["stamp"], row()["hashes"], name) == []
    changed("geqlib/units.py", "METRE = 2\n")
    assert marks(row()["stamp"], row()["hashes"], name) == ["older code"]
    assert row()["stamp"] == begun["stamp"]
    begun = provenance.present(name)  # it trained what was missing
    assert row()["hashes"] == hashes(name)
    begun = provenance.UNRECORDED
    assert marks(row()["stamp"], row()["hashes"], name) == ["older code"]


def test_a_run_without_a_record_counts_as_older_code(tree):
    folder = tree / "runs" / "old"
    folder.mkdir(parents=True)
    record = provenance.recorded(folder, "accuracy/balls")
    assert marks(record["stamp"], record["hashes"], "accuracy/balls") == ["older code"]


def test_rows_get_the_hashes_of_their_commits(tree, monkeypatch):
    """As today's analysis finds them there, whatever the row had."""
    monkeypatch.setattr(rehash, "TOP", tree)
    first, name = provenance.present("accuracy/balls"), "accuracy/balls"
    (tree / "geqlib/balls.py").write_text("class Ball: pass\n")
    forget()
    stamps = {
        "measured": first["stamp"],
        "dirty": first["stamp"].replace(", ", "-dirty, ", 1),
        "first": f"{first['stamp'].split(',')[0]}, first edition",
        "unknown": "geqlib 2 at 0123456, today",
        "without": "geqlib 2 at no commit, today",
    }
    old = {"code": "of another analysis"}
    shown = tuple(rows.Row((key,), {}, stamp=s, hashes=old) for key, s in stamps.items())
    result = replace(RESULT, name=name, tables=(replace(TABLE, rows=shown),))
    measured, *others = rehash.rehashed(result).tables[0].rows
    assert measured.hashes == first["hashes"] != hashes(name)
    assert all(row.hashes == old for row in others)
    lines = list(rehash.reasons(result))
    assert lines[0] == f"measured: {first['stamp']}" and lines.count(rehash.UNREADABLE) == 4
    assert lines[1:5] == [
        "  code changed: geqlib.balls.Ball",
        "  code gone: geqlib.balls.MASS",
        "  code gone: geqlib.units.METRE",
        f"dirty: {stamps['dirty']}",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("result", board.results(), ids=lambda result: result.name)
def test_every_stale_row_of_the_repository_is_marked(result):
    """Rows may be stale; they may not be drawn as if they were fresh."""
    text = tables.to_markdown(result)
    for table in result.tables:
        for row in table.rows:
            if tables.stale(row, result.name):
                assert f"{row.labels[-1]}** {tables.MARK}" in text or (
                    f"{row.labels[-1]} {tables.MARK}" in text
                )
