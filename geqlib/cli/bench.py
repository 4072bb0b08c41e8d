"""`geqlib bench`: run the benchmarks of a clone by name, and read what they measured."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markdown import Markdown
from rich.padding import Padding
from rich.table import Table

import geqlib

if TYPE_CHECKING:
    from geqlib.report import Section

KINDS = ("accuracy", "speed")
DESCRIPTION = """Run benchmarks of a clone of the repository, all of a kind or those that are named;
without arguments, list them. Each states its protocol at the top of its script and writes
benchmarks/results/KIND/NAME.json. Finished training runs are kept in runs/, so the same command
goes on where it was stopped. `geqlib report --board` draws all results. The environment variables
GEQLIB_RESULTS and GEQLIB_RUNS name other folders for both."""


@dataclass(frozen=True)
class Script:
    """A benchmark.

    Args:
        kind: "accuracy" or "speed".
        path: of the script.
    """

    kind: str
    path: Path

    @property
    def name(self) -> str:
        """As documents and result files call it, such as "accuracy/nbody"."""
        return f"{self.kind}/{self.path.stem}"

    @property
    def result(self) -> Path:
        known = self.path.parents[1] / "results"
        return Path(os.environ.get("GEQLIB_RESULTS", known)) / f"{self.name}.json"

    @property
    def title(self) -> str:
        """The first line of its docstring."""
        return (self.about or self.name).splitlines()[0].rstrip(".")

    @property
    def about(self) -> str:
        """Its docstring: title, protocol and usage."""
        return ast.get_docstring(ast.parse(self.path.read_text())) or ""

    def takes(self, option: str) -> bool:
        """Whether the usage in its docstring has such an option."""
        return option in self.about

    def table(self) -> str:
        """What it draws of its result file: Markdown, and nothing if it draws none.

        Raises:
            ValueError: if the file is damaged, or was written by another version of the script.
        """
        spec = spec_from_file_location(f"geqlib_benchmark_{self.kind}_{self.path.stem}", self.path)
        if spec is None or spec.loader is None:
            raise ValueError(f"{self.path} is no Python script.")
        module: Any = module_from_spec(spec)
        sys.modules[spec.name] = module  # dataclasses look their module up
        spec.loader.exec_module(module)
        found = self.read()
        try:
            return module.table(found) if hasattr(module, "table") else ""
        except (LookupError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{self.name} was measured by another version of its script: run geqlib bench "
                f"{self.kind} {self.path.stem} again."
            ) from error

    def read(self) -> dict[str, Any]:
        try:
            return json.loads(self.result.read_text())
        except ValueError as error:
            raise ValueError(
                f"{self.result} is damaged ({error}): run geqlib bench {self.kind} "
                f"{self.path.stem} again."
            ) from error


def main(args: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    parser = ArgumentParser("geqlib bench", description=DESCRIPTION)
    parser.add_argument("kind", nargs="?", choices=KINDS)
    parser.add_argument("names", nargs="*", metavar="NAME", help="such as nbody; all by default")
    parser.add_argument("--minutes", type=float, help="budget of a run, for those that take one")
    parser.add_argument("--seeds", type=int, nargs="+", help="for those that take them")
    given = parser.parse_args(args)
    console = Console()
    if given.kind is None:
        _list(scripts(), console)
        return 0
    return _run_all(chosen(given.kind, given.names), given, console)


def clone() -> Path:
    """The clone: the current folder, or that from which geqlib was installed as editable.

    Raises:
        ValueError: if neither holds the benchmarks.
    """
    for folder in (Path.cwd(), Path(geqlib.__file__).parents[1]):
        if (folder / "benchmarks" / "measure.py").exists():
            return folder
    raise ValueError(
        "There are no benchmarks here: they are scripts of the repository, so clone it and run "
        "geqlib in the clone."
    )


def scripts() -> list[Script]:
    """All benchmarks, by kind and name."""
    folder = clone() / "benchmarks"
    return [Script(kind, path) for kind in KINDS for path in sorted((folder / kind).glob("*.py"))]


def chosen(kind: str, names: Sequence[str]) -> list[Script]:
    """Benchmarks of a kind by name, all of them without names."""
    known = {script.path.stem: script for script in scripts() if script.kind == kind}
    if strange := [name for name in names if name not in known]:
        raise ValueError(
            f"There is no {kind} benchmark {strange[0]!r}: choose from {', '.join(known)}."
        )
    return [known[name] for name in dict.fromkeys(names or known)]


def sections() -> list[Section]:
    """What has been measured, for `geqlib.report.write_board`."""
    from geqlib.report import Section

    found = []
    for script in (script for script in scripts() if script.result.exists()):
        result = script.read()
        picture = script.result.with_suffix(".png")
        about = {key: str(value) for key, value in result.get("environment", {}).items()}
        section = Section(
            script.name,
            script.title,
            str(result.get("protocol", "")),
            _text(script),
            about,
            picture if picture.exists() else None,
        )
        found.append(section)
    return found


def _text(script: Script) -> str:
    """The table, or why there is none: one stale file does not stop the others."""
    try:
        return script.table()
    except ValueError as error:
        return f"{error}\n"


def _run_all(todo: Sequence[Script], given: Namespace, console: Console) -> int:
    lines: list[tuple[str, str, str]] = []
    for script in todo:
        console.rule(script.name)
        start = time.perf_counter()
        code = _run(script, given, console)
        lines.append((script.name, _state(code), f"{(time.perf_counter() - start) / 60:.1f}"))
        if code == 130:
            break
    for script in todo[: len(lines)]:
        if script.result.exists() and (text := _text(script)):
            console.print(Markdown(f"### {script.name}\n\n{text}"))
    _print(console, ("benchmark", "", "minutes"), lines)
    if lines[-1][1] == _state(130):
        return 130
    return int(any(state != _state(0) for _, state, _ in lines))


def _run(script: Script, given: Namespace, console: Console) -> int:
    arguments: list[str] = []
    for option, values in (("--minutes", given.minutes), ("--seeds", given.seeds)):
        if values is None:
            continue
        if script.takes(option):
            several = values if isinstance(values, list) else [f"{values:g}"]
            arguments += [option, *map(str, several)]
        else:
            console.print(f"{script.name} has no {option}: it keeps to its own protocol.")
    try:
        return subprocess.run([sys.executable, script.path, *arguments], cwd=clone()).returncode
    except KeyboardInterrupt:
        return 130


def _state(code: int) -> str:
    known = {0: "done", 130: "stopped: the same command goes on", -2: "stopped"}
    return known.get(code, f"failed, exit code {code}")


def _list(known: Sequence[Script], console: Console) -> None:
    for script in known:
        state = "measured" if script.result.exists() else "not measured yet"
        facts = ", ".join(filter(None, (state, _options(script))))
        console.print(f"[bold]{script.name}[/]  {facts}", highlight=False)
        console.print(Padding(script.title, (0, 0, 0, 4)), highlight=False)


def _options(script: Script) -> str:
    return " ".join(option for option in ("--minutes", "--seeds") if script.takes(option))


def _print(console: Console, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    shown = Table(box=SIMPLE_HEAD, pad_edge=False)
    for k, name in enumerate(header):
        shown.add_column(name, no_wrap=k == 0)
    for row in rows:
        shown.add_row(*row)
    console.print(shown)
