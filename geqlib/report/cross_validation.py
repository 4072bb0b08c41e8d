"""From the runs of a cross-validation to its numbers, by two protocols."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from safetensors.numpy import load_file
from scipy.stats import ttest_rel

from geqlib.files.atomic import replace_file
from geqlib.files.reading import reading
from geqlib.report.confusion import draw_confusion
from geqlib.report.fold_curves import draw_fold_curves
from geqlib.report.runs import read_run

PROTOCOLS = ("published", "selected")
MEANING = {
    "published": "the epoch with the best mean over test folds",
    "selected": "each fold's epoch chosen by validation graphs",
}


def write_summary(
    out: Path,
    folders: Sequence[Path],
    against: Sequence[Path] = (),
    *,
    selected: bool = True,
    console: Console | None = None,
) -> Path:
    """Summarise finished runs in `folds.json`, `confusion.png` and `learning_curves.png`.

    Args:
        out: folder of the cross-validation.
        folders: of its runs, named foldK-seedS.
        against: folders of other cross-validations of the same folds, for a paired t-test.
        selected: whether the runs had validation graphs.
        console: where the table goes, the terminal by default.

    Returns:
        the path of `folds.json`.
    """
    runs = [_read_run(folder, selected) for folder in folders]
    curves = _by_seed(runs, "curve")
    shortest = min(len(c) for rows in curves.values() for c in rows)
    grid = np.stack([np.stack([c[:shortest] for c in rows]) for rows in curves.values()])
    best = grid.mean(1).argmax(1)
    found: dict[str, Any] = {
        "name": out.name,
        "model": runs[0]["run"].about.get("model"),
        "folds": sorted({run["fold"] for run in runs}),
        "seeds": list(curves),
        "published": _protocol([row[:, e] for row, e in zip(grid, best, strict=True)]),
        "selected": None,
        "epochs": shortest,
        "best_epochs": [int(e) + 1 for e in best],
        "parameters": int(runs[0]["run"].fit.get("parameters", 0)),
        "minutes": sum(run["run"].fit.get("seconds", 0.0) for run in runs) / 60,
        "environment": runs[0]["run"].environment,
    }
    if selected:
        found["selected"] = _protocol(_by_seed(runs, "accuracy").values())
    found["against"] = {
        str(folder.name): _compare(found, read_folds(folder), folder) for folder in against
    }
    counts = np.sum([run["confusion"] for run in runs], axis=0)
    found["confusion"] = counts.tolist()
    draw_confusion(counts, out / "confusion.png")
    validation = _by_seed(runs, "validation") if selected else {}
    rows = [c[:shortest] for same in validation.values() for c in same]
    draw_fold_curves(grid.reshape(-1, shortest), np.array(rows), out / "learning_curves.png")
    text = json.dumps(found, indent=1)
    replace_file(out / "folds.json", lambda part: part.write_text(text + "\n"))
    _print(found, console or Console())
    return out / "folds.json"


def read_folds(folder: Path) -> dict[str, Any]:
    """The `folds.json` of a cross-validation.

    Raises:
        ValueError: if there is none, or it is damaged.
    """
    path = folder / "folds.json"
    if not path.is_file():
        raise ValueError(
            f"There is no folds.json in {folder}: name a folder that `geqlib cv` has finished."
        )
    with reading(path, "is damaged", "run `geqlib cv` again"):
        found = json.loads(path.read_text())
        for protocol in (found[name] for name in PROTOCOLS if found[name]):
            if len(protocol["fold_means"]) != len(found["folds"]):
                raise ValueError("it has not one mean a fold")
            fmean(protocol["fold_means"])  # numbers
        return found


def paired_test(a: Sequence[float], b: Sequence[float]) -> dict[str, float]:
    """Mean difference, and the probability of one as large if both were equal (paired t-test).

    Example:
        >>> found = paired_test([0.9, 0.8, 0.7], [0.8, 0.7, 0.4])
        >>> round(found["difference"], 3), round(found["p"], 3)
        (0.167, 0.13)
    """
    difference = np.subtract(a, b)
    if len(difference) < 2 or np.ptp(difference) == 0:
        return {"difference": float(difference.mean()), "p": float(not difference.any())}
    return {"difference": float(difference.mean()), "p": float(ttest_rel(a, b).pvalue)}


def _read_run(folder: Path, selected: bool) -> dict[str, Any]:
    fold, seed = (
        int(part.removeprefix(k))
        for part, k in zip(folder.name.split("-"), ("fold", "seed"), strict=True)
    )
    run = read_run(folder)
    history = run.history
    column = "val/test_accuracy" if selected else "val/accuracy"
    if column not in history or "val/accuracy" not in history:
        raise ValueError(
            f"{folder} has no {column}: train it with GraphClassificationTask, by `geqlib cv`."
        )
    path = folder / "predictions.safetensors"
    with reading(path, "does not hold predicted classes", "delete it and run `geqlib cv` again"):
        counts = _confusion(load_file(path))
    if not run.metrics or "test/accuracy" not in run.metrics:
        raise ValueError(f"{folder} is not tested: run `geqlib cv` again.")
    return {
        "fold": fold,
        "seed": seed,
        "curve": history[column][:, 1],
        "validation": history["val/accuracy"][:, 1],
        "accuracy": run.metrics["test/accuracy"],
        "confusion": counts,
        "run": run,
    }


def _confusion(predicted: Mapping[str, np.ndarray]) -> np.ndarray:
    """[classes, classes] true and predicted."""
    classes = predicted["logits"].shape[1]
    counts = np.zeros((classes, classes), dtype=int)
    np.add.at(counts, (predicted["true"], predicted["logits"].argmax(1)), 1)
    return counts


def _by_seed(runs: Sequence[Mapping[str, Any]], key: str) -> dict[int, list[Any]]:
    found: dict[int, list[Any]] = {}
    for run in sorted(runs, key=lambda r: (r["seed"], r["fold"])):
        found.setdefault(run["seed"], []).append(run[key])
    return found


def _protocol(values: Any) -> dict[str, Any]:
    """Mean and standard deviation over folds, of the means over seeds; all values [seed][fold]."""
    rows = [[float(x) for x in row] for row in values]
    folds = [fmean(column) for column in zip(*rows, strict=True)]
    return {
        "mean": fmean(folds),
        "std": stdev(folds) if len(folds) > 1 else 0.0,
        "fold_means": folds,
        "values": rows,
    }


def _compare(ours: Mapping[str, Any], other: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    if other["folds"] != ours["folds"]:
        raise ValueError(f"{folder} has other folds: a paired test needs the same ones.")
    return {
        name: paired_test(ours[name]["fold_means"], other[name]["fold_means"])
        for name in PROTOCOLS
        if ours[name] and other[name]
    }


def _print(found: Mapping[str, Any], console: Console) -> None:
    table = Table(title=f"{found['name']}: {len(found['folds'])} folds, seeds {found['seeds']}")
    for head in ("protocol", "accuracy", *(f"less {name} (p)" for name in found["against"])):
        table.add_column(head)
    for name in PROTOCOLS:
        if not found[name]:
            continue
        tests = [other.get(name) for other in found["against"].values()]
        cells = [_difference(test) for test in tests]
        spread = f"{100 * found[name]['mean']:.1f} ± {100 * found[name]['std']:.1f}"
        table.add_row(MEANING[name], spread, *cells)
    console.print(table)


def _difference(test: Mapping[str, float] | None) -> str:
    if test is None or math.isnan(test["p"]):
        return "-"
    return f"{100 * test['difference']:+.1f} ({test['p']:.2g})"
