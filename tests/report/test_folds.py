"""The report of a cross-validation: the mean over folds, and the test sets of all folds."""

from __future__ import annotations

import io
import json
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import pytest
import yaml
from rich.console import Console
from safetensors.numpy import save_file

from geqlib.counted import shown_unit
from geqlib.report import write_report
from geqlib.report.predictions import Predictions, joined
from geqlib.report.tables import number
from tests.report.test_report import cells

FOLDS, SIZE = 3, 8
ACCURACY = {(0, 0): 0.5, (0, 1): 0.75, (1, 0): 1.0, (1, 1): 0.75, (2, 0): 0.25, (2, 1): 0.5}


def fold(root: Path, k: int, seed: int, metrics: dict[str, float], data: str = "OwnGraphData"):
    folder = root / f"fold{k}-seed{seed}"
    folder.mkdir(parents=True)
    config = {
        "seed_everything": seed,
        "model": {"init_args": {"classes": 2}},
        "data": {"class_path": data, "init_args": {"fold": k, "data_seed": 0}},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    results = {"name": folder.name, "seed": seed, "data": data, "metrics": metrics}
    (folder / "results.json").write_text(json.dumps(results | {"test_set": f"digest{k}"}))
    return folder


def report(runs: list[Path], out: Path) -> tuple[str, str]:
    console = Console(record=True, width=100, file=io.StringIO())
    return write_report(runs, out, console).read_text(), console.export_text()


@pytest.fixture
def classified(tmp_path: Path) -> list[Path]:
    """Folds of two seeds, in which the first class is always right and the second never."""
    folders = []
    for (k, seed), accuracy in ACCURACY.items():
        metrics = {"test/loss": 0.1 * (k + 1), "test/accuracy": accuracy}
        folders.append(fold(tmp_path / "cv-mine", k, seed, metrics))
        true = np.arange(SIZE) % 2
        logits = np.tile([[2.0 + k, 0.0]], (SIZE, 1)).astype(np.float32)
        header = {"classes": '["ring", "tree"]'}
        save_file({"logits": logits, "true": true}, folders[-1] / "predictions.safetensors", header)
    return folders


def test_the_mean_over_folds_is_a_row_in_percent(classified, tmp_path) -> None:
    text, printed = report(classified, tmp_path / "out")
    means = [100 * fmean([ACCURACY[k, 0], ACCURACY[k, 1]]) for k in range(FOLDS)]
    expected = f"{number(fmean(means))} ± {number(stdev(means), 2)}"
    assert cells(text, "name") == ["name", "loss", "accuracy (%)"]
    assert cells(text, "fold1")[2] == "87.50 ± 18"
    row = cells(text, "mean over 3 folds")
    assert row[1:] == ["0.2000 ± 0.10", expected] and expected == "62.50 ± 25"
    assert expected in printed and "accuracy (%)" in printed
    assert text.startswith("# Report: cv-mine\n") and "sample standard deviation over folds" in text


def test_classes_are_those_of_all_folds(classified, tmp_path) -> None:
    text, _ = report(classified, tmp_path / "out")
    half = str(FOLDS * SIZE // 2)
    assert cells(text, "ring")[1:] == [half, "100", "50.0"]
    assert cells(text, "tree")[1:] == [half, "0", "-"]
    assert "Test set of 3 folds of cv-mine" in text
    # the highest wrong probabilities are those of the last fold
    assert "| 1 of fold2-seed0 | tree | ring |" in text and "of fold0-seed0" not in text


def test_numbers_are_those_of_all_folds(tmp_path) -> None:
    rng, folders, errors = np.random.default_rng(0), [], []
    for k in range(FOLDS):
        folders.append(fold(tmp_path / "cv-log", k, 0, {"test/mae": 0.1}, "MoleculeTableData"))
        true = rng.normal(size=(SIZE, 1)).astype(np.float32)
        predicted = true + rng.normal(size=(SIZE, 1)).astype(np.float32)
        errors.append(predicted - true)
        arrays = {"true": true, "predicted": predicted, "index": np.arange(SIZE) * FOLDS + k}
        save_file(arrays, folders[-1] / "predictions.safetensors")
    text, _ = report(folders, tmp_path / "out")
    worst = int(np.abs(np.concatenate(errors, 1)).argmax())  # the number in the data
    section = text.partition("## Targets")[2]
    mae = number(np.abs(np.concatenate(errors)).mean())
    assert cells(section, "target")[1:3] == ["values", "MAE"]
    assert f"| target | {FOLDS * SIZE} | {mae} |" in section
    largest = section.partition("### Largest errors")[2].partition("---:|\n")[2]
    assert largest.startswith(f"| {worst} | target |")


def test_two_cross_validations_have_a_row_each_and_single_folds_none(tmp_path) -> None:
    first = [fold(tmp_path / "cv-a", k, 0, {"test/mae": k + 1.0}) for k in range(2)]
    second = [fold(tmp_path / "cv-b", k, 0, {"test/mae": k + 5.0}) for k in range(2)]
    text, _ = report([*first, *second], tmp_path / "out")
    assert cells(text, "mean over 2 folds of cv-a")[1] == "1.500 ± 0.71"
    assert cells(text, "mean over 2 folds of cv-b")[1] == "5.500 ± 0.71"
    (first[1] / "results.json").unlink()
    text, _ = report(first, tmp_path / "one")
    assert "mean over" not in text.lower()


def test_predictions_of_other_targets_are_not_joined() -> None:
    arrays = {"true": np.zeros((2, 1)), "predicted": np.zeros((2, 1))}
    one = Predictions("numbers", arrays, ("a", "b"), ("size",))
    whole = joined({"x": one, "y": one})
    assert whole is not None and whole.names == ("a", "b", "a", "b")
    assert joined({"x": one, "y": Predictions("numbers", arrays, (), ("weight",))}) is None
    assert joined({"x": one, "y": None}) is None and joined({}) is None


def test_a_unit_that_a_task_names_is_left_alone() -> None:
    assert shown_unit("test/accuracy", {"accuracy": "points"}) == (1.0, "points")
    assert shown_unit("val/auroc_toxic", {}) == (100.0, "%")
    assert shown_unit("test/accurate", {}) == (1.0, "")
