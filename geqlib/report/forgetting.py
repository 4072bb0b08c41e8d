"""Errors of earlier training structures before and after fine-tuning."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from geqlib.report.runs import Run
from geqlib.report.tables import NONE, Table, number

OLD = "val/old/"
SHOWN = ("forces_rmse", "energy_per_atom_rmse", "stress_rmse")  # of potentials


def forgetting_table(runs: Sequence[Run]) -> Table | None:
    """Errors of the structures of the earlier training; None where no run has measured them.

    "Before" is the model that the run began with, "after" the epoch of its best checkpoint.

    Args:
        runs: of a report.
    """
    rows = []
    for run in runs:
        before: object = run.init.get("old")
        errors = before if isinstance(before, dict) else {}
        names = [name for name in SHOWN if f"{OLD}{name}" in run.history] or sorted(
            key.removeprefix(OLD) for key in run.history if key.startswith(OLD)
        )
        for name in names:
            after = best_value(run, f"{OLD}{name}")
            first = errors.get(name)
            rows.append((run.name, _with_unit(name, run), *_change(first, after)))
    if not rows:
        return None
    return Table(("name", "old structures", "before", "after", "change"), tuple(rows), ())


def best_value(run: Run, column: str) -> float | None:
    """A logged value at the epoch of the best checkpoint, or the last one."""
    x, y = run.history[column].T
    if run.monitor is None or run.monitor[0] not in run.history:
        return float(y[-1])
    epochs, values = run.history[run.monitor[0]].T
    if not np.isfinite(values).any():
        return float(y[-1])
    worst = -np.inf if run.monitor[1] == "max" else np.inf
    finite = np.where(np.isfinite(values), values, worst)
    best = epochs[int(finite.argmax() if run.monitor[1] == "max" else finite.argmin())]
    at = np.flatnonzero(np.isclose(x, best))
    return float(y[at[0]]) if len(at) else None


def _with_unit(name: str, run: Run) -> str:
    return f"{name} ({run.units[name]})" if name in run.units else name


def _change(before: object, after: float | None) -> tuple[str, str, str]:
    first = float(before) if isinstance(before, int | float) else None
    cells = [NONE if value is None else number(value) for value in (first, after)]
    relative = NONE if not first or after is None else f"{100 * (after / first - 1):+.0f} %"
    return cells[0], cells[1], relative
