"""Labels that are missing are named before a metric could be NaN; predictions need none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from geqlib.atoms.long_range import GaussianCharges
from geqlib.data import LevelsData, MoleculeData
from geqlib.models import PONITA, Potential
from geqlib.train.run import fit, predict, validate
from geqlib.train.run import test as run_test
from geqlib.train.tasks.label_checks import check_values, unused_labels
from tests.train.every_task import small_run

LABELS = {
    "displacement": "y",
    "normals": "normal",
    "regression": "y",
    "classification": "y",
    "multitask": "y_node",
    "bits": "y",
}
pytestmark = pytest.mark.filterwarnings("ignore")


def changed(run: Any, change: Callable[[Any], None]) -> Any:
    """The run, whose data has other arrays."""
    setup = run.data.setup

    def with_changes(stage: str | None = None) -> None:
        setup(stage)
        for split in run.data.splits.values():
            for part in split if isinstance(split, list | tuple) else [split]:
                change(part)

    run.data.setup = with_changes
    return run


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    paths: dict[str, Path] = {}

    def trained(name: str) -> Path:
        if name not in paths:
            run = small_run(name, tmp_path_factory.mktemp(name) / "run", max_epochs=1)
            paths[name] = fit(run).folder / "checkpoints" / "last.ckpt"
        return paths[name]

    return trained


def unknown(name: str) -> Callable[[Any], None]:
    def change(part: Any) -> None:
        part.arrays[name] = torch.full(part.arrays[name].shape, torch.nan)

    return change


@pytest.mark.parametrize(("name", "label"), LABELS.items())
def test_nan_labels_are_refused_and_predictions_need_none(
    name: str, label: str, checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    path = checkpoint(name)
    options = {"max_epochs": 1}
    for command in (validate, run_test):
        run = changed(small_run(name, tmp_path / command.__name__, **options), unknown(label))
        with pytest.raises(ValueError, match=f"{label} is NaN or infinite at row 0"):
            command(run, path)
    run = changed(small_run(name, tmp_path / "predictions", **options), unknown(label))
    assert predict(run, path).exists()


MAY_MISS = {
    "properties": ("mu", "q"),
    "masked_regression": ("y",),
    "masked_classification": ("y",),
    "node_classification": ("y",),
}


def without(run: Any, split: str, *labels: str) -> Any:
    """The run, of which a split has none of these labels."""
    setup = run.data.setup

    def unlabelled(stage: str | None = None) -> None:
        setup(stage)
        arrays = run.data.splits[split].arrays
        for name in labels:
            missing = torch.nan if arrays[name].is_floating_point() else -1
            arrays[name] = torch.full_like(arrays[name], missing)

    run.data.setup = unlabelled
    return run


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize(("name", "labels"), MAY_MISS.items())
def test_a_split_without_any_label_is_refused(
    name: str, labels: tuple[str, ...], split: str, tmp_path: Path
) -> None:
    """Its loss was 0, so that nothing was trained, or the first epoch was the best."""
    run = without(small_run(name, tmp_path / "run"), split, *labels)
    with pytest.raises(
        ValueError, match=rf"Nothing in the {split} split has a label \({labels[0]}"
    ):
        fit(run)
    assert not list((tmp_path / "run").rglob("*.ckpt"))


def test_a_split_without_some_labels(tmp_path: Path) -> None:
    """Each property is to be learnt; and a validation that is left out needs no labels."""
    run = without(small_run("properties", tmp_path / "train"), "train", "mu")
    with pytest.raises(ValueError, match=r"Nothing in the train split has a label \(mu\)"):
        fit(run)
    fit(without(small_run("properties", tmp_path / "val"), "val", "mu"))
    few = {"limit_val_batches": 0, "max_epochs": 1}
    fit(without(small_run("masked_regression", tmp_path / "none", **few), "val", "y"))


@pytest.mark.parametrize(("name", "label"), LABELS.items())
def test_data_without_a_label(
    name: str, label: str, checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    path = checkpoint(name)

    def change(part: Any) -> None:
        part.arrays.pop(label)
        part.fields.pop(label, None)  # which parts of one data set share

    run = changed(small_run(name, tmp_path / "test", max_epochs=1), change)
    with pytest.raises(ValueError, match=f"no label '{label}', which .*Task learns"):
        run_test(run, path)
    run = changed(small_run(name, tmp_path / "predictions", max_epochs=1), change)
    assert predict(run, path).exists()


@pytest.mark.parametrize("label", [7, -1, -100])
def test_labels_that_are_no_class(
    label: int, checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    """-100 is what torch's cross-entropy passes over."""

    def change(part: Any) -> None:
        part.arrays["y"] = part.arrays["y"].clone()
        part.arrays["y"][-1] = label

    for command in (fit, run_test):
        run = changed(small_run("classification", tmp_path / command.__name__), change)
        arguments = () if command is fit else (checkpoint("classification"),)
        with pytest.raises(ValueError, match=f"y is {label} at row .*2 classes, 0 to 1"):
            command(run, *arguments)


