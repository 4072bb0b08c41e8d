"""Pictures of results, drawn from their rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from benchmarks.rows import Row, Value
from geqlib.report.pictures import PALE, STYLE, colour, dashes


def draw_curves(
    rows: Sequence[Row],
    key: str,
    *,
    title: str,
    x: str,
    y: str,
    main: str = "",
    levels: Mapping[str, float] | None = None,
    logarithmic: bool = True,
) -> Figure:
    """A curve of each row that has one, such as validation errors against minutes.

    Args:
        rows: of a table.
        key: of the curves.
        title, x, y: of the picture and its axes.
        main: key of the cell that is drawn as a dot at the end, such as the test error.
        levels: horizontal lines, such as published errors, by name.
        logarithmic: whether the y axis is.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(6.4, 4.0), layout="constrained")
        axes = figure.add_subplot()
        for k, row in enumerate(row for row in rows if key in row.curves):
            minutes, errors = zip(*row.curves[key], strict=True)
            axes.plot(minutes, errors, color=colour(k), label=row.labels[-1])
            if main:
                axes.plot(minutes[-1], row.number(main), "o", color=colour(k))
        for k, (name, level) in enumerate((levels or {}).items()):
            axes.axhline(level, color=PALE, linestyle=(":", "-.", "--")[k % 3], label=name)
        axes.set(xlabel=x, ylabel=y, yscale="log" if logarithmic else "linear")
        axes.set_title(title)
        axes.grid(alpha=0.3, which="both")
        axes.legend()
    return figure


def draw_sizes(
    panels: Mapping[str, Mapping[str, Mapping[float, Value]]],
    *,
    x: str,
    y: str,
    trained: tuple[float, float],
    logarithmic: bool = False,
) -> Figure:
    """A score against size: a line for each method, shaded by one standard deviation over seeds.

    Args:
        panels: title -> method -> size -> score.
        x, y: what the axes say.
        trained: the sizes of the training, shaded in grey.
        logarithmic: whether sizes are.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(4.2 * len(panels) + 1.8, 3.6), layout="constrained")
        grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, (title, curves) in zip(grid, panels.items(), strict=True):
            axes.axvspan(*trained, color="#EEEEEE", zorder=0)
            for k, (name, curve) in enumerate(curves.items()):
                _draw_size(axes, k, name, curve)
            axes.set(title=title, xlabel=x)
            if logarithmic:
                axes.set_xscale("log")
        grid[0].set_ylabel(y)
        grid[-1].legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=9, handlelength=4)
    return figure


def _draw_size(axes: Any, k: int, name: str, curve: Mapping[float, Value]) -> None:
    sizes = sorted(curve)
    means = np.array([curve[size].mean for size in sizes])
    spread = np.array([curve[size].deviation or 0.0 for size in sizes])
    axes.fill_between(sizes, means - spread, means + spread, color=colour(k), alpha=0.15, lw=0)
    axes.plot(sizes, means, color=colour(k), linestyle=dashes(k), label=name, marker=".")
