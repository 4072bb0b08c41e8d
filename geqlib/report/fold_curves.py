"""The picture of the learning curves of a cross-validation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from geqlib.report.figures import PALE, STYLE, colour, save_figure


def draw_fold_curves(test: np.ndarray, validation: np.ndarray, path: Path) -> None:
    """Accuracy after each epoch: mean over all runs, with one standard deviation around it.

    Args:
        test: [runs, epochs] on the test folds.
        validation: [runs, epochs] on validation graphs, or [0].
        path: of the PNG file.
    """
    with rc_context(STYLE):
        figure = Figure((6.2, 4.2), layout="constrained")
        axes = figure.subplots()
        known = [("test folds", test)]
        if validation.size:
            known.append(("validation graphs", validation))
        for k, (label, runs) in enumerate(known):
            epoch = np.arange(1, runs.shape[1] + 1)
            mean, spread = 100 * runs.mean(0), 100 * runs.std(0)
            axes.plot(epoch, mean, color=colour(k), linewidth=1.8, label=label)
            band = (mean - spread, mean + spread)
            axes.fill_between(epoch, *band, color=colour(k), alpha=0.15, linewidth=0)
        best = int(test.mean(0).argmax())
        axes.axvline(best + 1, color=PALE, linestyle=(0, (4, 3)), linewidth=1)
        axes.set(xlabel="epoch", ylabel="accuracy in %")
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        title = f"Accuracy, mean of {len(test)} runs; best mean in epoch {best + 1}"
        axes.set_title(title, loc="left")
        axes.grid(True)
        axes.legend(loc="lower right")
        save_figure(figure, path)
