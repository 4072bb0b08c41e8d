"""Folders of training runs to be spoilt."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from rich.console import Console
from safetensors.numpy import save_file

from geqlib.report.cross_validation import read_folds, write_summary
from geqlib.report.predictions import read_predictions, read_structures
from geqlib.report.runs import read_run
from geqlib.report.structures import (
    errors_by_element,
    errors_by_type,
    structure_errors,
    worst_structures,
)
from tests.mutations.mutators import TEXT, other_json
from tests.mutations.reader import Reader
from tests.report.test_report import write_predictions, write_run
from tests.report.test_structures import arrays, structures, write_xyz


def write_run_folder() -> None:
    folder = write_run(Path(), "run")
    folder.rename("run")
    write_predictions(Path("run"))


def run_folder() -> Any:
    run = read_run(Path("run"))
    read_predictions(Path("run"))
    return run


def write_energies() -> None:
    Path("run").mkdir()
    save_file(arrays(), Path("run/predictions.safetensors"))
    write_xyz(Path("run"), structures())


def energies() -> Any:
    predictions = read_predictions(Path("run"))
    assert predictions is not None
    frames = read_structures(Path("run"), predictions)
    errors = structure_errors(predictions.arrays, frames or [])
    return errors_by_element(errors), errors_by_type(errors), worst_structures(errors)


def write_folds() -> None:
    for fold in (0, 1):
        folder = Path(f"fold{fold}-seed0")
        built = write_run(Path(), f"fold{fold}")
        built.rename(folder) if built != folder else None
        text = "epoch,step,val/accuracy,val/test_accuracy,train/loss\n0,9,0.5,0.6,\n0,9,,,0.1\n"
        (folder / "metrics/version_0/metrics.csv").write_text(text)
        results = json.loads((folder / "results.json").read_text())
        results |= {"metrics": {"test/accuracy": 0.5}, "test_set": f"digest of fold {fold}"}
        (folder / "results.json").write_text(json.dumps(results))
        logits = np.eye(2, dtype=np.float32)[[0, 1, 1]]
        save_file(
            {"logits": logits, "true": np.array([0, 1, 0])}, folder / "predictions.safetensors"
        )


def summary(out: str, *others: Path) -> Any:
    """Without its pictures."""
    folders = [Path(f"fold{fold}-seed0") for fold in (0, 1)]
    console = Console(file=io.StringIO())
    with (
        patch("geqlib.report.class_pictures.draw_confusion"),
        patch("geqlib.report.pictures.draw_fold_curves"),
    ):
        return json.loads(write_summary(Path(out), folders, others, console=console).read_text())


def folds() -> Any:
    return summary("new")


def write_other_folds() -> None:
    write_folds()
    summary("out")


def against() -> Any:
    read_folds(Path("out"))
    return summary("new", Path("out"))


READERS = {
    "run": Reader(write_run_folder, run_folder, "run/**/*.*", TEXT, 60),
    "run, other results": Reader(write_run_folder, run_folder, "run/*.json", (other_json,), 20),
    "energies": Reader(write_energies, energies, "run/predictions.xyz", TEXT, 40),
    "cross-validation": Reader(
        write_folds, folds, "fold1-seed0/**/*.*", TEXT, 20, says="fold1-seed0"
    ),
    "cross-validation, other": Reader(
        write_other_folds, against, "out/folds.json", (*TEXT, other_json, other_json), 20
    ),
}
