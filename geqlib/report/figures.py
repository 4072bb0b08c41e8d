"""How the pictures of a report look, and how they are written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.optimize import isotonic_regression

from geqlib.files.atomic import replace_file

# Okabe and Ito's palette, which colour-blind readers can tell apart, without its yellow
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#4D4D4D")
DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1)), (0, (6, 1.5, 1, 1.5)))
INK = "#222222"
PALE = "#777777"
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10.5,
    "text.color": INK,
    "axes.edgecolor": "#999999",
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": False,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.8,
    "xtick.color": PALE,
    "ytick.color": PALE,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "savefig.dpi": 170,
}


def save_figure(figure: Figure, path: Path) -> None:
    """Write the picture as PNG: whole or not at all, the same bytes for the same content."""
    replace_file(path, lambda part: figure.savefig(part, format="png", metadata={"Software": None}))


def colour(index: int) -> str:
    """The colour of the curve or ball number `index`; they repeat."""
    return COLOURS[index % len(COLOURS)]


def dashes(index: int) -> str | tuple[int, tuple[float, ...]]:
    """The line style of curve number `index`; it changes when the colours begin to repeat."""
    return DASHES[index // len(COLOURS) % len(DASHES)]


def literal(text: str) -> str:
    """A user's name for a picture: no formulas in it, and no leading _ that hides a label."""
    shown = text.replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown


def spread(wanted: list[float], gap: float) -> np.ndarray:
    """Places in [0, 1] nearest to the wanted ones, in least squares, at least `gap` apart.

    Args:
        wanted: ascending places.
        gap: the height of a label; less where there is no room.
    """
    gap = min(gap, 1 / max(len(wanted), 1))
    steps = gap * np.arange(len(wanted))
    if not len(steps):
        return steps
    return np.clip(isotonic_regression(np.array(wanted) - steps).x, 0, 1 - steps[-1]) + steps


def label_right(axes: Axes, places: list[tuple[float, str]]) -> None:
    """Write each text to the right of the axes at its data height, without overlaps.

    Args:
        axes: with final limits.
        places: height and text.
    """
    to_axes = axes.transData + axes.transAxes.inverted()
    heights = sorted((float(to_axes.transform((0, y))[1]), text) for y, text in places)
    rows = spread([height for height, _ in heights], 0.055)
    for row, (_, text) in zip(rows, heights, strict=True):
        axes.annotate(
            literal(text),
            (1, row),
            (5, 0),
            xycoords="axes fraction",
            textcoords="offset points",
            va="center",
            fontsize=9,
            color=PALE,
            annotation_clip=False,
        )
