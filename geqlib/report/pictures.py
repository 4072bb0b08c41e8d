"""Pictures of training: learning curves, folds, sizes of the training set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from scipy.optimize import isotonic_regression

from geqlib.counted import shown_unit
from geqlib.files.atomic import replace_file
from geqlib.report.runs import Metrics, Run
from geqlib.report.tables import Group

try:
    from matplotlib import rc_context
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import (
        FixedLocator,
        FuncFormatter,
        LogLocator,
        MaxNLocator,
        NullFormatter,
        NullLocator,
    )
except ModuleNotFoundError as error:
    raise ValueError("Pictures need matplotlib: pip install 'geqlib[report]'.") from error

# Okabe and Ito's palette, which colour-blind readers can distinguish, without its yellow
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


def spread(heights: list[float], gap: float) -> np.ndarray:
    """The heights in [0, 1], at least `gap` apart, nearest to the given ones in least squares.

    Args:
        heights: ascending.
        gap: the height of a label; reduced where there is not enough room.
    """
    gap = min(gap, 1 / max(len(heights), 1))
    steps = gap * np.arange(len(heights))
    if not len(steps):
        return steps
    return np.clip(isotonic_regression(np.array(heights) - steps).x, 0, 1 - steps[-1]) + steps


def label_right(axes: Axes, labels: list[tuple[float, str]]) -> None:
    """Write each text to the right of the axes at its data height, without overlaps.

    Args:
        axes: with final limits.
        labels: height and text.
    """
    to_axes = axes.transData + axes.transAxes.inverted()
    heights = sorted((float(to_axes.transform((0, y))[1]), text) for y, text in labels)
    separated = spread([height for height, _ in heights], 0.055)
    for height, (_, text) in zip(separated, heights, strict=True):
        axes.annotate(
            literal(text),
            (1, height),
            (5, 0),
            xycoords="axes fraction",
            textcoords="offset points",
            va="center",
            fontsize=9,
            color=PALE,
            annotation_clip=False,
        )


FEW = 15  # epochs, each of which is marked


def draw_learning_curves(
    groups: Sequence[Group], baselines: Mapping[str, Metrics], path: Path
) -> bool:
    """Training loss and validation metric against the epoch; the seeds of a group share a colour.

    A ring marks the epoch of the best checkpoint.

    The y axes are logarithmic where all values are positive. Baselines are dashed lines in the
    validation panel where they lie within a factor of ten of the curves.

    Args:
        groups: of runs, a colour each.
        baselines: metrics on the test set by the names `test/...`.
        path: of the PNG file.

    Returns:
        whether there was anything to draw.
    """
    panels = _panels(groups, baselines)
    if not panels:
        return False
    with rc_context(STYLE):
        figure = Figure(figsize=(5.2 * len(panels), 4.2), layout="constrained")
        columns = figure.subplots(1, len(panels), squeeze=False)[0]
        for axes, column in zip(columns, panels, strict=True):
            _draw_curves(axes, groups, column)
            if column.startswith("val/"):
                _draw_baselines(axes, baselines, "test/" + column.removeprefix("val/"))
            _set_ticks(axes)
        _draw_legend(figure, columns, len(groups))
        save_figure(figure, path)
    return True


def _panels(groups: Sequence[Group], baselines: Mapping[str, Metrics]) -> list[str]:
    """The training loss, and the validation metrics that chose the best checkpoints.

    Where none is recorded, the one that baselines name first.
    """
    columns = dict.fromkeys(key for g in groups for run in g.runs for key in run.history)
    training = [key for key in columns if key.startswith("train/")]
    training.sort(key=lambda key: key != "train/loss")
    compared = [key.replace("test/", "val/", 1) for m in baselines.values() for key in m]
    validation = [k for k in columns if k.startswith("val/") and not k.startswith("val/old/")]
    validation.sort(key=lambda key: compared.index(key) if key in compared else len(compared))
    chosen = dict.fromkeys(run.monitor[0] for g in groups for run in g.runs if run.monitor)
    monitored = [key for key in chosen if key in validation]
    shown = monitored[:2] or validation[:1]
    old = [key.replace("val/", "val/old/", 1) for key in shown]
    return training[:1] + shown + [key for key in old if key in columns]


def _draw_curves(axes: Axes, groups: Sequence[Group], column: str) -> None:
    values = []
    units = {name: unit for g in groups for run in g.runs for name, unit in run.units.items()}
    scale, unit = shown_unit(column, units)
    for k, group in enumerate(groups):
        label = literal(group.name)
        label += f", {len(group.runs)} runs" if len(group.runs) > 1 else ""
        for run in group.runs:
            if column not in run.history:
                continue
            x, y = run.history[column].T
            y = scale * y
            axes.plot(
                x,
                np.where(np.isfinite(y), y, np.nan),
                color=colour(k),
                linestyle=dashes(k),
                linewidth=1.8 if len(group.runs) == 1 else 1.2,
                marker="o" if len(x) <= FEW else "",
                markersize=3,
                label=label,
            )
            _mark_best(axes, run, column, colour(k), scale)
            label = "_"  # one entry in the legend for all seeds
            values.append(y[np.isfinite(y)])
    finite = np.concatenate([*values, np.empty(0)])
    if len(finite) and finite.min() > 0:
        axes.set_yscale("log")
    axes.set_title(_title(column, unit), loc="left")
    axes.set_xlabel("epoch")
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    axes.grid(True)


def _mark_best(axes: Axes, run: Run, column: str, ink: str, scale: float) -> None:
    """A ring at the epoch of the best checkpoint."""
    if run.monitor is None or run.monitor[0] != column:
        return
    x, y = run.history[column].T
    if np.isfinite(y).any():
        best = np.nanargmax(np.where(np.isfinite(y), y if run.monitor[1] == "max" else -y, np.nan))
        axes.plot(x[best], scale * y[best], "o", mfc="none", mec=ink, mew=1.4, markersize=9)


def _title(column: str, unit: str) -> str:
    stage, _, name = column.partition("/")
    own = name.removeprefix("old/")
    where = "Training" if stage == "train" else "Validation"
    title = f"{where}{', old structures' if own != name else ''}: {own}"
    return f"{title}, {unit}" if unit else title


def _draw_baselines(axes: Axes, baselines: Mapping[str, Metrics], metric: str) -> None:
    drawn = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in axes.lines])
    drawn = drawn[np.isfinite(drawn)]
    if not len(drawn):
        return
    low, high = drawn.min(), drawn.max()
    if axes.get_yscale() == "log":
        low, high = low / 10, high * 10
    else:
        low, high = 2 * low - high, 2 * high - low
    scale, _ = shown_unit(metric, {})
    near = [(scale * m[metric], name) for name, m in baselines.items() if metric in m]
    near = [(value, name) for value, name in near if low <= value <= high]
    for value, _ in near:
        axes.axhline(value, color=PALE, linestyle=(0, (4, 3)), linewidth=1, zorder=1)
    if near:
        label_right(axes, near)


def _set_ticks(axes: Axes) -> None:
    """Decimal numbers at 1, 2 and 5 on a logarithmic axis; on a long one, powers of ten alone."""
    if axes.get_yscale() != "log":
        return
    low, high = axes.get_ylim()
    steps = (1, 2, 5) if high < 300 * low else (1,)
    few = high < 10 * low
    axes.yaxis.set_major_locator(MaxNLocator(5) if few else LogLocator(subs=steps, numticks=10))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    if few:
        axes.yaxis.set_minor_locator(NullLocator())


def _draw_legend(figure: Figure, columns: Sequence[Axes], count: int) -> None:
    entries = {}
    for axes in columns:
        handles, labels = axes.get_legend_handles_labels()
        entries |= {label: handle for handle, label in zip(handles, labels, strict=True)}
    figure.legend(
        entries.values(),
        entries.keys(),
        loc="outside lower center",
        ncols=min(max(count, 1), 3),
    )


def draw_fold_curves(
    test: np.ndarray,
    validation: np.ndarray,
    path: Path,
    measure: str = "accuracy",
    *,
    less: bool = False,
) -> None:
    """A measure after each epoch: mean over all runs, with one standard deviation around it.

    Args:
        test: [runs, epochs] on the test folds.
        validation: [runs, epochs] on validation graphs, or [0].
        path: of the PNG file.
        measure: its name.
        less: whether it is an error, in the unit of the data; scores are shown in percent.
    """
    scale = 1 if less else 100
    with rc_context(STYLE):
        figure = Figure((6.2, 4.2), layout="constrained")
        axes = figure.subplots()
        curves = [("test folds", test)]
        if validation.size:
            curves.append(("validation", validation))
        for k, (label, runs) in enumerate(curves):
            epoch = np.arange(1, runs.shape[1] + 1)
            mean, spread = scale * runs.mean(0), scale * runs.std(0)
            axes.plot(epoch, mean, color=colour(k), linewidth=1.8, label=label)
            band = (mean - spread, mean + spread)
            axes.fill_between(epoch, *band, color=colour(k), alpha=0.15, linewidth=0)
        means = test.mean(0)
        best = int(means.argmin() if less else means.argmax())
        axes.axvline(best + 1, color=PALE, linestyle=(0, (4, 3)), linewidth=1)
        axes.set(xlabel="epoch", ylabel=measure if less else f"{measure} in %")
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        name = measure if less or measure == "auroc" else measure.capitalize()
        title = f"{name}, mean of {len(test)} runs; best mean in epoch {best + 1}"
        axes.set_title(title, loc="left")
        axes.grid(True)
        axes.legend(loc="upper right" if less else "lower right")
        save_figure(figure, path)


def draw_size_curves(title: str, curves: Mapping[str, dict[int, list[float]]], path: Path) -> None:
    """A panel for each metric, both axes logarithmic: a line of means, a point for each seed.

    Args:
        title: of the picture.
        curves: metric -> size of the training set -> values of the seeds.
        path: of the PNG file.
    """
    with rc_context(STYLE):
        figure = Figure((4.2 * len(curves), 3.8), layout="constrained")
        figure.suptitle(literal(title), fontsize=12)
        panels = figure.subplots(1, len(curves), squeeze=False)[0]
        for k, (axes, (name, curve)) in enumerate(zip(panels, curves.items(), strict=True)):
            _draw_size_curve(axes, curve, colour(k))
            axes.set_title(literal(name), loc="left")
        save_figure(figure, path)


def _draw_size_curve(axes: Axes, curve: dict[int, list[float]], ink: str) -> None:
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
