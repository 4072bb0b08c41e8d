"""Run benchmarks by name, or all families with small budgets.

python benchmarks/run.py                          # list them
python benchmarks/run.py accuracy nbody           # some of a kind, or all
python benchmarks/run.py --quick                  # every family, within an hour on two cores

Each states its protocol at the top of its script and writes benchmarks/results/KIND/NAME.json.
Finished training runs stay in runs/, so the same command goes on where it was stopped. The
environment variables GEQLIB_RESULTS and GEQLIB_RUNS name other folders for both. `geqlib report
--board` draws all results.

The quick board: accuracy first, two at a time with one thread each, then speed, one after the
other. Budgets are smaller than those behind the numbers of the documents, which stay as they are:
results, runs and what each benchmark printed go to board/. It ends in board/board.md.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import time
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markdown import Markdown
from rich.padding import Padding
from rich.progress import Progress
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import provenance, rows, tables

TOP = Path(__file__).parents[1]
BOARD = TOP / "board"
KINDS = ("accuracy", "speed")
ONE_SEED = "--seeds 0"
QUICK = {
    "accuracy": {
        "nbody_frames": "--minutes 1",
        "tu": f"MUTAG --minutes 0.05 --recipes 1 {ONE_SEED}",
        "second_minimum": f"--minutes 0.2 {ONE_SEED} --tasks second_minimum",
        "normals": f"--minutes 0.1 {ONE_SEED}",
        "nbody_products": "1 1",
        "near_symmetry": "",
        "compositions": "",
    },
    "speed": {
        "ponita": "",
        "gaunt": "2",
        "gaunt_convolution": "2 1 2",
        "monoid": "3",
        "spen": "2",
        "frames": "",
        "import_time": "",
    },
}
STATES = {0: "done", 130: "stopped: the same command goes on", -2: "stopped"}
Line = tuple[str, str, str]


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
    def about(self) -> str:
        """Its docstring: title, protocol and usage."""
        return ast.get_docstring(ast.parse(self.path.read_text())) or ""

    @property
    def measured(self) -> bool:
        return (rows.RESULTS / f"{self.name}.json").exists()

    def takes(self, option: str) -> bool:
        """Whether the usage in its docstring has such an option."""
        return option in self.about


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    parser = ArgumentParser(
        "geqlib bench", description=__doc__, formatter_class=RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", nargs="?", choices=KINDS)
    parser.add_argument("names", nargs="*", metavar="NAME", help="such as nbody; all by default")
    parser.add_argument("--minutes", type=float, help="budget of a run, for those that take one")
    parser.add_argument("--seeds", type=int, nargs="+", help="for those that take them")
    parser.add_argument("--quick", action="store_true", help="all families with small budgets")
    parser.add_argument(
        "--dirty", action="store_true", help="write results of uncommitted code, which marks them"
    )
    options = parser.parse_args(arguments)
    if options.dirty:
        os.environ[provenance.FORCED] = "1"
    console = Console()
    if options.quick:
        return run_quick(console)
    if options.kind is None:
        show_scripts(console)
        return 0
    return run_all(choose(options.kind, options.names), options, console)


def scripts(folder: Path | None = None) -> list[Script]:
    """All benchmarks, by kind and name."""
    folder = folder or TOP / "benchmarks"
    return [Script(kind, path) for kind in KINDS for path in sorted((folder / kind).glob("*.py"))]


def choose(kind: str, names: Sequence[str]) -> list[Script]:
    """Benchmarks of a kind by name, all of them without names."""
    of_kind = {script.path.stem: script for script in scripts() if script.kind == kind}
    if unknown := [name for name in names if name not in of_kind]:
        raise ValueError(
            f"There is no {kind} benchmark {unknown[0]!r}: choose from {', '.join(of_kind)}."
        )
    return [of_kind[name] for name in dict.fromkeys(names or of_kind)]


def show_scripts(console: Console) -> None:
    for script in scripts():
        state = "measured" if script.measured else "not measured yet"
        options = [option for option in ("--minutes", "--seeds") if script.takes(option)]
        facts = ", ".join(filter(None, (state, " ".join(options))))
        console.print(f"[bold]{script.name}[/]  {facts}", highlight=False)
        title = rows.title_of(script.about or script.name)
        console.print(Padding(title, (0, 0, 0, 4)), highlight=False)


def run_all(chosen: Sequence[Script], options: Namespace, console: Console) -> int:
    """One after the other; a failure does not stop the others, an interruption does."""
    lines: list[Line] = []
    for script in chosen:
        console.rule(script.name)
        start = time.perf_counter()
        code = _run(script, options, console)
        lines.append((script.name, _state(code), _minutes(start)))
        if code == 130:
            break
    for script in chosen[: len(lines)]:
        if script.measured:
            text = tables.to_markdown(rows.read_result(script.name))
            console.print(Markdown(f"### {script.name}\n\n{text}"))
    _print(console, lines)
    if lines[-1][1] == STATES[130]:
        return 130
    return int(any(state != STATES[0] for _, state, _ in lines))


def _run(script: Script, options: Namespace, console: Console) -> int:
    arguments: list[str] = []
    for option, value in (("--minutes", options.minutes), ("--seeds", options.seeds)):
        if value is None:
            continue
        if script.takes(option):
            texts = map(str, value) if isinstance(value, list) else [f"{value:g}"]
            arguments += [option, *texts]
        else:
            console.print(f"{script.name} has no {option}: it keeps to its own protocol.")
    try:
        return subprocess.run([sys.executable, script.path, *arguments], cwd=TOP).returncode
    except KeyboardInterrupt:
        return 130


def run_quick(console: Console) -> int:
    """The quick board; the exit code is 1 if a benchmark failed."""
    start = time.perf_counter()
    lines: list[Line] = []
    total = sum(len(options) for options in QUICK.values())
    with Progress(console=console) as progress, ThreadPoolExecutor(2) as pool:
        task = progress.add_task("quick board", total=total)
        one_thread = {"OMP_NUM_THREADS": "1"}
        waiting = [
            pool.submit(_log, "accuracy", *item, one_thread) for item in QUICK["accuracy"].items()
        ]
        for done in as_completed(waiting):
            lines.append(done.result())
            progress.update(task, advance=1, description=lines[-1][0])
        for item in QUICK["speed"].items():
            lines.append(_log("speed", *item, {}))
            progress.update(task, advance=1, description=lines[-1][0])
    _print(console, lines)
    command = [sys.executable, str(TOP / "benchmarks" / "board.py"), f"--out={BOARD}"]
    drawn = subprocess.run(command, env=_environment(), cwd=TOP)
    console.print(f"{_minutes(start)} minutes in all", highlight=False)
    return int(drawn.returncode != 0 or any(state != STATES[0] for _, state, _ in lines))


def _log(kind: str, name: str, options: str, settings: Mapping[str, str]) -> Line:
    """Run a benchmark, and write what it prints to a file."""
    start, log = time.perf_counter(), BOARD / "logs" / f"{name}.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(TOP / "benchmarks" / kind / f"{name}.py"), *options.split()]
    with log.open("w") as file:
        done = subprocess.run(
            command, env=_environment() | dict(settings), cwd=TOP, stdout=file, stderr=file
        )
    state = STATES[0] if done.returncode == 0 else f"failed: see {log.relative_to(TOP)}"
    return f"{kind}/{name}", state, _minutes(start)


def _environment() -> dict[str, str]:
    folders = {"GEQLIB_RESULTS": str(BOARD / "results"), "GEQLIB_RUNS": str(BOARD / "runs")}
    return dict(os.environ) | folders


def _state(code: int) -> str:
    return STATES.get(code, f"failed, exit code {code}")


def _minutes(start: float) -> str:
    return f"{(time.perf_counter() - start) / 60:.1f}"


def _print(console: Console, lines: Sequence[Line]) -> None:
    table = Table("benchmark", "", "minutes", box=SIMPLE_HEAD, pad_edge=False)
    for line in lines:
        table.add_row(*line)
    console.print(table)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
