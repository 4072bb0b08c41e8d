"""The picture of the learning curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from geqlib.report.figures import PALE, STYLE, colour, dashes, label_right, literal, save_figure
from geqlib.report.rows import Group
from geqlib.report.runs import Metrics

_FEW = 15


def draw_learning_curves(
    groups: Sequence[Group], baselines: Mapping[str, Metrics], path: Path
) -> bool:
    """Training loss and validation metric against the epoch; the seeds of a row share a colour.

    The y axes are logarithmic where all values are positive. Baselines are dashed lines in the
    validation panel where they lie within a factor of ten of the curves.

    Args:
        groups: rows of the table.
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
            _draw_panel(axes, groups, column)
            if column.startswith("val/"):
                _draw_baselines(axes, baselines, "test/" + column.removeprefix("val/"))
            _set_ticks(axes)
        _draw_legend(figure, columns, len(groups))
        save_figure(figure, path)
    return True


def _panels(groups: Sequence[Group], baselines: Mapping[str, Metrics]) -> list[str]:
    """The training loss, and the validation metric that baselines name first."""
    columns = dict.fromkeys(key for g in groups for run in g.runs for key in run.history)
    training = [key for key in columns if key.startswith("train/")]
    training.sort(key=lambda key: key != "train/loss")
    compared = [key.replace("test/", "val/", 1) for m in baselines.values() for key in m]
    validation = [key for key in columns if key.startswith("val/")]
    validation.sort(key=lambda key: compared.index(key) if key in compared else len(compared))
    return training[:1] + validation[:1]


def _draw_panel(axes: Axes, groups: Sequence[Group], column: str) -> None:
    values = []
    for k, group in enumerate(groups):
        label = literal(group.name)
        label += f", {len(group.runs)} runs" if len(group.runs) > 1 else ""
        for run in group.runs:
            if column not in run.history:
                continue
            x, y = run.history[column].T
            axes.plot(
                x,
                np.where(np.isfinite(y), y, np.nan),
                color=colour(k),
                linestyle=dashes(k),
                linewidth=1.8 if len(group.runs) == 1 else 1.2,
                marker="o" if len(x) <= _FEW else "",
                markersize=3,
                label=label,
            )
            label = "_"  # one entry in the legend for all seeds
            values.append(y[np.isfinite(y)])
    known = np.concatenate([*values, np.empty(0)])
    if len(known) and known.min() > 0:
        axes.set_yscale("log")
    axes.set_title(_title(column), loc="left")
    axes.set_xlabel("epoch")
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    axes.grid(True)


def _title(column: str) -> str:
    stage, _, name = column.partition("/")
    return f"{'Training' if stage == 'train' else 'Validation'}: {name}"


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
    near = [(m[metric], name) for name, m in baselines.items() if metric in m]
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
