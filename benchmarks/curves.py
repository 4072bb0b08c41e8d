"""Pictures of a score against size, one panel a question."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from geqlib.report.figures import STYLE, colour, dashes, save_figure

Curve = Mapping[float, Mapping[str, Any]]


def plot_curves(
    path: Path,
    panels: Mapping[str, Mapping[str, Curve]],
    *,
    x: str,
    y: str,
    trained: tuple[float, float],
    logarithmic: bool = False,
) -> None:
    """Write a picture with a line for each method, shaded by one standard deviation over seeds.

    Args:
        path: of the PNG.
        panels: title -> method -> size -> {"mean": ..., "std": ... or None}.
        x, y: what the axes say.
        trained: the sizes of the training, shaded in grey.
        logarithmic: whether sizes are.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.2 * len(panels) + 1.8, 3.6), layout="constrained")
        grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, (title, curves) in zip(grid, panels.items(), strict=True):
            axes.axvspan(*trained, color="#EEEEEE", zorder=0)
            for k, (name, curve) in enumerate(curves.items()):
                _draw(axes, k, name, curve)
            axes.set(title=title, xlabel=x)
            if logarithmic:
                axes.set_xscale("log")
        grid[0].set_ylabel(y)
        grid[-1].legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=9, handlelength=4)
        save_figure(figure, path)


def _draw(axes: Any, k: int, name: str, curve: Curve) -> None:
    sizes = sorted(curve)
    means = [curve[size]["mean"] for size in sizes]
    spread = [curve[size]["std"] or 0.0 for size in sizes]
    low, high = (
        [mean + sign * s for mean, s in zip(means, spread, strict=True)] for sign in (-1, 1)
    )
    axes.fill_between(sizes, low, high, color=colour(k), alpha=0.15, linewidth=0)
    axes.plot(sizes, means, color=colour(k), linestyle=dashes(k), label=name, marker=".")
