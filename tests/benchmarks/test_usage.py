"""No script begins to measure when it is asked for its usage, or has arguments it does not take."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks.usage import answer

TOP = Path(__file__).parents[2]
PEERS = {"torch_sim"}  # that not every environment has
STARTED = sorted(
    path.relative_to(TOP).with_suffix("").as_posix().replace("/", ".")
    for path in (TOP / "benchmarks").rglob("*.py")
    if "start(main)\n" in path.read_text() and path.stem != "provenance"
)


def test_every_script_starts_in_the_same_way() -> None:
    for kind in ("accuracy", "speed"):
        for path in (TOP / "benchmarks" / kind).glob("*.py"):
            assert f"benchmarks.{kind}.{path.stem}" in STARTED, path


@pytest.fixture(params=STARTED)
def script(request: pytest.FixtureRequest) -> ModuleType:
    try:
        return import_module(request.param)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in PEERS:
            raise
        pytest.skip(f"{error.name} has an environment of its own")


def test_usage(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["script.py", "--help"])
    with pytest.raises(SystemExit) as end:
        answer(script.main, ["--help"])
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith("usage: ")


def test_arguments_of_a_script_that_takes_none(capsys: pytest.CaptureFixture[str]) -> None:
    script = import_module("benchmarks.accuracy.near_symmetry")
    with pytest.raises(SystemExit) as end:
        answer(script.main, ["3"])
    assert end.value.code == 2
    assert "unrecognized arguments: 3" in capsys.readouterr().err
    assert answer(script.main, []) is None


def test_a_script_that_reads_its_arguments_gets_them(capsys: pytest.CaptureFixture[str]) -> None:
    script = import_module("benchmarks.speed.monoid")
    assert answer(script.main, ["3"]) is None
    assert answer(script.main, ["--memory", "small", "gru"]) is None
    child = import_module("benchmarks.speed.escaip")
    assert answer(child.main, ["--memory", "geqlib"]) is None
    with pytest.raises(SystemExit):
        answer(script.main, ["3", "--help"])
    assert "python benchmarks/speed/monoid.py [rounds]" in capsys.readouterr().out
