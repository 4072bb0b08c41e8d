"""Errors against the size of the training set: a file, a picture and a table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from geqlib.files.atomic import replace_file
from geqlib.report.tables import number

Results = Mapping[tuple[int, int], Mapping[str, float]]


def write_size_curves(
    out: Path, results: Results, metrics: Sequence[str], console: Console | None = None
) -> Path:
    """Write `learning_curve.json` and `learning_curve.png`, and print a table.

    Args:
        out: folder.
        results: (size, seed) -> metrics of the test set.
        metrics: which of them to draw and print; the file has all.
        console: where the table goes, the terminal by default.

    Returns:
        the path of `learning_curve.json`.

    Raises:
        ValueError: if a run lacks a metric.
    """
    for (size, seed), measured in results.items():
        missing = [name for name in metrics if name not in measured]
        if missing or not metrics:
            raise ValueError(
                f"The run with {size} examples and seed {seed} has no metric "
                f"{', '.join(missing)}: choose --metrics from {', '.join(measured)}."
            )
    curves = {name: _curve(results, name) for name in metrics}
    runs = [
        {"size": size, "seed": seed, "metrics": dict(measured)}
        for (size, seed), measured in results.items()
    ]
    text = json.dumps({"name": out.name, "shown": list(metrics), "runs": runs}, indent=1)
    replace_file(out / "learning_curve.json", lambda part: part.write_text(text + "\n"))
    (console or Console()).print(_table(curves))
    from geqlib.report.pictures import draw_size_curves  # last: it needs matplotlib

    draw_size_curves(out.name, curves, out / "learning_curve.png")
    return out / "learning_curve.json"


def _curve(results: Results, name: str) -> dict[int, list[float]]:
    """Size -> the metric of each seed."""
    curve: dict[int, list[float]] = {}
    for (size, _), metrics in sorted(results.items()):
        curve.setdefault(size, []).append(metrics[name])
    return curve


def _table(curves: Mapping[str, dict[int, list[float]]]) -> Table:
    """A row for each size: mean, and sample standard deviation over seeds."""
    shown = Table(box=SIMPLE_HEAD, pad_edge=False)
    shown.add_column("examples", justify="right")
    for name in curves:
        shown.add_column(name, justify="right")
    for size in next(iter(curves.values())):
        shown.add_row(str(size), *(_cell(curve[size]) for curve in curves.values()))
    return shown


def _cell(values: Sequence[float]) -> str:
    mean = number(fmean(values))
    return f"{mean} ± {number(stdev(values))}" if len(values) > 1 else mean
