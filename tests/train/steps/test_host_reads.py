"""A training step makes the host wait for nothing, after the first epoch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from geqlib.models import DPA3, PONITA, SPEN, EScAIP, GauntNet, PointNet, SetNetwork
from geqlib.nn import MonoidAggregation
from geqlib.train import (
    BitsTask,
    DisplacementTask,
    EnergyForces,
    GraphClassificationTask,
    NormalsTask,
    Task,
)
from geqlib.train.run import Run, fit
from geqlib.train.steps.host_reads import HostReads
from tests.train.every_task import graph_classification
from tests.train.ragged import Ragged

pytestmark = pytest.mark.filterwarnings("ignore")  # advice of Lightning's to scripts
SMALL: dict[str, Any] = {"channels": 4, "layers": 1}
ATOMS = ("pos", "z", "cell", "cell_shift", "reverse", "energy", "forces")


class CountReads(L.Callback):
    """What the host reads between the start and the end of a batch, from the second epoch on."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.steps = 0
        self.reads: HostReads | None = None

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, k: int) -> None:
        if trainer.current_epoch:
            self.reads = HostReads()
            self.reads.__enter__()

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, *args: Any) -> None:
        if self.reads is not None:
            self.reads.__exit__(None, None, None)
            self.names += self.reads.names
            self.steps += 1
        self.reads = None


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A CPU treated as an accelerator: plans in the loader, numbers that are read late."""
    monkeypatch.setattr(Task, "_reads_late", lambda self: self._trainer is not None)
    monkeypatch.setattr(Task, "_off_cpu", lambda self: True)
    monkeypatch.setattr(Task, "_fused", lambda self: True)
    yield


def ponita(folder: Path) -> tuple[Task, Any, str]:
    net = PONITA(2, 1, 0, 1, **SMALL, orientations=4, edge_dim=1)
    data = Ragged(("pos", "vec", "x", "edge_attr"), labels={"y": "shift"})
    return DisplacementTask(net, conjugate=True), data, "val/mse"


def gaunt(folder: Path) -> tuple[Task, Any, str]:
    return EnergyForces(GauntNet(["H", "C"], cutoff=3.0, **SMALL)), Ragged(ATOMS), "val/loss"


def escaip(folder: Path) -> tuple[Task, Any, str]:
    net = EScAIP(4, 1, **SMALL, heads=1, gaussians=4, radial=4, cutoff=3.0)
    return EnergyForces(net), Ragged(ATOMS), "val/loss"


def dpa3(folder: Path) -> tuple[Task, Any, str]:
    short: dict[str, Any] = {"cutoff": 3.0, "switch": 2.5, "angle_cutoff": 2.5, "angle_switch": 2.0}
    net = DPA3(8, 4, 4, compressed=4, layers=2, readout=[8], **short)
    return EnergyForces(net), Ragged(ATOMS), "val/loss"


def spen(folder: Path) -> tuple[Task, Any, str]:
    _, data, monitor = graph_classification(folder)
    return GraphClassificationTask(SPEN(2, 2, **SMALL), 2), data, monitor


def monoid(folder: Path) -> tuple[Task, Any, str]:
    net = SetNetwork(4, MonoidAggregation(4), out_bits=1)
    return BitsTask(net), Ragged((), labels={"x": "z", "y": "y"}), "val/loss"


def points(folder: Path) -> tuple[Task, Any, str]:
    net = PointNet(0, 1, level="node", channels=4)  # which gets the number of clouds of a batch
    return NormalsTask(net), Ragged(("pos", "normal")), "val/error"


MAKERS = {maker.__name__: maker for maker in (ponita, gaunt, escaip, dpa3, spen, monoid, points)}
# levels of the tree of sets, whose order training draws anew in each step
EXPECTED = {"monoid": {"tolist"}}


def make_run(name: str, folder: Path, **options: Any) -> Run:
    torch.manual_seed(0)
    folder.mkdir(parents=True)
    task, data, monitor = MAKERS[name](folder)
    plain = {"max_epochs": 2, "accelerator": "cpu", "default_root_dir": folder / "run"}
    quiet = {"enable_progress_bar": False, "num_sanity_val_steps": 0, "logger": False}
    return Run(task, data, plain | quiet | options, monitor=monitor, ema=0.9)


@pytest.mark.parametrize("name", MAKERS)
def test_no_step_waits(name: str, tmp_path: Path, late: None) -> None:
    """From the start of a batch to its end: loss, gradients, clipping, optimiser, averaged weights,
    logging, and the check for numbers that are not finite."""
    run = make_run(name, tmp_path / name, gradient_clip_val=1.0)
    run.callbacks = [count := CountReads()]
    fit(run)
    assert count.steps > 0
    assert set(count.names) == EXPECTED.get(name, set())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("name", [name for name in MAKERS if name not in EXPECTED])
def test_no_step_waits_on_a_gpu(name: str, tmp_path: Path) -> None:
    """torch raises at a synchronisation."""

    class Raise(CountReads):
        def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, k: int) -> None:
            self.steps += 1
            torch.cuda.set_sync_debug_mode("error" if trainer.current_epoch else "default")

        def on_train_batch_end(self, *args: Any) -> None:
            torch.cuda.set_sync_debug_mode("default")

    run = make_run(name, tmp_path / name, accelerator="cuda", devices=1)
    run.callbacks = [count := Raise()]
    try:
        fit(run)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert count.steps > 0


def test_what_counts_as_a_read() -> None:
    """Values, and sizes that depend on values; not sizes that are passed."""
    x, mask = torch.arange(3.0), torch.tensor([True, False, True])
    with HostReads() as reads:
        float(x.sum())
        bool(mask.any())
        x[mask]
        torch.repeat_interleave(torch.tensor([1, 2]))
        mask.nonzero()
        x.tolist()
    assert len(reads.names) == 6
    with HostReads() as reads:
        torch.where(mask, x, 0.0).sum()
        torch.repeat_interleave(torch.tensor([1, 2]), output_size=3)
        x.index_select(0, torch.tensor([0]))
    assert not reads.names
