"""Pictures of classes: confusion matrices and receiver operating curves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

# isort: off: geqlib.report.pictures says what to install where matplotlib is missing
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from geqlib.report.classes import Question, area, roc
from geqlib.report.pictures import INK, PALE, STYLE, colour, dashes, literal, save_figure

# isort: on

CURVES = 12
FEW = 6  # curves whose names fit below them
LONG = 18  # characters of a name that fit beside a picture


def draw_confusion(
    counts: np.ndarray,
    path: Path,
    names: Sequence[str] = (),
    title: str = "Test sets of all folds",
) -> None:
    """Draw the confusion matrix: the share of each true class by predicted class, and counts.

    Args:
        counts: [true classes, predicted classes].
        path: of the PNG file.
        names: of the classes, their numbers by default.
        title: of the picture.
    """
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    few = len(counts) <= 12
    cell = 0.62 if few else 0.3
    side = 2.2 + cell * len(counts)
    with rc_context(STYLE):
        figure = Figure((side, side), layout="constrained")
        axes = figure.subplots()
        axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
        for (row, column), value in np.ndenumerate(share):
            if not few and row != column and value < 0.1:
                continue
            shade = "white" if value > 0.6 else INK
            text = f"{100 * value:.0f} %\n{counts[row, column]}" if few else f"{100 * value:.0f}"
            size = 9 if few else 6.5
            axes.text(column, row, text, ha="center", va="center", color=shade, fontsize=size)
        axes.set(xlabel="predicted class", ylabel="true class")
        if names:
            shown = [literal(_short(name)) for name in names]
            axes.set_xticks(range(len(names)), shown, rotation=45, ha="right")
            axes.set_yticks(range(len(names)), shown)
        else:
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_locator(MaxNLocator(integer=True))
        axes.set_title(literal(title), loc="left")
        save_figure(figure, path)


def draw_roc(questions: Sequence[Question], path: Path) -> bool:
    """Draw a receiver operating curve with its area for each of the first twelve questions.

    Returns:
        whether there was anything to draw.
    """
    if not questions:
        return False
    with rc_context(STYLE):
        beside = len(questions) > FEW
        figure = Figure((7.0 if beside else 4.8, 4.8), layout="constrained")
        axes = figure.subplots()
        axes.plot((0, 1), (0, 1), color=PALE, linewidth=0.8, linestyle=(0, (4, 3)))
        for k, asked in enumerate(questions[:CURVES]):
            value = area(asked.scores, asked.true)
            axes.plot(
                *roc(asked.scores, asked.true),
                color=colour(k),
                linestyle=dashes(k),
                linewidth=1.8,
                label=f"{literal(_short(asked.name))}: {value:.3f}",
                clip_on=False,
            )
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="false positive rate")
        axes.set_ylabel("true positive rate")
        axes.set_aspect("equal")
        axes.grid(True)
        legend = {"title": "area under the curve", "alignment": "left"}
        if beside:
            figure.legend(loc="outside right upper", **legend)
        else:
            axes.legend(loc="lower right", **legend)
        save_figure(figure, path)
    return True


def _short(name: str) -> str:
    return name if len(name) <= LONG else f"{name[: LONG // 2]}…{name[-LONG // 2 + 1 :]}"
