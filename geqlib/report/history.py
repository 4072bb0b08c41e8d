"""Learning curves out of the logger's files, one curve through all resumptions of a run."""

from __future__ import annotations

import csv
import math
import re
from pathlib import Path

import numpy as np

from geqlib.files.reading import reading

History = dict[str, np.ndarray]
_Row = dict[str, float]


def read_history(folder: Path) -> History:
    """The logged training and validation values of a run.

    A resumed run has one `metrics/version_*/metrics.csv` for each start. A later version replaces
    the earlier ones from its first step on. Versions that hold no training value come from
    `validate` or `test`, whose step counter starts at 0 again, and are left out.

    Args:
        folder: the run folder.

    Returns:
        For each column `train/...` or `val/...` with values, [n, 2] pairs (epochs done, value),
        sorted. Without files, or with empty ones, the history is empty.
    """
    rows: list[_Row] = []
    for path in sorted(folder.glob("metrics/version_*/metrics.csv"), key=_version):
        later = _read_rows(path)
        if not any(key.startswith("train/") for row in later for key in row):
            continue
        first = min(row["step"] for row in later)
        rows = [row for row in rows if row["step"] < first] + later
    rows.sort(key=lambda row: row["step"])
    per_epoch = _steps_per_epoch(rows)
    names = dict.fromkeys(key for row in rows for key in row if key.startswith(("train/", "val/")))
    return {
        name: np.array([((row["step"] + 1) / per_epoch, row[name]) for row in rows if name in row])
        for name in names
    }


def _version(path: Path) -> int:
    number = re.fullmatch(r"version_(\d+)", path.parent.name)
    return int(number[1]) if number else -1


def _read_rows(path: Path) -> list[_Row]:
    with (
        reading(path, "is no table of metrics", "delete it to do without its curves"),
        path.open(newline="", encoding="utf-8", errors="replace") as file,
    ):
        parsed = [_numbers(row) for row in csv.DictReader(file)]
    return [row for row in parsed if "step" in row]


def _numbers(row: dict[str, str]) -> _Row:
    found = {}
    for key, text in row.items():
        try:
            found[key] = float(text)
        except (TypeError, ValueError):
            continue  # rows are sparse, and a killed run leaves a torn last line
    counts = ("step", "epoch")
    return {k: v for k, v in found.items() if k not in counts or 0 <= v < math.inf}


def _steps_per_epoch(rows: list[_Row]) -> float:
    """The largest ratio, because the last values of an epoch are logged at its end."""
    ratios = ((row["step"] + 1) / (row["epoch"] + 1) for row in rows if "epoch" in row)
    return max(ratios, default=1)
