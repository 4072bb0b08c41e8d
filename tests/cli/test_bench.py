"""`geqlib bench` and `geqlib report --board`: they run scripts of a clone."""

from __future__ import annotations

from pathlib import Path

import pytest

from geqlib.cli import main

SCRIPT = "def main(arguments):\n    print(__file__, *arguments)\n    return 3\n"


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "benchmarks").mkdir()
    for name in ("run", "board"):
        (tmp_path / "benchmarks" / f"{name}.py").write_text(SCRIPT)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_arguments_and_exit_codes_pass_through(clone, capsys):
    assert main(["bench", "accuracy", "nbody", "--seeds", "0", "1"]) == 3
    script = clone / "benchmarks" / "run.py"
    assert capsys.readouterr().out == f"{script} accuracy nbody --seeds 0 1\n"


@pytest.mark.parametrize("arguments", [["report", "--board"], ["report"]])
def test_the_board_goes_to_a_folder_of_the_caller(clone, capsys, arguments):
    assert main([*arguments, "--out", "out"]) == 3
    script = clone / "benchmarks" / "board.py"
    assert capsys.readouterr().out == f"{script} --out out\n"


def test_board_and_runs_exclude_each_other(capsys):
    assert main(["report", "run", "--board"]) == 2
    assert "name runs, or give --board" in capsys.readouterr().err


def test_outside_of_a_clone(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("geqlib.cli.bench.geqlib.__file__", str(tmp_path / "geqlib/__init__.py"))
    for arguments in (["bench"], ["report", "--board"]):
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert "scripts of the repository, so clone it" in error and error.count("\n") == 1
    assert main(["bench", "--help"]) == 0
    assert "clone it and run geqlib in the clone" in capsys.readouterr().out


def test_the_clone_of_an_editable_installation(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["bench"]) == 0
    assert "accuracy/nbody  measured" in capsys.readouterr().out
    with pytest.raises(SystemExit) as end:
        main(["bench", "--help"])
    assert end.value.code == 0
    assert "\npython benchmarks/run.py --quick " in capsys.readouterr().out