def test_energies_without_any_label(checkpoint: Callable[[str], Path], tmp_path: Path) -> None:
    def change(part: Any) -> None:
        for name in ("energy", "forces", "stress"):
            unknown(name)(part)

    for command, split in ((run_test, "test"), (validate, "val")):
        run = changed(small_run("energy", tmp_path / command.__name__), change)
        with pytest.raises(ValueError, match=f"No frame of the {split} split has a label"):
            command(run, checkpoint("energy"))
        assert not (tmp_path / command.__name__ / "results.json").exists()


@pytest.mark.filterwarnings("default:.*:UserWarning")
def test_energies_without_forces(checkpoint: Callable[[str], Path], tmp_path: Path) -> None:
    path = checkpoint("energy")
    run = changed(small_run("energy", tmp_path / "run"), unknown("forces"))
    with pytest.warns(
        UserWarning, match="test/forces_mae, test/forces_rmse are NaN: nothing in the test split"
    ):
        metrics = run_test(run, path)
    assert metrics["test/energy_mae"] > 0


def test_a_streamed_split_without_labels() -> None:
    """Which is seen at the end alone."""
    metrics = {"test/energy_mae": torch.tensor(torch.nan), "test/loss": torch.tensor(0.0)}
    with pytest.raises(ValueError, match="Nothing was measured: test/energy_mae is NaN"):
        check_values("test", metrics)
    check_values("test", {"test/energy_mae": 1.0})


def test_a_monitored_metric_without_labels(tmp_path: Path) -> None:
    """Nothing would be chosen by it, and the first epoch would be the best."""
    run = changed(small_run("energy", tmp_path / "run", max_epochs=1), unknown("forces"))
    run.task.weights["forces"] = 0.0
    with pytest.raises(ValueError, match="monitored metric val/forces_rmse is NaN"):
        fit(run)


def test_labels_that_nothing_learns_are_said() -> None:
    """Of a data set, and of a part of several."""
    keys: dict[str, Any] = {"energies_key": "e", "dipole_key": "mu", "polarisability_key": "alpha"}
    plain = PONITA(4, 0, 1, 0, channels=4, layers=1, cutoff=3.0)
    charged = PONITA(4, 0, 2, 0, channels=4, layers=1, cutoff=3.0)
    levels = LevelsData({"a": {"train": "a.xyz"}, "b": {"train": "b.xyz", **keys}}, cutoff=3.0)
    for data in (MoleculeData("a.xyz", **keys), levels):
        sentences = unused_labels(Potential(plain), data)
        names = [sentence.partition(" ")[0] for sentence in sentences]
        assert names == ["energies_key", "dipole_key", "polarisability_key"]
    of_charges = Potential(charged, long_range=GaussianCharges())
    names = [sentence.partition(" ")[0] for sentence in unused_labels(of_charges, levels)]
    assert names == ["energies_key", "polarisability_key"]
    assert not unused_labels(Potential(plain), MoleculeData("a.xyz"))
    assert not unused_labels(Potential(plain), None)


@pytest.mark.parametrize("key", ["stress_key", "virial_key"])
def test_a_stress_that_nothing_learns_is_said(key: str) -> None:
    """With the keys of the data and of the task, and not where it has a weight, if a late one."""
    potential = Potential(PONITA(4, 0, 1, 0, channels=4, layers=1, cutoff=3.0))
    data = MoleculeData("a.xyz", **{key: "s"})
    without = {"energy": 1.0, "stress": 0.0, "dipole": 0.0, "polarisability": 0.0}
    (sentence,) = unused_labels(potential, data, without)
    assert sentence.startswith(f"{key} is read and not trained on, as stress_weight is 0")
    assert not unused_labels(potential, data, without | {"stress": 1.0})
    assert not unused_labels(potential, data)  # of a test
    assert not unused_labels(potential, MoleculeData("a.xyz"), without)


def test_a_run_says_once_that_the_stress_is_not_trained_on(tmp_path: Path) -> None:
    run = small_run("energy", tmp_path / "run", max_epochs=1)
    run.task.weights["stress"] = 0.0
    run.task.stages = [run.task.stages[0]._replace(weights=dict(run.task.weights))]
    with pytest.warns(UserWarning) as said:
        fit(run)
    assert sum("stress_weight is 0" in str(w.message) for w in said) == 1
