"""What continuous integration runs with the oldest torch also works with this one."""

import runpy
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / ".ci" / "smoke.py"


@pytest.mark.slow
def test_smoke(capsys):
    runpy.run_path(str(SCRIPT), run_name="__main__")
    assert "layers and training work" in capsys.readouterr().out
