"""The picture of energies, forces and stress: predicted against true, and how errors spread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from geqlib.report.figures import PALE, STYLE, colour, literal, save_figure
from geqlib.report.rows import number

FEW = 2000  # points that are drawn one by one
MILLI = 1000.0
LABELS = {
    "energy": ("Energy", "eV an atom"),
    "forces": ("Force", "eV/Å"),
    "stress": ("Stress", "eV/Å³"),
}


@dataclass(frozen=True)
class Parity:
    """A label of a test set, in eV an atom, eV/angstrom or eV/angstrom^3.

    Args:
        name: of the label.
        unit: of the values; that of the errors is a thousandth of it.
        true, predicted: [M], finite.
    """

    name: str
    unit: str
    true: np.ndarray
    predicted: np.ndarray

    @property
    def errors(self) -> np.ndarray:
        """Predicted minus true, in thousandths of the unit."""
        return MILLI * (self.predicted - self.true)


def draw_parity(name: str, arrays: Mapping[str, np.ndarray], path: Path) -> bool:
    """A row a label: predicted against true values, and the distribution of the errors.

    Args:
        name: of the run.
        arrays: predictions of energies, forces and stress, and with `_true` behind the name their
            labels, which may be missing; NaN is no label.
        path: of the PNG file.

    Returns:
        whether there was anything to draw.
    """
    rows = parities(arrays)
    if not rows:
        return False
    with rc_context(STYLE):
        figure = Figure((9.0, 3.9 * len(rows) + 0.4), layout="constrained")
        figure.suptitle(f"{literal(name)}: test set", fontsize=12)
        panels = figure.subplots(len(rows), 2, squeeze=False)
        for k, (row, (left, right)) in enumerate(zip(rows, panels, strict=True)):
            _draw_values(left, row, colour(k))
            _draw_errors(right, row, colour(k))
        save_figure(figure, path)
    return True


def parities(arrays: Mapping[str, np.ndarray]) -> list[Parity]:
    """Energies an atom less the mean of the true ones, components of forces and of stress."""
    found = []
    for key, (name, unit) in LABELS.items():
        if not {key, f"{key}_true"} <= arrays.keys() or np.isnan(arrays[f"{key}_true"]).all():
            continue
        predicted, true = (arrays[k].astype(float) for k in (key, f"{key}_true"))
        if key == "energy":
            atoms = np.bincount(arrays["batch"], minlength=len(true))
            predicted, true = predicted / atoms, true / atoms
            # totals may be -10^4 eV, with differences of 10^-3
            predicted, true = predicted - np.nanmean(true), true - np.nanmean(true)
        known = np.isfinite(predicted) & np.isfinite(true)
        if known.any():
            found.append(Parity(name, unit, true[known], predicted[known]))
    return found


def _draw_values(axes: Axes, row: Parity, ink: str) -> None:
    if len(row.true) <= FEW:
        axes.plot(row.true, row.predicted, "o", color=ink, markersize=2.5, alpha=0.5, mew=0)
    else:
        axes.hexbin(
            row.true, row.predicted, gridsize=90, bins="log", mincnt=1, cmap="viridis", lw=0
        )
    both = np.concatenate([row.true, row.predicted])
    low, high = float(both.min()), float(both.max())
    edge = 0.04 * (high - low) or 1e-3
    ends = (low - edge, high + edge)
    axes.plot(ends, ends, color=PALE, linewidth=0.8, zorder=0)
    axes.set(xlim=ends, ylim=ends, xlabel=f"true, {row.unit}", ylabel=f"predicted, {row.unit}")
    axes.set_aspect("equal")
    axes.set_title(row.name, loc="left")
    axes.set_title(f"{len(row.true)} values", loc="right", color=PALE)
    axes.locator_params(nbins=5)


def _draw_errors(axes: Axes, row: Parity, ink: str) -> None:
    """A histogram of all errors; those beyond the 99.5 % quantile are in the last bars."""
    errors = row.errors
    reach = float(np.quantile(np.abs(errors), 0.995)) or 1e-9
    bins = int(np.clip(2 * np.sqrt(len(errors)), 9, 61)) | 1  # one in the middle
    shown = np.clip(errors, -reach, reach)
    axes.hist(shown, bins, range=(-reach, reach), color=ink, alpha=0.85)
    axes.axvline(0, color=PALE, linewidth=0.8)
    axes.set(xlabel=f"error, m{row.unit}", ylabel="values")
    mae, rmse = np.abs(errors).mean(), np.sqrt(np.square(errors).mean())
    facts = {"MAE": mae, "RMSE": rmse, "bias": errors.mean()}
    text = ", ".join(f"{name} {number(value)}" for name, value in facts.items())
    axes.set_title(text, loc="left")
