"""What continuous integration runs with the oldest torch also works with this one."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / ".ci" / "smoke.py"


@pytest.mark.slow
def test_smoke():
    done = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "layers and training work" in done.stdout
