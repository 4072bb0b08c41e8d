"""What cannot be trained is refused by name before training, and leaves nothing behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from geqlib.graph.checks import check_device
from geqlib.train.run import fit, read_run
from geqlib.train.steps.amounts import check_accelerator
from tests.train import tiny
from tests.train.every_task import small_run

NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
CHANGES: list[tuple[dict[str, Any], str]] = [
    ({"trainer.gradient_clip_val": -1}, "trainer.gradient_clip_val is the largest norm .* got -1"),
    ({"model.weight_decay": -0.5}, "weight_decay of the task must be 0 or more, got -0.5"),
    ({"ema": 1.5}, r"ema is the decay per step of averaged weights, in \[0, 1\), got 1.5"),
    ({"ema": float("nan")}, "ema is the decay per step .* got nan"),
    (
        {"trainer.accelerator": "tpu"},
        "trainer.accelerator tpu cannot be used: .* choose one of cpu",
    ),
    ({"monitor": "val/nonsense"}, "does not log the monitored metric val/nonsense"),
]


@pytest.mark.parametrize(
    ("change", "sentence"), CHANGES, ids=[str(next(iter(c))) for c, _ in CHANGES]
)
def test_a_refused_run_leaves_no_folder(change, sentence, tmp_path: Path) -> None:
    overrides = {"trainer.default_root_dir": str(tmp_path / "run"), "trainer.max_epochs": 1}
    run = read_run(tiny.config(), overrides)
    for name, value in change.items():
        part, _, inner = name.partition(".")
        if part == "trainer":
            run.trainer = {**run.trainer, inner: value}
        else:
            setattr(run.task if inner else run, inner or part, value)
    with pytest.raises(ValueError, match=sentence):
        fit(run)
    assert not (tmp_path / "run").exists()


def test_a_failed_run_leaves_no_logs_and_that_of_before_as_it_is(
    tmp_path: Path, monkeypatch
) -> None:
    run = fit(small_run("regression", tmp_path / "run", max_epochs=1))
    before = {path: path.read_bytes() for path in run.folder.rglob("*") if path.is_file()}
    again = small_run("regression", tmp_path / "run", max_epochs=1)

    def fail(batch: Any) -> Any:
        raise ValueError("a batch that cannot be read")

    monkeypatch.setattr(type(again.task), "check_batch", lambda self, batch: fail(batch))
    with pytest.raises(ValueError, match="a batch that cannot be read"):
        fit(again, overwrite=True)
    assert {path: path.read_bytes() for path in run.folder.rglob("*") if path.is_file()} == before
    assert [path.name for path in (run.folder / "metrics").iterdir()] == ["version_0"]


def test_a_seed_below_0_is_one_sentence() -> None:
    with pytest.raises(ValueError, match=r"^seed_everything is -3: set it to a number from 0 to"):
        read_run(tiny.config(), {"seed_everything": -3})


@NO_GPU
def test_devices_that_are_not_there() -> None:
    with pytest.raises(ValueError, match=r"trainer.accelerator gpu cannot be used: .* cpu, auto"):
        check_accelerator("gpu")
    check_accelerator("cpu"), check_accelerator("auto"), check_accelerator(None)
    with pytest.raises(ValueError, match=r"The device cuda cannot be used here \(.*\): take cpu"):
        check_device("cuda")
    check_device(None), check_device(torch.device("cpu"))
