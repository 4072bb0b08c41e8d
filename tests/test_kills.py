"""Jobs that are killed end as those that were not: one random kill of each; see the script."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.kills import JOBS, differences, digest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "kills.py"


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
    other = expected | {"run/curves": {"loss": [[1, 0.5], [2, 0.3]]}}
    assert differences(other, expected) == ["run/curves: loss"]
    assert differences(expected | {"a": digest({"w": [1.0, 2.1]})}, expected) == ["a"]
    assert differences({}, expected) == ["a", "run/curves: loss"]
