"""Users see no warnings of dependencies, and commands that need no torch answer without it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.train import tiny

LIGHT = ("cv", "learning-curve", "price", "check", "bench", "report", "export", "motifs", "brec")
HEAVY = {"torch", "lightning", "torch_geometric", "e3nn", "matplotlib", "sklearn", "jsonargparse"}


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
    for arguments in commands:
        code, error = tiny.finish(tiny.start(arguments))
        assert code == 0, error
        error = error.replace(tmp_path.name, "")  # which pytest names after this test
        # what remains is the seed, and which devices there are
        assert "arning" not in error and "deprecat" not in error, f"{arguments[0]}: {error}"
