"""One picture of all benchmarks: a panel each, a dot a row."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from geqlib.report.figures import INK, PALE, STYLE, colour, literal, save_figure
from geqlib.report.markdown_table import Scores

MOST = 14  # rows of a panel
COLUMNS = 3
INKS = {"geqlib": colour(0), "measured": INK, "peer": colour(1), "published": PALE}


def draw_board(panels: Mapping[str, Scores], path: Path) -> None:
    """Write the picture: the scores of each benchmark, with one standard deviation.

    Args:
        panels: name of the benchmark -> its scores, of which the first 14 are drawn.
        path: of the PNG.
    """
    columns = min(COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    with rc_context(STYLE):
        figure = Figure(figsize=(5.2 * columns, 3.4 * rows), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, (name, scores) in zip(grid, panels.items(), strict=False):
            _draw(axes, name, scores)
        for axes in grid[len(panels) :]:
            axes.set_axis_off()
        save_figure(figure, path)


def _draw(axes: Axes, name: str, scores: Scores) -> None:
    shown = dict(list(scores.rows.items())[:MOST])
    for place, score in enumerate(shown.values()):
        ink = INKS[score.kind]
        face = "white" if score.kind == "published" else ink
        axes.errorbar(
            score.value,
            -place,
            xerr=score.deviation or None,
            fmt="o",
            color=ink,
            markerfacecolor=face,
            markersize=6,
        )
    axes.set_yticks([-place for place in range(len(shown))], [literal(_short(k)) for k in shown])
    values = [score.value for score in shown.values()]
    if min(values) > 0 and max(values) > 10 * min(values):
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_title(literal(name), loc="left")
    axes.set_xlabel(literal(scores.column))
    axes.grid(axis="x")


def _short(name: str) -> str:
    return name if len(name) <= 34 else f"{name[:33]}…"
