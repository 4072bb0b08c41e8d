"""Jobs that are killed end as those that were not: one random kill of each; see the script."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.kills import JOBS, STATE, differences, digest
from geqlib.files.checkpoint import read_checkpoint
from geqlib.report.runs import read_history
from tests.train import tiny
from tests.train.forked import Command, start_pair

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "kills.py"
EPOCHS = 12


@pytest.mark.slow
def test_killed_jobs_end_as_others() -> None:
    command = [sys.executable, str(SCRIPT), "--kills", "1", "--check"]
    settings = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in JOBS:
        assert f"{name}: 1 kills, 0 with another result" in done.stdout


def test_differences_are_found() -> None:
    expected = {"a": digest({"w": [1.0, 2.0]}), "run/curves": {"loss": [[1, 0.5], [2, 0.4]]}}
    assert not differences(expected, expected)
    lost = expected | {"run/curves": {"loss": [[2, 0.4]]}}
    assert not differences(lost, expected)  # the row after the last checkpoint
    empty = expected | {"run/curves": {"loss": []}}
    assert differences(empty, expected) and not differences(empty, expected, kills=2)
    other = expected | {"run/curves": {"loss": [[1, 0.5], [2, 0.3]]}}
    assert differences(other, expected) == ["run/curves: loss"]
    assert differences(expected | {"a": digest({"w": [1.0, 2.1]})}, expected) == ["a"]
    assert differences({}, expected) == ["a", "run/curves: loss"]


@pytest.mark.slow
def test_killed_runs_of_two_processes_end_as_others(tmp_path: Path) -> None:
    """First both are killed, then the second one alone, which ends the one that started it."""
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tiny.config(EPOCHS)))
    sound, run = tmp_path / "sound", tmp_path / "run"
    finished(start_pair(arguments(tmp_path, sound), tmp_path))
    first, second = start_pair(arguments(tmp_path, run), tmp_path)
    wait_for_epoch(first.process.is_alive, run)
    for command in (first, second):
        command.process.kill()
    assert [command.finish()[0] for command in (first, second)] == [-signal.SIGKILL] * 2
    whole = launched(tmp_path, run)
    wait_for_epoch(lambda: whole.poll() is None, run)
    os.kill(children(whole.pid)[0], signal.SIGKILL)
    whole.communicate(timeout=300)
    assert whole.returncode != 0
    finished(start_pair(arguments(tmp_path, run), tmp_path))
    assert not differences(outcome(run), outcome(sound), kills=2)
    assert json.loads((run / "fit.json").read_text())["epochs"] == EPOCHS


def arguments(folder: Path, run: Path) -> list[str]:
    """Of `geqlib fit` on two processes, which goes on where an earlier one stopped."""
    last = run / "checkpoints" / "last.ckpt"
    place = ["--config", str(folder / "tiny.yaml"), "--trainer.default_root_dir", str(run)]
    several = ["--trainer.devices", "2", "--trainer.strategy", "ddp"]
    return ["fit", *place, *several, *(["--ckpt_path", str(last)] if last.exists() else [])]


def launched(folder: Path, run: Path) -> subprocess.Popen[str]:
    """The first starts the second, as on one machine."""
    return subprocess.Popen(
        [sys.executable, "-m", "geqlib", *arguments(folder, run)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_epoch(alive: Callable[[], bool], run: Path) -> None:
    """Until a checkpoint is written that was not there."""
    last = run / "checkpoints" / "last.ckpt"
    before = last.stat().st_mtime_ns if last.exists() else 0
    while alive() and not (last.exists() and last.stat().st_mtime_ns > before):
        time.sleep(0.005)


def children(pid: int) -> list[int]:
    return [int(k) for k in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def finished(commands: list[Command]) -> None:
    for command in commands:
        code, error = command.finish(900)
        assert code == 0, error[-2000:]


def outcome(run: Path) -> dict[str, Any]:
    actual: dict[str, Any] = {}
    for name in ("last", "best"):
        state = read_checkpoint(run / "checkpoints" / f"{name}.ckpt")
        actual |= {f"{name}.{key}": digest(state.get(key)) for key in STATE}
    return actual | {"curves": {key: x.tolist() for key, x in read_history(run).items()}}
