"""The quick board: every family with a small budget, within an hour on two cores.

Protocol: the benchmarks below, accuracy first, two at a time with one thread each, then speed, one
after the other. Budgets are smaller than those behind the numbers in the documents, which stay as
they are: results, runs and what each benchmark printed go to board/, and finished runs
there are not trained again. It ends in board/board.md, board/board.html and board/board.png.

    python benchmarks/quick.py
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

TOP = Path(__file__).parents[1]
BOARD = TOP / "board"
ONE_SEED = "--seeds 0"
ACCURACY = {
    "nbody_frames": "--minutes 1",
    "tu": f"MUTAG --minutes 0.05 {ONE_SEED}",
    "second_minimum": f"--minutes 0.2 {ONE_SEED} --tasks second_minimum",
    "normals": f"--minutes 0.1 {ONE_SEED}",
    "nbody_products": "1 1",
    "near_symmetry": "",
    "compositions": "",
}
SPEED = {
    "ponita": "",
    "gaunt": "2",
    "gaunt_convolution": "2 1 2",
    "monoid": "3",
    "spen": "2",
    "frames": "",
    "import_time": "",
}


def main() -> int:
    """Run all; the exit code is 1 if one of them failed."""
    start, console = time.perf_counter(), Console()
    lines: list[tuple[str, str, str]] = []
    with Progress(console=console) as progress, ThreadPoolExecutor(2) as pool:
        task = progress.add_task("quick board", total=len(ACCURACY) + len(SPEED))
        waiting = [pool.submit(_run, "accuracy", *item, threads=1) for item in ACCURACY.items()]
        for done in as_completed(waiting):
            lines.append(done.result())
            progress.update(task, advance=1, description=lines[-1][0])
        for item in SPEED.items():
            lines.append(_run("speed", *item))
            progress.update(task, advance=1, description=lines[-1][0])
    table = Table("benchmark", "", "minutes")
    for line in lines:
        table.add_row(*line)
    console.print(table)
    drawn = subprocess.run(
        [sys.executable, "-m", "geqlib", "report", "--board", f"--out={BOARD}"],
        env=_environment(),
        cwd=TOP,
    )
    console.print(f"{(time.perf_counter() - start) / 60:.1f} minutes in all", highlight=False)
    return int(drawn.returncode != 0 or any(state != "done" for _, state, _ in lines))


def _run(kind: str, name: str, options: str, threads: int | None = None) -> tuple[str, str, str]:
    start, log = time.perf_counter(), BOARD / "logs" / f"{name}.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    settings = _environment() | ({} if threads is None else {"OMP_NUM_THREADS": str(threads)})
    command = [sys.executable, str(TOP / "benchmarks" / kind / f"{name}.py"), *options.split()]
    with log.open("w") as file:
        done = subprocess.run(command, env=settings, cwd=TOP, stdout=file, stderr=file)
    state = "done" if done.returncode == 0 else f"failed: see {log.relative_to(TOP)}"
    return f"{kind}/{name}", state, f"{(time.perf_counter() - start) / 60:.1f}"


def _environment() -> dict[str, str]:
    folders = {"GEQLIB_RESULTS": str(BOARD / "results"), "GEQLIB_RUNS": str(BOARD / "runs")}
    return dict(os.environ) | folders


if __name__ == "__main__":
    raise SystemExit(main())
