"""Pictures of predictions: parity of energies, forces, stress and numbers; trajectories."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

# isort: off: geqlib.report.pictures says what to install where matplotlib is missing
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from geqlib.report.pictures import INK, PALE, STYLE, colour, literal, save_figure
from geqlib.report.tables import number

# isort: on

FEW = 2000  # points that are drawn singly
MILLI = 1000.0
LABELS = {
    "energy": ("Energy", "eV per atom"),
    "forces": ("Force", "eV/Å"),
    "stress": ("Stress", "eV/Å³"),
}
QUANTILES = (0.10, 0.30, 0.50, 0.70, 0.90, 0.99)
WIDE = 4 / 3


@dataclass(frozen=True)
class Parity:
    """A label of a test set.

    Args:
        name: of the label.
        unit: of the values, such as eV/angstrom; that of the errors is a thousandth of it. Without
            one both are in the unit of the data.
        true, predicted: [M], finite.
        left_out: number of values that have no label or are not finite.
    """

    name: str
    unit: str
    true: np.ndarray
    predicted: np.ndarray
    left_out: int = 0

    @property
    def errors(self) -> np.ndarray:
        """Predicted minus true."""
        return (MILLI if self.unit else 1.0) * (self.predicted - self.true)

    def axis(self, quantity: str) -> str:
        """The label of an axis of values, or of errors."""
        unit = f"m{self.unit}" if quantity == "error" else self.unit
        return f"{quantity}, {unit}" if self.unit else quantity


def draw_parity(name: str, labels: Sequence[Parity], path: Path) -> bool:
    """A row for each label: predicted against true values, and the distribution of the errors.

    Args:
        name: of the run.
        labels: of `parities` or `number_parities`.
        path: of the PNG file.

    Returns:
        whether there was anything to draw.
    """
    if not labels:
        return False
    with rc_context(STYLE):
        figure = Figure((9.0, 3.9 * len(labels) + 0.4), layout="constrained")
        figure.suptitle(f"{literal(name)}: test set", fontsize=12)
        panels = figure.subplots(len(labels), 2, squeeze=False)
        for k, (label, (left, right)) in enumerate(zip(labels, panels, strict=True)):
            _draw_values(left, label, colour(k))
            _draw_errors(right, label, colour(k))
        save_figure(figure, path)
    return True


def parities(arrays: Mapping[str, np.ndarray]) -> list[Parity]:
    """Labels of a potential: energies per atom minus their true mean, forces and stress."""
    labels = []
    for key, (name, unit) in LABELS.items():
        if not {key, f"{key}_true"} <= arrays.keys() or np.isnan(arrays[f"{key}_true"]).all():
            continue
        predicted, true = (arrays[k].astype(float) for k in (key, f"{key}_true"))
        if key == "energy":
            atoms = np.bincount(arrays["batch"], minlength=len(true))
            predicted, true = predicted / atoms, true / atoms
            # totals may be -10^4 eV, with differences of 10^-3
            predicted, true = predicted - np.nanmean(true), true - np.nanmean(true)
        labels.append(_parity(name, unit, predicted, true))
    return [label for label in labels if len(label.true)]


def number_parities(columns: Sequence[tuple[str, np.ndarray, np.ndarray]]) -> list[Parity]:
    """Of names, predicted and true values."""
    labels = [
        _parity(literal(name), "", predicted.astype(float), true.astype(float))
        for name, predicted, true in columns
    ]
    return [label for label in labels if len(label.true)]


def _parity(name: str, unit: str, predicted: np.ndarray, true: np.ndarray) -> Parity:
    finite = np.isfinite(predicted) & np.isfinite(true)
    return Parity(name, unit, true[finite], predicted[finite], int((~finite).sum()))


def divergent_values(arrays: Mapping[str, np.ndarray]) -> dict[str, int]:
    """Number of predicted values that are NaN or infinite, for each label with any.

    The stress of a structure without a volume is NaN: of stress only values with a label count.
    """
    counts = {}
    for key, (name, _) in LABELS.items():
        if key not in arrays or (key == "stress" and "stress_true" not in arrays):
            continue
        divergent = ~np.isfinite(arrays[key])
        if key == "stress":
            divergent &= ~np.isnan(arrays["stress_true"])
        if divergent.any():
            counts[name] = int(divergent.sum())
    return counts


def _draw_values(axes: Axes, label: Parity, ink: str) -> None:
    if len(label.true) <= FEW:
        axes.plot(label.true, label.predicted, "o", color=ink, markersize=2.5, alpha=0.5, mew=0)
    else:
        axes.hexbin(
            label.true, label.predicted, gridsize=90, bins="log", mincnt=1, cmap="viridis", lw=0
        )
    both = np.concatenate([label.true, label.predicted])
    low, high = float(both.min()), float(both.max())
    edge = 0.04 * (high - low) or 1e-3
    ends = (low - edge, high + edge)
    axes.plot(ends, ends, color=PALE, linewidth=0.8, zorder=0)
    axes.set(xlim=ends, ylim=ends, xlabel=label.axis("true"), ylabel=label.axis("predicted"))
    axes.set_aspect("equal")
    axes.set_title(label.name, loc="left")
    left_out = f", {label.left_out} left out" if label.left_out else ""
    axes.set_title(f"{len(label.true)} values{left_out}", loc="right", color=PALE)
    axes.locator_params(nbins=5)


def _draw_errors(axes: Axes, label: Parity, ink: str) -> None:
    """A histogram of all errors; those beyond the 99.5 % quantile are in the last bars."""
    errors = label.errors
    limit = float(np.quantile(np.abs(errors), 0.995)) or 1e-9
    bins = int(np.clip(2 * np.sqrt(len(errors)), 9, 61)) | 1  # one in the middle
    shown = np.clip(errors, -limit, limit)
    axes.hist(shown, bins, range=(-limit, limit), color=ink, alpha=0.85)
    axes.axvline(0, color=PALE, linewidth=0.8)
    axes.yaxis.set_major_locator(MaxNLocator("auto", integer=True))
    axes.set(xlabel=label.axis("error"), ylabel="values")
    mae, rmse = np.abs(errors).mean(), np.sqrt(np.square(errors).mean())
    text = f"MAE {number(mae, 3)}, RMSE {number(rmse, 3)}, bias {errors.mean():.2g}"
    axes.set_title(text, loc="left")


def draw_trajectories(name: str, arrays: Mapping[str, np.ndarray], path: Path) -> bool:
    """Draw six test simulations at fixed quantiles of the error, so that none is picked by hand.

    Each is seen along the axis in which it is flattest: projected onto the two largest principal
    axes of its points.

    Args:
        name: of the run.
        arrays: see `geqlib.report.predictions.Predictions`.
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
    """Graph numbers [S], and the mean squared error per coordinate [S] of each."""
    square = np.square(arrays["predicted"].astype(float) - arrays["true"]).mean(-1)
    graphs, number_of = np.unique(arrays["batch"], return_inverse=True)
    total = np.bincount(number_of, weights=square, minlength=len(graphs))
    return graphs, total / np.bincount(number_of, minlength=len(graphs))


