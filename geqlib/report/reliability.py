"""Reliability of predicted standard deviations: a table, and the pictures of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import spearmanr

# isort: on
from geqlib.atoms.miscalibration import interval_shares, miscalibration_area

# isort: off: geqlib.report.pictures says what to install where matplotlib is missing
from geqlib.report.pictures import PALE, STYLE, colour, literal, save_figure
from geqlib.report.tables import Table, number

MILLI = 1000.0
BINS = 12
LEAST = 5  # errors in a bin, and of a label that is shown


@dataclass(frozen=True)
class Reliability:
    """Errors of a label of a test set, and their predicted standard deviations.

    Args:
        name: of the label.
        unit: of both.
        deviations: [M], positive.
        errors: [M] predicted minus true.
        lost: how many further errors, or their deviations, are not finite, or deviations are 0.
    """

    name: str
    unit: str
    deviations: np.ndarray
    errors: np.ndarray
    lost: int = 0

    @property
    def scaled(self) -> np.ndarray:
        """Errors over their deviations."""
        return self.errors / self.deviations

    def bins(self) -> tuple[np.ndarray, np.ndarray]:
        """Root mean squares of deviations and of errors, in bins of equally many errors."""
        order = np.argsort(self.deviations, kind="stable")
        count = int(np.clip(len(order) // LEAST, 1, BINS))
        parts = np.array_split(order, count)
        squares = [(self.deviations[p], self.errors[p]) for p in parts]
        means = np.array([[np.square(x).mean() for x in pair] for pair in squares])
        return np.sqrt(means[:, 0]), np.sqrt(means[:, 1])


def reliabilities(arrays: Mapping[str, np.ndarray]) -> list[Reliability]:
    """Of energies per atom in meV, and of components of forces in meV/angstrom.

    Args:
        arrays: of a run's predictions; empty without "energy_std" and "forces_std".
    """
    labels = []
    if {"energy", "energy_std", "energy_true"} <= arrays.keys():
        atoms = np.bincount(arrays["batch"], minlength=len(arrays["energy"]))
        error = arrays["energy"].astype(float) - arrays["energy_true"]
        true = arrays["energy_true"]
        labels.append(
            _label("Energy", "meV per atom", arrays["energy_std"] / atoms, error / atoms, true)
        )
    if {"forces", "forces_std", "forces_true"} <= arrays.keys():
        errors = arrays["forces"].astype(float) - arrays["forces_true"]
        deviations = np.repeat(arrays["forces_std"], 3)
        true = arrays["forces_true"].ravel()
        labels.append(_label("Force", "meV/Å", deviations, errors.ravel(), true))
    return [label for label in labels if len(label.errors) >= LEAST]


def _label(
    name: str, unit: str, deviations: np.ndarray, errors: np.ndarray, true: np.ndarray
) -> Reliability:
    shown = np.isfinite(errors) & np.isfinite(deviations) & (deviations > 0)
    lost = int((~shown & ~np.isnan(true)).sum())  # NaN is no label
    return Reliability(name, unit, MILLI * deviations[shown], MILLI * errors[shown], lost)


def reliability_table(labels: Sequence[Reliability]) -> Table:
    """A row for each label: deviations beside errors, how they go together, and the area."""
    header = ("label", "values", "predicted", "RMSE", "rank correlation", "miscalibration area")
    rows = tuple(
        (
            f"{label.name} ({label.unit})",
            f"{len(label.errors)}{f', {label.lost} not finite' if label.lost else ''}",
            number(float(np.sqrt(np.square(label.deviations).mean())), 3),
            number(float(np.sqrt(np.square(label.errors).mean())), 3),
            f"{_rank_correlation(label):.2f}",
            f"{miscalibration_area(label.scaled):.3f}",
        )
        for label in labels
    )
    return Table(header, rows, ())


def _rank_correlation(label: Reliability) -> float:
    result: Any = spearmanr(label.deviations, np.abs(label.errors))
    return float(result.statistic)


def draw_reliability(name: str, labels: Sequence[Reliability], path: Path) -> bool:
    """A row for each label: errors against deviations in bins, and the calibration curve.

    Args:
        name: of the run.
        labels: of `reliabilities`.
        path: of the PNG file.

    Returns:
        whether there was anything to draw.
    """
    if not labels:
        return False
    with rc_context(STYLE):
        figure = Figure((9.0, 3.9 * len(labels) + 0.4), layout="constrained")
        figure.suptitle(f"{literal(name)}: predicted standard deviations", fontsize=12)
        panels = figure.subplots(len(labels), 2, squeeze=False)
        for k, (label, (left, right)) in enumerate(zip(labels, panels, strict=True)):
            _draw_bins(left, label, colour(k))
            _draw_calibration(right, label, colour(k))
        save_figure(figure, path)
    return True


def _draw_bins(axes: Axes, label: Reliability, ink: str) -> None:
    deviations, errors = label.bins()
    both = np.concatenate([deviations, errors])
    low, high = 0.8 * float(both[both > 0].min()), 1.25 * float(both.max())
    axes.plot([low, high], [low, high], color=PALE, linewidth=0.8, zorder=0)
    axes.plot(deviations, errors, "o-", color=ink, markersize=5, linewidth=1.2)
    axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high))
    axes.set(xlabel=f"predicted deviation, {label.unit}", ylabel=f"RMSE, {label.unit}")
    axes.set_aspect("equal")
    axes.set_title(label.name, loc="left")
    axes.set_title(f"{len(label.errors)} values", loc="right", color=PALE)


def _draw_calibration(axes: Axes, label: Reliability, ink: str) -> None:
    levels, share = interval_shares(label.scaled)
    axes.plot([0, 1], [0, 1], color=PALE, linewidth=0.8, zorder=0)
    axes.plot(levels, share, color=ink, linewidth=1.8)
    axes.fill_between(levels, levels, share, color=ink, alpha=0.15, linewidth=0)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="probability of the interval")
    axes.set_ylabel("share of the errors in it")
    axes.set_aspect("equal")
    axes.set_title(f"miscalibration area {miscalibration_area(label.scaled):.3f}", loc="left")
