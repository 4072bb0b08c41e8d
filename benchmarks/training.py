"""Training runs for the benchmarks: by the `geqlib` command, resumable, one folder a run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from rich.console import Console
from rich.table import Table

from geqlib.train.configuration import as_arguments
from geqlib.train.sweep import SweepRun, complete

RUNS = Path(os.environ.get("GEQLIB_RUNS", "runs"))


def trained(
    folder: Path,
    config: Path,
    options: Mapping[str, object],
    seed: int,
    tested: Mapping[str, object] | None = None,
) -> dict[str, Any]:
    """Results of a run: read if it is complete, continued if it was cut off, else made.

    Args:
        folder: of the run.
        config: configuration file.
        options: changes to it, by dotted name.
        seed: of weights, augmentation and the order of the data.
        tested: changes for the test alone, whose results go to a folder of their own in the run's.
    """
    variant = "-".join(str(value).replace("/", "-") for value in (tested or {}).values())
    kept = folder / variant / "results.json"
    if kept.exists():
        return json.loads(kept.read_text())
    last = folder / "checkpoints" / "last.ckpt"
    if not (folder / "fit.json").exists():
        arguments = as_arguments(options)
        arguments += [f"--seed_everything={seed}", f"--trainer.default_root_dir={folder}"]
        resume = [f"--ckpt_path={last}"] if last.exists() else []
        _geqlib("fit", f"--config={config}", *arguments, *resume)
    changes = as_arguments((tested or {}) | {"trainer.default_root_dir": str(kept.parent)})
    best = f"--ckpt_path={folder / 'checkpoints' / 'best.ckpt'}"
    _geqlib("test", f"--config={folder / 'config.yaml'}", best, *changes)
    return json.loads(kept.read_text())


def trained_here(
    folder: Path, config: Path, options: Mapping[str, object], seed: int
) -> dict[str, Any]:
    """`trained` without processes of its own, for runs that take no longer than starting one."""
    complete(SweepRun(folder, config, tuple(as_arguments(options)), seed))
    return json.loads((folder / "results.json").read_text())


def summary(results: Sequence[Mapping[str, Any]], metric: str) -> dict[str, Any]:
    """Mean and standard deviation of a metric over seeds, with the single values."""
    values = [r["metrics"][metric] for r in results]
    return {
        "mean": mean(values),
        "std": stdev(values) if len(values) > 1 else None,
        "values": values,
    }


def show(title: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table; floats with three significant digits."""
    table = Table(*header, title=title)
    for row in rows:
        table.add_row(*[f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in row])
    Console().print(table)


def _geqlib(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "geqlib", *arguments], check=True)
