"""Sweeps: folders of runs, and a table of them with the best settings by validation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Literal

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from geqlib.counted import shown_unit
from geqlib.files.atomic import replace_file
from geqlib.report.runs import read_run
from geqlib.report.tables import number

MARKS = ("config.yaml", "results.json")
Setting = tuple[Path, dict[str, str], int]  # folder of a run, what differs, and its seed
MOST_METRICS = 3


def runs_in(folder: Path) -> list[Path]:
    """The runs in the folder of a sweep, or of other runs of one configuration; of a run, itself.

    Raises:
        ValueError: if there is no such folder, or no run in it.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     (Path(folder) / "lr1e-3-seed0").mkdir()
        ...     (Path(folder) / "lr1e-3-seed0" / "config.yaml").touch()
        ...     [run.name for run in runs_in(Path(folder))]
        ['lr1e-3-seed0']
    """
    if not folder.is_dir():
        raise ValueError(
            f"There is no run folder {folder}: name that of a run, or of a sweep with runs in it."
        )
    if any((folder / name).exists() for name in MARKS):
        return [folder]
    inner = (part for part in folder.iterdir() if any((part / name).exists() for name in MARKS))
    runs = sorted(inner)
    if not runs:
        raise ValueError(
            f"The folder {folder} holds no run: name that of a run, or of a sweep that has trained "
            "one."
        )
    return runs


def write_sweep(
    out: Path,
    settings: Sequence[Setting],
    monitor: str,
    mode: Literal["min", "max"],
    console: Console | None = None,
) -> Path:
    """Write `sweep.json` and print a table with a row for the seeds of each setting.

    Args:
        out: folder of the sweep.
        settings: of each run, tested.
        monitor: metric of the validation that chooses the best settings, at its best epoch.
        mode: whether it is an error ("min") or a score ("max").
        console: where the table goes, the terminal by default.

    Returns:
        the path of `sweep.json`.
    """
    runs = [_measured(setting, monitor, mode) for setting in settings]
    rows: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        own = {name: value for name, value in run["settings"].items() if name != "seed"}
        rows.setdefault(json.dumps(own), []).append(run | {"settings": own})
    best = _best(list(rows.values()), mode)
    content = {"name": out.name, "monitor": monitor, "mode": mode, "best": best, "runs": runs}
    text = json.dumps(content, indent=1)
    replace_file(out / "sweep.json", lambda part: part.write_text(text + "\n"))
    console = console or Console()
    console.print(_table(list(rows.values()), monitor))
    if best is not None and len(rows) > 1:
        chosen = ", ".join(f"{name} {value}" for name, value in best.items())
        console.print(f"best by {monitor}: {chosen}", highlight=False)
    return out / "sweep.json"


def _measured(setting: Setting, monitor: str, mode: str) -> dict[str, Any]:
    folder, differing, seed = setting
    run = read_run(folder)
    curve = run.history.get(monitor)
    values = np.empty(0) if curve is None else curve[:, 1][np.isfinite(curve[:, 1])]
    best = None if not len(values) else float(values.min() if mode == "min" else values.max())
    return {
        "folder": folder.name,
        "settings": differing,
        "seed": seed,
        "validation": best,
        "metrics": run.metrics or {},
        "minutes": run.fit.get("seconds", 0.0) / 60,
    }


def _best(rows: Sequence[Sequence[Mapping[str, Any]]], mode: str) -> dict[str, str] | None:
    """The settings whose mean over seeds is best."""
    means = [_values(row, "validation") for row in rows]
    if not all(means):
        return None
    sign = 1 if mode == "min" else -1
    k = min(range(len(rows)), key=lambda k: sign * fmean(means[k]))
    return rows[k][0]["settings"]


def _values(row: Sequence[Mapping[str, Any]], key: str) -> list[float]:
    return [run[key] for run in row if run[key] is not None]


def _table(rows: Sequence[Sequence[Mapping[str, Any]]], monitor: str) -> Table:
    measured = dict.fromkeys(name for row in rows for run in row for name in run["metrics"])
    like = f"test/{monitor.partition('/')[2]}"
    metrics = [like] if like in measured else list(measured)[:MOST_METRICS]
    names = list(rows[0][0]["settings"])
    shown = Table(box=SIMPLE_HEAD, pad_edge=False)
    measures = {name: shown_unit(name, {}) for name in (monitor, *metrics)}
    heads = [f"{name} {unit}".rstrip() for name, (_, unit) in measures.items()]
    for name in (*names, "seeds", *heads, "minutes"):
        shown.add_column(name.replace("/", "/\n"), justify="right", overflow="fold")
    for row in rows:
        values = [_values(row, "validation")]
        values += [[r["metrics"][k] for r in row if k in r["metrics"]] for k in metrics]
        scales = [scale for scale, _ in measures.values()]
        shown.add_row(
            *(row[0]["settings"][name] for name in names),
            ", ".join(str(run["seed"]) for run in row),
            *(_cell([s * x for x in v]) for s, v in zip(scales, values, strict=True)),
            number(sum(run["minutes"] for run in row), 2),
        )
    return shown


def _cell(values: Sequence[float]) -> str:
    """Mean, and sample standard deviation over seeds."""
    if not values:
        return "-"
    spread = f" ± {number(stdev(values), 2)}" if len(values) > 1 else ""
    return f"{number(fmean(values))}{spread}"
