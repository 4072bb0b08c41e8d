"""Several processes train as one does: the same curves for the same global batches."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from geqlib.files.checkpoint import read_checkpoint
from geqlib.report.runs import History, read_history
from tests.train import tiny
from tests.train.forked import start_pair

# nothing random but the order of the graphs, which one seed decides for all processes
SAME = ("--model.model.dropout=0", "--model.rotate=false", "--model.conjugate=false")
GRAPHS = 32  # of a step, in all processes together
PROCESSES = 2


def options(batch_size: int) -> list[str]:
    # of an odd number of validation graphs, one process measures one more
    return [*SAME, "--data.val=9", f"--data.batch_size={batch_size}"]


def alone(run: Path, batch_size: int) -> History:
    assert tiny.geqlib(tiny.command("fit", run, *options(batch_size))) == 0
    return read_history(run)


def side_by_side(run: Path) -> History:
    """`geqlib fit` in two processes, which talk through gloo."""
    ddp = ("--trainer.strategy=ddp", f"--trainer.devices={PROCESSES}")
    command = tiny.command("fit", run, *options(GRAPHS // PROCESSES), *ddp)
    for process in start_pair(command, run.parent):
        code, error = process.finish(900)
        assert code == 0, error
    return read_history(run)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the loopback device is called otherwise")
def test_two_processes_give_the_curves_of_one(tmp_path):
    one, two = alone(tmp_path / "one", GRAPHS), side_by_side(tmp_path / "two")
    other = alone(tmp_path / "other", GRAPHS // PROCESSES)
    for name in ("train/loss", "val/mse", "val/median"):
        assert one[name].shape == (tiny.EPOCHS, 2)
        # float32 sums in another order: a millionth a step, magnified a little by Adam
        np.testing.assert_allclose(two[name], one[name], rtol=1e-4)
        assert not np.allclose(other[name][:, 1], one[name][:, 1], rtol=1e-3)
    states = [read_checkpoint(tmp_path / n / "checkpoints/last.ckpt") for n in ("one", "two")]
    steps = [state["global_step"] for state in states]
    assert steps == [3 * tiny.EPOCHS] * 2
