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

from geqlib.counted import counted
from geqlib.files.atomic import reading, replace_file
from geqlib.report.classes import confusion
from geqlib.report.runs import read_run

PROTOCOLS = ("published", "selected")
# folds are compared by the first of these that a run measures -> whether less is better
MEASURES = {
    "auroc": False,
    "accuracy": False,
    "jaccard": False,
    "std_mae": True,
    "mae": True,
    "rmse": True,
    "loss": True,
}
UNITS = {"std_mae": "in standard deviations of the training targets", "loss": "of the loss"}
MEANING = {
    "published": "the epoch with the best mean over test folds",
    "selected": "each fold's epoch chosen by its validation split",
}


def write_summary(
    out: Path,
    folders: Sequence[Path],
    against: Sequence[Path] = (),
    *,
    selected: bool = True,
    console: Console | None = None,
) -> Path:
    """Summarise finished runs in `folds.json`, `learning_curves.png` and, of classes,
    `confusion.png`.

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
    shortest = min(len(c) for folds in curves.values() for c in folds)
    grid = np.stack([np.stack([c[:shortest] for c in folds]) for folds in curves.values()])
    measure = runs[0]["measure"]
    means = grid.mean(1)
    best = means.argmin(1) if MEASURES[measure] else means.argmax(1)
    summary: dict[str, Any] = {
        "name": out.name,
        "model": runs[0]["run"].about.get("model"),
        "measure": measure,
        "folds": sorted({run["fold"] for run in runs}),
        "seeds": list(curves),
        "published": _protocol([seed[:, e] for seed, e in zip(grid, best, strict=True)]),
        "selected": None,
        "test_sets": _test_sets(runs),
        "epochs": shortest,
        "best_epochs": [int(e) + 1 for e in best],
        "parameters": int(runs[0]["run"].fit.get("parameters", 0)),
        "minutes": sum(run["run"].fit.get("seconds", 0.0) for run in runs) / 60,
        "environment": runs[0]["run"].environment,
    }
    if selected:
        summary["selected"] = _protocol(_by_seed(runs, "tested").values())
    summary["against"] = {
        str(folder.name): _compare(summary, read_folds(folder), folder) for folder in against
    }
    counts = None
    if measure == "accuracy":
        counts = np.sum([run["confusion"] for run in runs], axis=0)
        summary["confusion"] = counts.tolist()
    text = json.dumps(summary, indent=1)
    replace_file(out / "folds.json", lambda part: part.write_text(text + "\n"))
    _print(summary, console or Console())
    validation = _by_seed(runs, "validation") if selected else {}
    _draw(out, measure, counts, grid.reshape(-1, shortest), validation)
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
        summary = json.loads(path.read_text("utf-8-sig"))
        for protocol in (summary[name] for name in PROTOCOLS if summary[name]):
            if len(protocol["fold_means"]) != len(summary["folds"]):
                raise ValueError("it has not one mean per fold")
            fmean(protocol["fold_means"])  # numbers
        return summary


def paired_test(a: Sequence[float], b: Sequence[float]) -> dict[str, float]:
    """Paired t-test: the mean difference, and the probability of one as large by chance.

    Example:
        >>> test = paired_test([0.9, 0.8, 0.7], [0.8, 0.7, 0.4])
        >>> round(test["difference"], 3), round(test["p"], 3)
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
    prefix = "val/test_" if selected else "val/"
    measure = next((name for name in MEASURES if f"{prefix}{name}" in history), None)
    if measure is None or f"val/{measure}" not in history:
        raise ValueError(
            f"{folder} has none of {', '.join(prefix + name for name in MEASURES)}: train it with "
            "a task that measures one of these, by `geqlib cv`."
        )
    if np.isnan(history[f"{prefix}{measure}"][:, 1]).any():
        raise ValueError(
            f"{folder} has no {measure}: its test fold has no target with both classes. Choose "
            "fewer folds."
        )
    counts = None
    if measure == "accuracy":
        path = folder / "predictions.safetensors"
        with reading(
            path, "does not hold predicted classes", "delete it and run `geqlib cv` again"
        ):
            predicted = load_file(path)
            counts = confusion(predicted["logits"], predicted["true"])
    if not run.metrics or f"test/{measure}" not in run.metrics:
        raise ValueError(f"{folder} is not tested: run `geqlib cv` again.")
    return {
        "fold": fold,
        "seed": seed,
        "measure": measure,
        "curve": history[f"{prefix}{measure}"][:, 1],
        "validation": history[f"val/{measure}"][:, 1],
        "tested": run.metrics[f"test/{measure}"],
        "confusion": counts,
        "run": run,
    }


