"""Users see no warnings of dependencies, and commands that need no torch answer without it."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from geqlib.cli import main
from geqlib.quiet import SEED, quiet
from tests.train import tiny

LIGHT = ("cv", "learning-curve", "price", "check", "bench", "report", "export", "motifs", "brec")
HEAVY = {"torch", "lightning", "torch_geometric", "e3nn", "matplotlib", "sklearn", "jsonargparse"}

# in one process, as most of the time of a command is its imports; each is named above its warnings
ONE_AFTER_ANOTHER = """
import json, sys
from geqlib.cli import main
for arguments in json.loads(sys.argv[1]):
    print("geqlib", *arguments, file=sys.stderr)
    if code := main(arguments):
        raise SystemExit(code)
"""


def modules_after(*arguments: str) -> set[str]:
    """Top-level packages that `geqlib ARGUMENTS` loads."""
    script = (
        "import sys, io, geqlib.cli as c\n"
        "out, sys.stdout = sys.stdout, io.StringIO()\n"
        "try: c.main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print(*{name.partition('.')[0] for name in sys.modules}, file=out)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("command", LIGHT)
def test_help_needs_no_torch(command: str) -> None:
    assert not modules_after(command, "--help") & HEAVY


def test_a_seed_is_said_once_in_a_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from lightning import seed_everything

    def command(args: list[str]) -> int:
        for seed in (0, 0, 1, 0):
            seed_everything(seed)
        return 0

    monkeypatch.setattr("geqlib.cli.report.main", command)
    for _ in range(2):
        with captured_log() as log:
            assert main(["report"]) == 0
        assert log == ["Seed set to 0", "Seed set to 1"]


@contextmanager
def captured_log() -> Iterator[list[str]]:
    """What Lightning's logger of seeds says within a block."""
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger(SEED)
    logger.addHandler(handler)
    try:
        yield said
    finally:
        logger.removeHandler(handler)


@pytest.mark.slow
def test_no_warnings(tmp_path: Path) -> None:
    run = tmp_path / "run"
    best = str(run / "checkpoints" / "best.ckpt")
    commands = [
        tiny.command("fit", run, epochs=1),
        *(tiny.command(name, run, "--ckpt_path", best) for name in ("validate", "test", "predict")),
        ["check", best, "--samples", "1"],
        ["report", str(run), "--out", str(tmp_path / "report")],
        ["export", best, "--out", str(tmp_path / "model.geqlib")],
    ]
    done = subprocess.run(
        [sys.executable, "-c", ONE_AFTER_ANOTHER, json.dumps(commands)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    error = done.stderr.replace(tmp_path.name, "")  # which pytest names after this test
    # what remains is the seed, and which devices there are
    assert "arning" not in error and "deprecat" not in error, error


def test_a_warning_in_training_names_no_line_of_a_dependency() -> None:
    before = warnings.formatwarning
    with quiet():
        text = warnings.formatwarning("Weights begin anew.", UserWarning, "call.py", 228)
        other = warnings.formatwarning("slow", RuntimeWarning, "call.py", 228)
    assert text == "Warning: Weights begin anew.\n"
    assert "call.py:228" in other and warnings.formatwarning is before
