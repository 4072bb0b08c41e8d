"""A run that was killed or stopped, and then resumed, equals a run that was not."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from geqlib.files.checkpoint import read_checkpoint
from geqlib.report.runs import History, read_history
from tests.train.forked import start
from tests.train.tiny import command

pytestmark = pytest.mark.slow
EPOCHS = 16
PARTS = ("state_dict", "current_model_state", "optimizer_states", "lr_schedulers")
Stop = tuple[Path, int, str]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of an uninterrupted run, as a function that waits for it."""
    run = tmp_path_factory.mktemp("whole") / "run"
    running = start(command("fit", run, epochs=EPOCHS), run.parent)
    answer = []

    def wait() -> Path:
        answer[:] = answer or [running.finish()]
        assert answer[0][0] == 0, answer[0][1]
        return run

    yield wait
    running.process.kill()


def version(path: Path) -> int:
    return path.stat().st_ino if path.exists() else 0


def stopped(folder: Path, send: Callable[[Any], None]) -> Stop:
    """Run, exit code and message of a run that is sent a signal at a random moment.

    The moment: after one to four checkpoints, and then up to the time that an epoch takes.
    """
    run = folder / "run"
    running = start(command("fit", run, epochs=EPOCHS), folder)
    last, seen, since, epoch = run / "checkpoints" / "last.ckpt", 0, 0.0, 0.0
    for _ in range(1 + random.randint(1, 4)):
        while version(last) == seen and running.process.is_alive():
            time.sleep(0.001)
        seen, since, epoch = version(last), time.perf_counter(), time.perf_counter() - since
    time.sleep(random.uniform(0, min(epoch, 1.0)))
    send(running.process)
    return run, *running.finish()


def tensors(value: object, path: str = "") -> dict[str, object]:
    """Everything in nested dictionaries and lists, by its path."""
    if isinstance(value, (dict, list, tuple)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {k: v for key, part in items for k, v in tensors(part, f"{path}/{key}").items()}
    return {path: value}


def assert_same(one: Path, two: Path) -> None:
    """The training states are equal, bit for bit."""
    a, b = (read_checkpoint(path) for path in (one, two))
    assert (a["epoch"], a["global_step"]) == (b["epoch"], b["global_step"])
    for part in PARTS:
        left, right = tensors(a[part]), tensors(b[part])
        assert left.keys() == right.keys() and len(left) > 1
        for key, value in left.items():
            other = right[key]
            same = torch.equal(value, other) if isinstance(value, Tensor) else value == other
            assert same, f"{part}{key}"


def assert_continues(run: Path, whole: Path) -> None:
    """Resume the run: it ends like the whole one, and its curves are those of the whole one."""
    before = read_history(run)
    last = run / "checkpoints" / "last.ckpt"
    assert read_checkpoint(last)["epoch"] < EPOCHS - 1
    resumed = command("fit", run, "--ckpt_path", last, epochs=EPOCHS)
    code, error = start(resumed, run.parent).finish()
    assert code == 0, error
    for name in ("last.ckpt", "best.ckpt"):
        assert_same(run / "checkpoints" / name, whole / "checkpoints" / name)
    versions = sorted(path.name for path in (run / "metrics").iterdir())
    assert versions == ["version_0", "version_1"]
    assert len(before["train/loss"]) >= 1
    assert_same_curves(read_history(run), read_history(whole))


def assert_same_curves(actual: History, expected: History) -> None:
    assert actual.keys() == expected.keys()
    for name, curve in expected.items():
        points = {tuple(point) for point in curve}
        assert len(points) == EPOCHS
        assert {tuple(point) for point in actual[name]} <= points
        # a kill between writing a checkpoint and its row of metrics loses that one row
        assert len(actual[name]) >= EPOCHS - 1


def test_killed(tmp_path, whole):
    run, code, error = stopped(tmp_path, BaseProcess.kill)
    assert code == -signal.SIGKILL, error
    assert not (run / "fit.json").exists()
    assert_continues(run, whole())


def test_terminated(tmp_path, whole):
    run, code, error = stopped(tmp_path, BaseProcess.terminate)
    assert code == 143, error
    assert "geqlib: stopped by SIGTERM; resume with --ckpt_path" in error
    assert "Traceback" not in error
    assert_continues(run, whole())


def test_training_changed_the_weights(whole):
    """The tests above would pass on runs that train nothing, or not at random."""
    state = read_checkpoint(whole() / "checkpoints" / "last.ckpt")
    raw = {k.removeprefix("module."): v for k, v in state["current_model_state"].items()}
    averaged = state["state_dict"]
    weights = [key for key in averaged if key in raw and averaged[key].is_floating_point()]
    assert any(not torch.equal(averaged[key], raw[key]) for key in weights)
    loss = read_history(whole())["train/loss"][:, 1]
    assert loss[-1] < 0.9 * loss[0] and len(np.unique(loss)) == EPOCHS
