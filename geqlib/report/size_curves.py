"""Errors against the size of the training set: a file, a picture and a table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from geqlib.files.atomic import replace_file
from geqlib.report.figures import STYLE, colour, literal, save_figure
from geqlib.report.rows import number

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
    for (size, seed), found in results.items():
        missing = [name for name in metrics if name not in found]
        if missing or not metrics:
            raise ValueError(
                f"The run with {size} examples and seed {seed} has no metric "
                f"{', '.join(missing)}: choose --metrics from {', '.join(found)}."
            )
    curves = {name: _curve(results, name) for name in metrics}
    _draw(out.name, curves, out / "learning_curve.png")
    rows = [
        {"size": size, "seed": seed, "metrics": dict(found)}
        for (size, seed), found in results.items()
    ]
    text = json.dumps({"name": out.name, "shown": list(metrics), "runs": rows}, indent=1)
    replace_file(out / "learning_curve.json", lambda part: part.write_text(text + "\n"))
    (console or Console()).print(_table(curves))
    return out / "learning_curve.json"


def _curve(results: Results, name: str) -> dict[int, list[float]]:
    """Size -> the metric of each seed."""
    found: dict[int, list[float]] = {}
    for (size, _), metrics in sorted(results.items()):
        found.setdefault(size, []).append(metrics[name])
    return found


def _draw(title: str, curves: Mapping[str, dict[int, list[float]]], path: Path) -> None:
    """A panel a metric, both axes logarithmic: a line through the means, a point a seed."""
    with rc_context(STYLE):
        figure = Figure((4.2 * len(curves), 3.8), layout="constrained")
        figure.suptitle(literal(title), fontsize=12)
        panels = figure.subplots(1, len(curves), squeeze=False)[0]
        for k, (axes, (name, curve)) in enumerate(zip(panels, curves.items(), strict=True)):
            _draw_panel(axes, curve, colour(k))
            axes.set_title(literal(name), loc="left")
        save_figure(figure, path)


def _draw_panel(axes: Axes, curve: dict[int, list[float]], ink: str) -> None:
    axes.plot(list(curve), [fmean(values) for values in curve.values()], color=ink, linewidth=1.8)
    points = [(size, value) for size, values in curve.items() for value in values]
    axes.plot(*zip(*points, strict=True), "o", color=ink, markersize=4)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(list(curve)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    values = [value for _, value in points]
    if min(values) > 0:
        axes.set_yscale("log")
        if max(values) < 30 * min(values):
            axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("training examples")
    axes.grid(True)


def _table(curves: Mapping[str, dict[int, list[float]]]) -> Table:
    """A row a size: mean, and sample standard deviation over seeds."""
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
