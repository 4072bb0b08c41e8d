"""Lightning's own switches and precisions work for every task, or are refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging

from geqlib.files.checkpoint import read_checkpoint
from geqlib.train.run import fit, predict, validate
from geqlib.train.run import test as run_test
from tests.train.every_task import TASKS, parts, small_run

SWITCHES: dict[str, dict[str, Any]] = {
    "no logger": {"logger": False},
    "no checkpoints": {"enable_checkpointing": False},
    "neither": {"logger": False, "enable_checkpointing": False},
    "development": {"fast_dev_run": True},
    "development of two": {"fast_dev_run": 2},
    "overfit a batch": {"overfit_batches": 1},
    "overfit a half": {"overfit_batches": 0.5},
    "no validation": {"limit_val_batches": 0},
    "a time": {"max_time": {"seconds": 30}},
    "a time alone": {"max_time": {"seconds": 1}, "max_epochs": None},
    "barebones": {"barebones": True},
    "steps": {"max_steps": 2, "max_epochs": -1},
    "own logger": {"logger": True},
    "late validation": {"check_val_every_n_epoch": 2},
    "validation within": {"val_check_interval": 1},
    "anomalies": {"detect_anomaly": True},
}
PRECISIONS = ("64-true", "16-mixed", 64, "bf16")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("options", SWITCHES.values(), ids=SWITCHES.keys())
def test_switches(options: dict[str, Any], tmp_path: Path) -> None:
    """Training ends, and leaves the files that the switch leaves."""
    run = fit(small_run("regression", tmp_path / "run", **options))
    written = {path.name for path in run.folder.rglob("*")} if run.folder.exists() else set()
    development = "fast_dev_run" in options
    saved = options.get("enable_checkpointing") is not False and not options.get("barebones")
    assert ("fit.json" in written) == (not development)
    assert ("last.ckpt" in written) == (saved and not development)
    validated = options.get("limit_val_batches") != 0
    assert ("best.ckpt" in written) == (saved and validated and not development)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("command", "name", "value"),
    [
        (fit, "max_epochs", 0),
        (fit, "max_steps", 0),
        (fit, "limit_train_batches", 0),
        (fit, "limit_train_batches", 0.0),
        (validate, "limit_val_batches", 0),
        (run_test, "limit_test_batches", 0),
        (predict, "limit_predict_batches", 0.0),
    ],
)
def test_nothing_to_do_is_refused(command: Any, name: str, value: float, tmp_path: Path) -> None:
    """They ended at once with exit code 0."""
    run = small_run("regression", tmp_path / "run", **{name: value})
    arguments = () if command is fit else (tmp_path / "none.ckpt",)
    with pytest.raises(ValueError, match=f"geqlib {command.__name__} has nothing .* {name} 0"):
        command(run, *arguments)
    assert not (tmp_path / "run").exists()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "options",
    [
        {"max_epochs": 0, "fast_dev_run": True},
        {"limit_train_batches": 0, "overfit_batches": 1},
        {"max_epochs": -1, "max_steps": 1},
    ],
)
def test_switches_that_set_the_amount(options: dict[str, Any], tmp_path: Path) -> None:
    run = small_run("regression", tmp_path / "run", **options)
    before = [p.clone() for p in run.task.parameters()]
    fit(run)
    assert any(not torch.equal(x, y) for x, y in zip(before, run.task.parameters(), strict=True))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_no_time_is_said(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Nothing was trained: the run ended at epoch 0, step 0"):
        fit(small_run("regression", tmp_path / "run", max_time={"seconds": 0}))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", TASKS)
def test_every_task_without_logger_and_checkpoints(name: str, tmp_path: Path) -> None:
    """Besides the record, only samples that validation draws are written."""
    samples = {"molecule_diffusion": {"samples.xyz"}, "graph_diffusion": {"samples.json"}}
    run = fit(small_run(name, tmp_path / "run", logger=False, enable_checkpointing=False))
    assert {path.name for path in run.folder.iterdir()} == {"fit.json"} | samples.get(name, set())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize(
    "precision", ["bf16-mixed", *(pytest.param(p, marks=pytest.mark.slow) for p in PRECISIONS)]
)
def test_every_task_in_every_precision(name: str, precision: Any, tmp_path: Path) -> None:
    """fit, test and predict: weights keep the type that the precision has, outputs are finite."""
    run = fit(small_run(name, tmp_path / "run", precision=precision, ema=0.9))
    best = run.folder / "checkpoints" / "best.ckpt"
    weights = read_checkpoint(best)["state_dict"]
    dtype = torch.float64 if str(precision).startswith("64") else torch.float32
    floating = [name for name, _ in run.task.named_parameters()]
    assert {weights[name].dtype for name in floating} == {dtype}
    assert all(bool(weights[name].isfinite().all()) for name in floating)
    assert run_test(run, best, verbose=False)
    assert predict(run, best).exists()
    assert torch.get_default_dtype() == torch.float32


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("precision", ["16-true", "bf16-true"])
@pytest.mark.parametrize("name", TASKS)
def test_half_weights_are_refused_by_name(name: str, precision: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"precision {precision} is not supported.*bf16-mixed"):
        fit(small_run(name, tmp_path / "run", precision=precision))
    assert not list((tmp_path / "run").rglob("*.ckpt"))


@pytest.mark.filterwarnings("ignore")
def test_a_trainer_of_lightnings_own_averages_in_float64(tmp_path: Path) -> None:
    """Lightning copies the weights to average before it converts them."""
    task, data, _ = parts("energy", tmp_path)
    trainer = L.Trainer(
        max_epochs=1,
        accelerator="cpu",
        precision="64-true",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        callbacks=[EMAWeightAveraging(decay=0.9)],
    )
    trainer.fit(task, datamodule=data)
    assert {p.dtype for p in task.parameters()} == {torch.float64}
    assert task.model.statistics.references.dtype == torch.float64
