"""The page "A new model from three families": its files, commands and contract are run."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.train import tiny

TOP = Path(__file__).parents[1]
PAGE = (TOP / "docs" / "new_model.md").read_text()
SHORT = {
    "fit": ["--trainer.max_epochs=1", "--data.train=100", "--data.val=8", "--data.test=8"],
    "check": ["--samples", "1"],
}


def block(language: str) -> str:
    (text,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return text


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "three_families.py").write_text(block("python"))
    (tmp_path / "three_families.yaml").write_text(block("yaml"))
    (tmp_path / "test_three_families.py").write_text(block("py"))
    return tmp_path


@pytest.mark.slow
def test_the_commands_train_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(folder)
    for line in block("sh").splitlines():
        program, command, *words = shlex.split(line, comments=True)
        more = SHORT.get(command, [])
        assert program == "geqlib" and tiny.geqlib([command, *words, *more]) == 0, line
    assert "Equivariance error of ThreeFamilies" in capsys.readouterr().out
    assert "ThreeFamilies" in (folder / "report" / "report.md").read_text()


@pytest.mark.slow
def test_it_keeps_the_contract(folder: Path) -> None:
    options = ["-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(folder)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "test_three_families.py"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": f"{TOP}{os.pathsep}{folder}", "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert re.search(r"\d\d passed, 3 skipped", done.stdout), done.stdout + done.stderr