def at_quantiles(errors: np.ndarray) -> dict[float, int]:
    """For each quantile the index of the error nearest to it; the same index only once."""
    order = np.argsort(errors, kind="stable")
    chosen: dict[float, int] = {}
    for quantile in QUANTILES:
        index = int(order[round(quantile * (len(errors) - 1))])
        if index not in chosen.values():
            chosen[quantile] = index
    return chosen


def project(points: np.ndarray, *clouds: np.ndarray) -> list[np.ndarray]:
    """Each cloud [..., d] along the two largest principal axes of `points` [N, d], as [..., 2]."""
    centre = points.mean(0)
    axes = np.linalg.svd(points - centre, full_matrices=True)[2][:2]
    largest = np.take_along_axis(axes, np.abs(axes).argmax(1)[:, None], 1)
    axes = axes * np.where(largest < 0, -1, 1)  # the sign of a singular vector is arbitrary
    flat = [(cloud - centre) @ axes.T for cloud in clouds]
    return [np.pad(c, [(0, 0)] * (c.ndim - 1) + [(0, 2 - c.shape[-1])]) for c in flat]


def _draw_simulation(axes: Axes, arrays: Mapping[str, np.ndarray], mask: np.ndarray) -> None:
    path, true, predicted = (arrays[k][mask].astype(float) for k in ("path", "true", "predicted"))
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
    """Set a 4:3 view with equal scales, and draw a scale bar."""
    left, right = axes.get_xlim()
    low, high = axes.get_ylim()
    half = 0.55 * max((right - left) / WIDE, high - low, 1e-9)
    x, y = (left + right) / 2, (low + high) / 2
    axes.set(
        xlim=(x - WIDE * half, x + WIDE * half), ylim=(y - half, y + half), xticks=[], yticks=[]
    )
    axes.set_aspect("equal")
    axes.spines[:].set(visible=True, color="#D5D5D5")
    length = _round_length(half / 2)
    start, height = x - (WIDE - 0.08) * half, y - 0.92 * half
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
