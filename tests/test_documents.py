"""What the documents show is what the files and the code say."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]
DOCUMENTS = sorted([TOP / "README.md", TOP / "CONTRIBUTING.md", *(TOP / "docs").glob("*.md")])


def _blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_tables_are_those_of_the_result_files():
    done = subprocess.run(
        [sys.executable, TOP / "benchmarks" / "tables.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_python_blocks_run(path):
    for block in _blocks(path.read_text(), "python"):
        exec(compile(block, str(path), "exec"), {})


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_paths_for_contributors_exist():
    text = (TOP / "CONTRIBUTING.md").read_text()
    code = [*re.findall(r"`([^`\n]+)`", text), *"".join(_blocks(text, "sh")).splitlines()]
    words = [word for line in code for word in line.partition("#")[0].split()]
    results = {"accuracy/nbody", "table:accuracy/nbody"}
    paths = {word for word in words if "/" in word} - results - {".venv/bin/python"}
    assert len(paths) > 20
    assert not [path for path in paths if not (TOP / path).exists()]
    modules = re.findall(r"python -m (tests[\w.]*)", text)
    assert all((TOP / f"{name.replace('.', '/')}.py").exists() for name in modules)


@pytest.mark.slow
def test_commands_of_the_readme_exist():
    from geqlib.cli import main

    text = (TOP / "README.md").read_text()
    commands = set(re.findall(r"^geqlib (\w+)", text, re.MULTILINE))
    assert {"fit", "test", "check", "report"} <= commands
    for command in commands:
        with pytest.raises(SystemExit) as stop:
            main([command, "--help"])
        assert stop.value.code == 0
