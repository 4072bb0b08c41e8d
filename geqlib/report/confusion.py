"""The picture of a confusion matrix."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from geqlib.report.figures import INK, STYLE, save_figure


def draw_confusion(counts: np.ndarray, path: Path) -> None:
    """Share of each true class that was taken for each class, with the counts.

    Args:
        counts: [true classes, predicted classes].
        path: of the PNG file.
    """
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = 2.2 + 0.6 * len(counts)
    with rc_context(STYLE):
        figure = Figure((side, side), layout="constrained")
        axes = figure.subplots()
        axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
        for (row, column), value in np.ndenumerate(share):
            shade = "white" if value > 0.6 else INK
            text = f"{100 * value:.0f} %\n{counts[row, column]}"
            axes.text(column, row, text, ha="center", va="center", color=shade, fontsize=9)
        axes.set(xlabel="predicted class", ylabel="true class")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(integer=True))
        axes.set_title("Test graphs of all folds", loc="left")
        save_figure(figure, path)
