"""Errors of predicted numbers, by target and of the worst examples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from geqlib.report.predictions import Predictions, pairs_of
from geqlib.report.tables import Table, number

WORST = 6
Column = tuple[str, np.ndarray, np.ndarray]


def columns(predictions: Predictions) -> list[Column]:
    """Name with its unit, predicted and true values [G] of each target; of tensors, one for all
    components."""
    targets: list[Column] = []
    for name, (predicted, true) in pairs_of(predictions.arrays).items():
        if name != "predicted":
            targets.append((name, predicted.reshape(-1), true.reshape(-1)))
            continue
        wide = [x.reshape(len(x), -1).T for x in (predicted, true)]
        count = len(wide[0])
        named = len(predictions.targets) == count
        names = predictions.targets if named else [f"target {k}" for k in range(count)]
        names = ["target"] if not named and count == 1 else names
        targets += list(zip(names, *wide, strict=True))
    units = predictions.units
    return [
        (f"{name} ({units[name]})" if name in units else name, predicted, true)
        for name, predicted, true in targets
    ]


def target_table(targets: Sequence[Column]) -> Table:
    """A row for each target: how many values, MAE, RMSE and the share of the variance explained."""
    rows = []
    for name, predicted, true in targets:
        labelled = ~np.isnan(true)  # so that a prediction that is NaN is seen
        error, values = (predicted - true)[labelled].astype(float), true[labelled].astype(float)
        if not len(error):
            continue
        square = np.square(error).mean()
        spread = values.var()
        explained = f"{1 - square / spread:.3f}" if spread > 0 else "-"
        mae = number(np.abs(error).mean())
        rows.append((name, str(len(error)), mae, number(np.sqrt(square)), explained))
    return Table(("target", "values", "MAE", "RMSE", "R²"), tuple(rows), ())


def worst_table(predictions: Predictions) -> Table | None:
    """The examples with the largest errors, in units of the deviation of each target."""
    if "predicted" not in pairs_of(predictions.arrays):
        return None
    entries = []
    for name, predicted, true in columns(predictions):
        error = predicted.astype(float) - true
        finite = np.isfinite(error)
        spread = true[finite].std() if finite.any() else 0.0
        for k in np.flatnonzero(finite):
            entries.append((abs(error[k]) / (spread or 1.0), int(k), name, true[k], predicted[k]))
    entries.sort(key=lambda entry: -entry[0])
    rows = tuple(
        (_example(predictions, k), name, number(true), number(predicted), number(predicted - true))
        for _, k, name, true, predicted in entries[:WORST]
    )
    header = ("example", "target", "true", "predicted", "error")
    return Table(header, rows, ()) if rows else None


def _example(predictions: Predictions, k: int) -> str:
    """The name of a graph, else its number in the data, else in the test set."""
    if predictions.names:
        return predictions.names[k]
    index = predictions.arrays.get("index")
    return str(k if index is None or len(index) <= k else int(index[k]))
