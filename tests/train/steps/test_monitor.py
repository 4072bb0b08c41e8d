"""A monitored metric that no task logs is refused before training starts."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping

from geqlib.train import Task
from geqlib.train.run import Run, fit
from tests.train.every_task import TASKS, Points, small_run

pytestmark = pytest.mark.filterwarnings("ignore")


def monitored(name: str, metric: str, folder: Path, **options: Any) -> Run:
    run = small_run(name, folder, **options)
    run.monitor = metric
    return run


@pytest.mark.parametrize(
    ("task", "wrong", "near"),
    [
        ("regression", "val/mse", "val/rmse"),
        ("regression", "mae", "val/mae"),
        ("regression", "train/mae", "val/mae"),
        ("multitask", "val/mse", "val/log_mse"),
        ("energy", "val/force_rmse", "val/forces_rmse"),
        ("graph_classification", "val/testaccuracy", "val/test_accuracy"),
    ],
)
def test_a_wrong_metric(task: str, wrong: str, near: str, tmp_path: Path) -> None:
    run = monitored(task, wrong, tmp_path / "run")
    steps = []
    run.task.on_train_start = lambda: steps.append(1)
    with pytest.raises(ValueError, match=f"metric {wrong}, but val/.*did you mean {near}") as error:
        fit(run)
    assert " and " in str(error.value)
    assert not steps


@pytest.mark.parametrize("name", TASKS)
def test_every_task_has_a_metric_of_its_own(name: str, tmp_path: Path) -> None:
    run = small_run(name, tmp_path / "run", max_epochs=1)
    run.monitor = run.task.monitor
    fit(run)
    assert (tmp_path / "run" / "checkpoints" / "best.ckpt").exists()


def test_early_stopping_too(tmp_path: Path) -> None:
    run = small_run("regression", tmp_path / "run", callbacks=[EarlyStopping("val/mse")])
    with pytest.raises(ValueError, match="does not log the monitored metric val/mse"):
        fit(run)


def test_a_resumed_run(tmp_path: Path) -> None:
    """Which measures nothing before it trains."""
    run = fit(small_run("regression", tmp_path / "run", max_epochs=1))
    last = run.folder / "checkpoints" / "last.ckpt"
    before = last.read_bytes()
    resumed = monitored("regression", "val/mse", tmp_path / "run", max_epochs=2)
    with pytest.raises(ValueError, match="does not log the monitored metric val/mse"):
        fit(resumed, ckpt_path=last)
    assert last.read_bytes() == before


@pytest.mark.parametrize("metric", ["train/loss", "minutes", "val/rmse"])
def test_what_is_logged_is_taken(metric: str, tmp_path: Path) -> None:
    run = fit(monitored("regression", metric, tmp_path / "run", max_epochs=1))
    assert (run.folder / "checkpoints" / "best.ckpt").exists()


class Own(Task):
    """A task of a user, which logs something of its own while it trains."""

    inputs = {"pos": "point"}  # noqa: RUF012

    def loss(self, batch: Any) -> torch.Tensor:
        return self.model(batch.pos).square().mean()

    def on_train_epoch_end(self) -> None:
        self.log("size", 1.0)


def test_a_task_of_a_user(tmp_path: Path) -> None:
    trainer = {"default_root_dir": tmp_path / "run", "max_epochs": 1, "accelerator": "cpu"}
    quiet = {"enable_progress_bar": False}
    run = fit(Run(Own(torch.nn.Linear(3, 1), lr=1e-3), Points(), trainer | quiet, monitor="size"))
    assert (run.folder / "checkpoints" / "last.ckpt").exists()


def test_a_task_without_declarations_is_not_rotated(tmp_path: Path) -> None:
    """Its epochs ended before their first step, without a word."""

    class Bare(Own):
        inputs = {}  # noqa: RUF012

    trainer = {"default_root_dir": tmp_path / "run", "max_epochs": 1, "accelerator": "cpu"}
    for rotate in (True, False):
        task = Bare(torch.nn.Linear(3, 1), lr=1e-3, rotate=rotate)
        options = trainer | {"enable_progress_bar": False}
        if rotate:
            with pytest.raises(ValueError, match="Bare has rotate=True, but none of its `inputs`"):
                fit(Run(task, Points(), options, monitor="train/loss"))
        else:
            run = fit(Run(task, Points(), options, monitor="train/loss"), overwrite=True)
            assert (run.folder / "checkpoints" / "last.ckpt").exists()


def test_of_a_run_that_ended_nothing_is_trained(tmp_path: Path) -> None:
    run = fit(small_run("regression", tmp_path / "run", max_epochs=1))
    last = run.folder / "checkpoints" / "last.ckpt"
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        fit(small_run("regression", tmp_path / "run", max_epochs=1), ckpt_path=last)
    sentences = [str(warning.message) for warning in said]
    assert any("Nothing was trained: the run ended at epoch 1, step 2" in x for x in sentences)
