"""The runner, on a clone in miniature whose benchmarks take no time."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent

import pytest

from benchmarks import rows, run

TOP = Path(__file__).parents[2]
BALLS = '''
    """How balls move, beside others.

    Protocol: three balls.

        python benchmarks/accuracy/balls.py [--minutes 1] [--seeds 0]
    """
    import sys
    from argparse import ArgumentParser
    from dataclasses import replace

    sys.path.insert(0, "TOP")
    from benchmarks.rows import write_result
    from tests.benchmarks.example import RESULT

    parser = ArgumentParser()
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--seeds", type=int, nargs="+")
    write_result(replace(RESULT, settings=vars(parser.parse_args())))
'''
FIXED = '"""A fixed protocol."""\nprint("ran", flush=True)\n'
BROKEN = '"""It cannot work."""\nraise SystemExit(3)\n'


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    scripts = {"accuracy/balls": BALLS, "accuracy/broken": BROKEN, "speed/fixed": FIXED}
    for name, text in scripts.items():
        path = tmp_path / "benchmarks" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text).replace("TOP", str(TOP)))
    monkeypatch.setattr(run, "TOP", tmp_path)
    monkeypatch.setattr(rows, "RESULTS", tmp_path / "results")
    monkeypatch.setenv("GEQLIB_RESULTS", str(tmp_path / "results"))
    return tmp_path


def test_list(clone, capsys):
    assert run.main([]) == 0
    out = capsys.readouterr().out
    assert re.findall(r"\w+/\w+", out) == ["accuracy/balls", "accuracy/broken", "speed/fixed"]
    assert "How balls move" in out and "--minutes --seeds" in out


def test_run_with_options(clone, capsys):
    assert run.main(["accuracy", "balls", "--minutes", "2", "--seeds", "0", "1"]) == 0
    settings = rows.read_result("accuracy/balls").settings
    assert settings["minutes"] == 2 and settings["seeds"] == [0, 1]
    out = capsys.readouterr().out
    assert "0.25" in out and re.search(r"accuracy/balls +done +0\.", out)


def test_options_that_a_script_does_not_take(clone, capfd):
    assert run.main(["speed", "--minutes", "2"]) == 0
    out = capfd.readouterr().out
    assert "speed/fixed has no --minutes: it keeps to its own protocol." in out and "ran" in out


def test_one_failure_does_not_stop_the_others(clone, capsys):
    assert run.main(["accuracy", "broken", "balls"]) == 1
    out = capsys.readouterr().out
    assert "failed, exit code 3" in out and re.search(r"accuracy/balls +done", out)


def test_interruption(clone, capsys, monkeypatch):
    def stop(*args, **keywords):
        raise KeyboardInterrupt

    monkeypatch.setattr("benchmarks.run.subprocess.run", stop)
    assert run.main(["accuracy"]) == 130
    out = capsys.readouterr().out
    assert "stopped: the same command goes on" in out and "accuracy/broken" not in out


def test_unknown_name(clone):
    with pytest.raises(ValueError, match=r"no accuracy benchmark 'nope': choose from balls, broke"):
        run.main(["accuracy", "nope"])


def test_the_quick_board_names_scripts_of_the_repository():
    names = {script.name: script for script in run.scripts()}
    quick = {f"{kind}/{name}" for kind, options in run.QUICK.items() for name in options}
    assert quick <= names.keys()
    assert names["accuracy/tu"].takes("--minutes") and names["accuracy/tu"].takes("--seeds")
    assert not names["speed/ponita"].takes("--minutes")


@pytest.mark.parametrize("script", run.scripts(), ids=lambda script: script.name)
def test_every_script_states_a_protocol_and_writes_its_result(script):
    constants = rows.constants(script.name)
    title, protocol = rows.describe(script.about, constants)
    assert title and protocol.startswith("Protocol: ")
    text = script.path.read_text()
    by_name = "measured(NAME," in text and constants["NAME"] == script.name
    assert by_name or f'measured("{script.name}"' in text or "measure(" in text


RUN_DEFINING = {"SEEDS", "SEED", "EPOCHS", "MINUTES", "ROUNDS", "RATES", "STEPS", "RECIPES"}


@pytest.mark.parametrize("script", run.scripts(), ids=lambda script: script.name)
def test_a_protocol_names_its_constants_so_that_it_cannot_disagree(script):
    """Numbers that define a run come from the script, not from a sentence that was once right."""
    constants = RUN_DEFINING & rows.constants(script.name).keys()
    for name in constants:
        assert f"{{{name.lower()}}}" in script.about, f"{script.name} says nothing of {name}"
    protocol = script.about.split("\n\n")[1]
    written = re.findall(r"\b(?:one|two|three|five|\d+) seeds?\b|\bseeds? \d", protocol)
    assert not written, f"{script.name} writes {written} out"


def test_settings_of_a_run_come_before_constants():
    about = "Balls.\n\nProtocol: {minutes} minutes, seeds {seeds}."
    values = {"MINUTES": 4.0, "SEEDS": (0,)} | {"seeds": [0, 1, 2]}
    assert rows.describe(about, values)[1] == "Protocol: 4 minutes, seeds 0, 1 and 2."
    with pytest.raises(ValueError, match=r"names \{seeds\}: the script needs the constant SEEDS"):
        rows.describe(about, {"MINUTES": 4.0})