def _by_seed(runs: Sequence[Mapping[str, Any]], key: str) -> dict[int, list[Any]]:
    values: dict[int, list[Any]] = {}
    for run in sorted(runs, key=lambda r: (r["seed"], r["fold"])):
        values.setdefault(run["seed"], []).append(run[key])
    return values


def _protocol(values: Any) -> dict[str, Any]:
    """Mean and standard deviation over folds, of the means over seeds; all values [seed][fold]."""
    of_seeds = [[float(x) for x in seed] for seed in values]
    folds = [fmean(fold) for fold in zip(*of_seeds, strict=True)]
    return {
        "mean": fmean(folds),
        "std": stdev(folds) if len(folds) > 1 else 0.0,
        "fold_means": folds,
        "values": of_seeds,
    }


def _test_sets(runs: Sequence[Mapping[str, Any]]) -> dict[str, str | None]:
    """A digest of the test graphs of each fold.

    Raises:
        ValueError: if they are others for another seed.
    """
    digests: dict[str, str | None] = {}
    for run in runs:
        digest = digests.setdefault(str(run["fold"]), run["run"].test_set)
        if digest != run["run"].test_set:
            raise ValueError(
                f"{run['run'].folder} has another test set than another seed of its fold: "
                "the data has changed, run `geqlib cv --overwrite`."
            )
    return digests


def _compare(ours: Mapping[str, Any], other: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    if other["folds"] != ours["folds"]:
        raise ValueError(f"{folder} has other folds: a paired test needs the same folds.")
    measures = [summary.get("measure", "accuracy") for summary in (ours, other)]
    if measures[0] != measures[1]:
        raise ValueError(
            f"{folder} measures {measures[1]}, and this cross-validation {measures[0]}: a paired "
            "test needs the same."
        )
    theirs = other.get("test_sets") or {}
    for fold, digest in ours["test_sets"].items():
        if theirs.get(fold) is None or digest is None:
            raise ValueError(
                f"{folder} or this cross-validation does not say what fold {fold} tests, "
                "so they cannot be paired: run `geqlib cv` with this version for both."
            )
        if theirs[fold] != digest:
            raise ValueError(
                f"{folder} has another test set in fold {fold}: a paired test needs the same data "
                "set in the same folds."
            )
    return {
        name: paired_test(ours[name]["fold_means"], other[name]["fold_means"])
        for name in PROTOCOLS
        if ours[name] and other[name]
    }


def _draw(
    out: Path,
    measure: str,
    counts: np.ndarray | None,
    test: np.ndarray,
    validation: Mapping[int, list[np.ndarray]],
) -> None:
    from geqlib.report.class_pictures import draw_confusion
    from geqlib.report.pictures import draw_fold_curves

    if counts is not None:
        draw_confusion(counts, out / "confusion.png")
    epochs = test.shape[1]
    curves = [curve[:epochs] for folds in validation.values() for curve in folds]
    picture = out / "learning_curves.png"
    draw_fold_curves(test, np.array(curves), picture, measure, less=MEASURES[measure])


def _print(summary: Mapping[str, Any], console: Console) -> None:
    measure = summary["measure"]
    folds = counted(len(summary["folds"]), "fold")
    table = Table(title=f"{summary['name']}: {folds}, seeds {summary['seeds']}")
    for head in ("protocol", measure, *(f"less {name} (p)" for name in summary["against"])):
        table.add_column(head)
    for name in PROTOCOLS:
        if not summary[name]:
            continue
        tests = [other.get(name) for other in summary["against"].values()]
        cells = [_difference(test, measure) for test in tests]
        values = (_number(summary[name][part], measure) for part in ("mean", "std"))
        table.add_row(MEANING[name], " ± ".join(values), *cells)
    console.print(table)
    unit = UNITS.get(measure, "in the unit of the data" if MEASURES[measure] else "in %")
    console.print(f"mean ± standard deviation over folds, {unit}")


def _number(value: float, measure: str) -> str:
    """Scores in percent, errors in the unit of the data."""
    return f"{value:.4g}" if MEASURES[measure] else f"{100 * value:.1f}"


def _difference(test: Mapping[str, float] | None, measure: str) -> str:
    if test is None or math.isnan(test["p"]):
        return "-"
    sign = "+" if test["difference"] >= 0 else "-"
    return f"{sign}{_number(abs(test['difference']), measure)} ({test['p']:.2g})"
