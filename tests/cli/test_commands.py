"""Commands in the documents exist: of `geqlib`, of make, scripts, configurations, benchmarks."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from geqlib.cli.main import USAGE

TOP = Path(__file__).parents[2]
DOCUMENTS = [TOP / "README.md", TOP / "CONTRIBUTING.md", *sorted((TOP / "docs").glob("*.md"))]
COMMANDS = set(re.findall(r"^  ([a-z-]+)", USAGE, re.MULTILINE))
TARGETS = set(re.findall(r"^([a-z-]+):", (TOP / "Makefile").read_text(), re.MULTILINE))


def commands(path: Path) -> list[list[str]]:
    """Words of the commands in blocks for a terminal, and in `text like this`."""
    text = path.read_text()
    blocks = re.findall(r"^```(?:sh)?\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    lines += [" ".join(actual.split()) for actual in re.findall(r"`([^`]+)`", prose)]
    started = re.compile(r"(?:[A-Z_]+=\S+ )*(geqlib |make |(?:\.venv/bin/)?python benchmarks/)")
    return [shlex.split(line, comments=True) for line in lines if started.match(line)]


def wrong(words: list[str]) -> str | None:
    """What of a command does not exist."""
    words = [word for word in words if not re.fullmatch(r"[A-Z_]+=\S+", word)]
    program, *rest = words
    if program == "make":
        return next((word for word in rest if word not in TARGETS), None)
    if program.endswith("python"):
        return None if (TOP / rest[0]).exists() else rest[0]
    if rest[0] not in COMMANDS | {"COMMAND"}:
        return rest[0]
    if rest[:1] == ["bench"] and len(rest) > 2:
        names = [word for word in rest[2:] if re.fullmatch(r"[a-z_0-9]+", word)]
        folder = TOP / "benchmarks" / rest[1]
        missing = (name for name in names if not (folder / f"{name}.py").exists())
        return next((f"{rest[1]}/{name}" for name in missing), None)
    configs = [word for word in rest if word.startswith("configs/") and "*" not in word]
    return next((word for word in configs if not (TOP / word).exists()), None)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_commands_exist(path):
    for words in commands(path):
        assert wrong(words) is None, f"{path.name}: {shlex.join(words)}"


def test_the_test_finds_commands_and_mistakes():
    assert sum(len(commands(path)) for path in DOCUMENTS) > 30
    for text in ("make nothing", "geqlib train", "python benchmarks/nope.py"):
        assert wrong(shlex.split(text)) is not None
    assert wrong(["geqlib", "fit", "--config", "configs/nope.yaml"]) == "configs/nope.yaml"
    assert wrong(["geqlib", "bench", "accuracy", "nope"]) == "accuracy/nope"
    assert wrong(["OMP_NUM_THREADS=1", "make", "test"]) is None
