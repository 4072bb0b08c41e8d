"""A device that is out of memory, and how fast a run was."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

import geqlib
from geqlib.files.checkpoint import read_checkpoint
from geqlib.train import DisplacementTask
from geqlib.train.run import fit
from geqlib.train.run import test as run_test
from tests.train import tiny
from tests.train.every_task import small_run

pytestmark = pytest.mark.filterwarnings("ignore")  # advice of Lightning's to scripts


class Full(L.Callback):
    """No memory is left at a batch of an epoch."""

    def __init__(self, epoch: int, batch: int) -> None:
        self.at = epoch, batch

    def on_before_zero_grad(self, trainer: Any, module: Any, optimizer: Any) -> None:
        if (trainer.current_epoch, trainer.fit_loop.batch_idx) == self.at:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")


@pytest.mark.slow
def test_one_sentence_names_the_batch_and_the_run_resumes(tmp_path: Path) -> None:
    whole = fit(small_run("displacement", tmp_path / "whole"))
    run = small_run("displacement", tmp_path / "run")
    run.callbacks = [Full(1, 1)]
    with pytest.raises(ValueError, match="The device is out of memory in epoch 1, batch 1 of") as e:
        fit(run)
    said = str(e.value)
    assert "training (4 simulations, 20 nodes, 80 edges): lower batch_size" in said
    assert "last good checkpoint stays" in said and said.endswith("resumed.")
    last = run.folder / "checkpoints" / "last.ckpt"
    resumed = fit(small_run("displacement", tmp_path / "run"), ckpt_path=last)
    for a, b in zip(whole.task.parameters(), resumed.task.parameters(), strict=True):
        assert torch.equal(a, b)


def test_memory_of_a_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whose allocator raises a RuntimeError like any other."""
    monkeypatch.setattr(DisplacementTask, "loss", lambda self, batch: torch.empty(1 << 50))
    assert tiny.geqlib(tiny.command("fit", tmp_path / "run", epochs=1)) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "out of memory in epoch 0, batch 0 of training (" in last
    assert "lower batch_size of the data" in last

    with pytest.raises(ValueError, match="memory in epoch 0, batch 0 of training "):
        fit(small_run("displacement", tmp_path / "python"))

    def fail(*args: Any) -> Any:
        raise RuntimeError("shapes cannot be multiplied")

    monkeypatch.setattr(DisplacementTask, "loss", fail)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        tiny.geqlib(tiny.command("fit", tmp_path / "other", epochs=1))


def test_out_of_memory_in_a_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = fit(small_run("displacement", tmp_path / "run"))
    again = small_run("displacement", tmp_path / "run")

    def fail(*args: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(type(again.task), "metrics", fail)
    with pytest.raises(ValueError, match=r"memory in batch 0 of testing .4 simulations, .*eval_"):
        run_test(again, run.folder / "checkpoints" / "last.ckpt")


@pytest.mark.slow
def test_fit_says_how_fast_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On the terminal and in fit.json."""
    folder = tmp_path / "run"
    assert tiny.geqlib(tiny.command("fit", folder, epochs=1)) == 0
    fit = json.loads((folder / "fit.json").read_text())
    assert fit["graphs_per_second"] == pytest.approx(32 * fit["steps_per_second"], rel=1e-2)
    assert "simulations per second" in capsys.readouterr().err


def test_weights_of_a_gpu_load_without_one(tmp_path: Path) -> None:
    """A checkpoint whose tensors say that they were on a CUDA device."""
    run = fit(small_run("displacement", tmp_path / "run"))
    path = run.folder / "checkpoints" / "last.ckpt"
    file = tmp_path / "gpu.ckpt"
    with OnCuda():
        torch.save(torch.load(path, weights_only=True), file)
    if not torch.cuda.is_available():
        with pytest.raises(RuntimeError, match="CUDA"):
            torch.load(file, weights_only=True)
    assert read_checkpoint(file)["epoch"] == 1
    model = geqlib.load(file, model=deepcopy(run.task.model))
    for a, b in zip(model.parameters(), run.task.model.parameters(), strict=True):
        assert a.device.type == "cpu" and torch.equal(a, b)
    folder = run.folder.with_name("resumed")
    resumed = small_run("displacement", folder, max_epochs=3)
    fit(resumed, ckpt_path=file)
    assert resumed.task.trainer.current_epoch == 3


class OnCuda:
    """Storages are written with the tag of the first CUDA device."""

    def __enter__(self) -> None:
        self.tag = torch.serialization.location_tag
        torch.serialization.location_tag = lambda storage: "cuda:0"

    def __exit__(self, *error: object) -> None:
        torch.serialization.location_tag = self.tag
