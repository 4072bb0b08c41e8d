"""The picture of moving points: true paths, and where a model says that they end."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from geqlib.report.figures import INK, PALE, STYLE, colour, literal, save_figure
from geqlib.report.rows import number

QUANTILES = (0.10, 0.30, 0.50, 0.70, 0.90, 0.99)
_WIDE = 4 / 3


def draw_trajectories(name: str, arrays: Mapping[str, np.ndarray], path: Path) -> bool:
    """Six test simulations at fixed quantiles of the error, so that nobody picked the nice ones.

    Each is seen along the axis in which it is flattest: projected onto the two largest principal
    axes of its points.

    Args:
        name: of the run.
        arrays: see `geqlib.report.runs.read_predictions`.
        path: of the PNG file.

    Returns:
        whether there was anything to draw.
    """
    graphs, errors = simulation_errors(arrays)
    if not len(graphs):
        return False
    chosen = at_quantiles(errors)
    columns = min(len(chosen), 3)
    rows = math.ceil(len(chosen) / columns)
    with rc_context(STYLE):
        size = (3.5 * columns, 2.8 * rows + 0.9)
        figure = Figure(size, layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.08))
        title = f"{literal(name)}: {len(chosen)} of {len(graphs)} test simulations"
        figure.suptitle(title, fontsize=12)
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, (quantile, k) in zip(panels, chosen.items(), strict=False):
            _draw_simulation(axes, arrays, arrays["batch"] == graphs[k])
            axes.set_title(f"{quantile:.0%} quantile".replace("%", " %"), loc="left")
            axes.set_title(f"squared error {number(errors[k])}", loc="right", color=PALE)
        for axes in panels[len(chosen) :]:
            axes.set_axis_off()
        _draw_legend(figure)
        save_figure(figure, path)
    return True


def simulation_errors(arrays: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Graph numbers [S], and the mean squared error a coordinate [S] of each."""
    square = np.square(arrays["predicted"].astype(float) - arrays["true"]).mean(-1)
    graphs, place = np.unique(arrays["batch"], return_inverse=True)
    total = np.bincount(place, weights=square, minlength=len(graphs))
    return graphs, total / np.bincount(place, minlength=len(graphs))


def at_quantiles(errors: np.ndarray) -> dict[float, int]:
    """For each quantile the place of the error nearest to it; the same place only once."""
    order = np.argsort(errors, kind="stable")
    chosen: dict[float, int] = {}
    for quantile in QUANTILES:
        place = int(order[round(quantile * (len(errors) - 1))])
        if place not in chosen.values():
            chosen[quantile] = place
    return chosen


def project(points: np.ndarray, *clouds: np.ndarray) -> list[np.ndarray]:
    """Each cloud [..., d] along the two largest principal axes of `points` [N, d], as [..., 2]."""
    centre = points.mean(0)
    axes = np.linalg.svd(points - centre, full_matrices=True)[2][:2]
    largest = np.take_along_axis(axes, np.abs(axes).argmax(1)[:, None], 1)
    axes = axes * np.where(largest < 0, -1, 1)  # the sign of a singular vector is arbitrary
    flat = [(cloud - centre) @ axes.T for cloud in clouds]
    return [np.pad(c, [(0, 0)] * (c.ndim - 1) + [(0, 2 - c.shape[-1])]) for c in flat]


def _draw_simulation(axes: Axes, arrays: Mapping[str, np.ndarray], rows: np.ndarray) -> None:
    path, true, predicted = (arrays[k][rows].astype(float) for k in ("path", "true", "predicted"))
    predicted[~np.isfinite(predicted)] = np.nan
    cloud = path.reshape(-1, path.shape[-1])
    path, true, predicted = project(cloud, path, true, predicted)
    for k in range(len(path)):
        ink = colour(k)
        axes.plot(*path[k].T, color=ink, linewidth=1.8, solid_capstyle="round", zorder=2)
        axes.plot(*path[k, 0], "o", color=ink, markersize=4, zorder=3)
        axes.plot(*true[k], "o", mfc="white", mec=ink, mew=1.6, markersize=9, zorder=4)
        axes.plot(*np.stack([true[k], predicted[k]]).T, ":", color=ink, linewidth=1.1, zorder=3)
        axes.plot(*predicted[k], "x", color=ink, mew=2, markersize=7, zorder=6)
    _frame(axes)


def _frame(axes: Axes) -> None:
    """A 4:3 view with equal scales, and a bar that says how long a length is."""
    left, right = axes.get_xlim()
    low, high = axes.get_ylim()
    half = 0.55 * max((right - left) / _WIDE, high - low, 1e-9)
    x, y = (left + right) / 2, (low + high) / 2
    axes.set(
        xlim=(x - _WIDE * half, x + _WIDE * half), ylim=(y - half, y + half), xticks=[], yticks=[]
    )
    axes.set_aspect("equal")
    axes.spines[:].set(visible=True, color="#D5D5D5")
    length = _round_length(half / 2)
    start, height = x - (_WIDE - 0.08) * half, y - 0.92 * half
    axes.plot([start, start + length], [height, height], color=INK, linewidth=1.5)
    axes.annotate(
        f"{length:g}",
        (start + length / 2, height),
        (0, 3),
        textcoords="offset points",
        ha="center",
        fontsize=9,
    )


def _round_length(length: float) -> float:
    """The largest of 1, 2 or 5 times a power of ten that is not longer."""
    power = 10 ** math.floor(math.log10(length))
    return max(step * power for step in (1, 2, 5) if step * power <= length * (1 + 1e-9))


def _draw_legend(figure: Figure) -> None:
    entries = {
        "true path": Line2D([], [], color=INK, linewidth=1.8),
        "start": Line2D([], [], color=INK, marker="o", linestyle="", markersize=4),
        "true end": Line2D(
            [], [], color=INK, marker="o", linestyle="", markersize=9, mfc="white", mew=1.6
        ),
        "predicted end": Line2D([], [], color=INK, marker="x", linestyle="", markersize=7, mew=2),
    }
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=4)
