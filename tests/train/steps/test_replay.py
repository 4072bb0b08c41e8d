"""`cuda_graphs: true` trains the same weights; on a CPU by the stand-in for CUDA graphs."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from geqlib.files.checkpoint import read_checkpoint
from geqlib.graph.recordings import CudaGraphs
from geqlib.models import PONITA, GauntNet, MonoidGNN
from geqlib.train import (
    DisplacementTask,
    EnergyForces,
    LinkPredictionTask,
    MaskedClassificationTask,
    NodeClassificationTask,
    PropertyTask,
    Task,
)
from geqlib.train.run import Run, fit
from geqlib.train.run import test as run_test
from geqlib.train.steps import replay as steps_replay
from geqlib.train.steps.host_reads import HostReads
from geqlib.train.steps.replay import Replay
from tests.train.ragged import Ragged

pytestmark = pytest.mark.filterwarnings("ignore")  # advice of Lightning's to scripts
ATOMS = ("pos", "z", "cell", "cell_shift", "reverse", "energy", "forces")


def make_run(name: str, folder: Path, *, cuda_graphs: bool, **options: Any) -> Run:
    """Three epochs of three batches in several buckets, with everything on that touches a step."""
    torch.manual_seed(0)
    small: dict[str, Any] = {"channels": 4, "layers": 1}
    task: Task
    switch: dict[str, Any] = {"cuda_graphs": cuda_graphs, "lr": 1e-2}
    monitor = "val/loss"
    if name == "links":
        task = LinkPredictionTask(MonoidGNN(2, "max", out_node=4), **switch)
        data = Ragged(("x", "edge_label", "edge_label_index"))
    elif name == "classes of nodes":
        task = NodeClassificationTask(MonoidGNN(2, "max", out_node=3), 3, **switch)
        data = Ragged(("x",), labels={"y": "kind"})
    elif name == "masked":
        task = MaskedClassificationTask(MonoidGNN(2, "max", out_node=2), 2, level="node", **switch)
        data = Ragged(("x",), labels={"y": "classes"})
    elif name == "properties":
        net = PONITA(4, 0, 2, 1, **small, orientations=4)
        types = {"dipole": "graph:vector", "charges": "scalar", "gap": "graph:scalar"}
        task = PropertyTask(net, types, rotate=True, **switch)
        data = Ragged(("pos", "z", *types))
    elif name == "energy":
        net = GauntNet(["H", "C"], cutoff=3.0, **small)
        task, data = EnergyForces(net, **switch), Ragged(ATOMS)
    else:
        net = PONITA(2, 1, 0, 1, **small, orientations=4, edge_dim=1)
        task = DisplacementTask(net, rotate=True, **switch)
        data = Ragged(("pos", "vec", "x", "edge_attr"), labels={"y": "shift"})
        monitor = "val/mse"
    plain = {"max_epochs": 3, "accelerator": "cpu", "default_root_dir": folder, "logger": False}
    quiet = {"enable_progress_bar": False, "num_sanity_val_steps": 0, "precision": "64-true"}
    return Run(task, data, plain | quiet | options, monitor=monitor, ema=0.9)


def weights(run: Run) -> Tensor:
    return torch.cat([p.detach().flatten() for p in run.task.parameters()])


class Count:
    """Replayed steps and evaluations, and buckets."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.steps = self.evaluations = self.buckets = 0
        step, evaluate = Replay.step, Replay.evaluate

        def counted_step(replay: Replay, *args: Any, **kwargs: Any) -> Any:
            outputs = step(replay, *args, **kwargs)
            self.steps += outputs is not None
            self.buckets = sum(key[0][0] == "training" for key in replay.buckets)
            return outputs

        def counted_evaluation(replay: Replay, *args: Any) -> Any:
            outputs = evaluate(replay, *args)
            self.evaluations += outputs is not None
            return outputs

        patch.setattr(Replay, "step", counted_step)
        patch.setattr(Replay, "evaluate", counted_evaluation)


SLOW = ("energy", "classes of nodes", "masked", "properties")


@pytest.mark.parametrize(
    "name", ["displacement", "links", *(pytest.param(k, marks=pytest.mark.slow) for k in SLOW)]
)
def test_replayed_run_with_a_resume_equals_an_eager_one(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights and metrics to rounding, with augmentation, schedule, averaged weights, clipping and
    batches in several buckets; resumed in between it is the same run bit for bit."""
    options = {"gradient_clip_val": 0.5}
    eager = fit(make_run(name, tmp_path / "eager", cuda_graphs=False, **options))
    count = Count(monkeypatch)
    whole = fit(make_run(name, tmp_path / "whole", cuda_graphs=True, **options))
    assert count.steps == 9 and count.evaluations == 6 and count.buckets >= 2
    assert torch.allclose(weights(whole), weights(eager), rtol=1e-9, atol=1e-11)
    folder = tmp_path / "parts"
    short = make_run(name, folder, cuda_graphs=True, **options)
    short.callbacks = [Stop(1)]
    fit(short)
    last = folder / "checkpoints" / "last.ckpt"
    assert read_checkpoint(last)["epoch"] == 0
    resumed = fit(make_run(name, folder, cuda_graphs=True, **options), ckpt_path=last)
    assert torch.equal(weights(resumed), weights(whole))
    metrics = [
        run_test(
            make_run(name, run.folder, cuda_graphs=graphs), run.folder / "checkpoints/last.ckpt"
        )
        for run, graphs in ((eager, False), (whole, True))
    ]
    assert metrics[0] == pytest.approx(metrics[1], rel=1e-9)


class Stop(L.Callback):
    """Ends a run after some epochs, with the schedule of the whole one."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        trainer.should_stop = trainer.current_epoch + 1 >= self.epochs


def test_accumulated_gradients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several batches to a step of the optimiser, the last one smaller, as without replay."""
    options = {"accumulate_grad_batches": 2, "limit_val_batches": 0}
    eager = fit(make_run("displacement", tmp_path / "a", cuda_graphs=False, **options))
    count = Count(monkeypatch)
    replayed = fit(make_run("displacement", tmp_path / "b", cuda_graphs=True, **options))
    assert count.steps == 9
    assert torch.allclose(weights(replayed), weights(eager), rtol=1e-9, atol=1e-11)


def test_it_says_what_a_cpu_does(tmp_path: Path) -> None:
    """In one sentence, once."""
    run = make_run("displacement", tmp_path / "run", cuda_graphs=True, max_epochs=1)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        fit(run)
    own = [str(w.message) for w in said if "cuda_graphs" in str(w.message)]
    assert own == [
        "cuda_graphs: cpu has no CUDA graphs, so that steps are padded, and not replayed."
    ]


def test_bfloat16_autocast(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of mixed precision the padded step is the plain one, too, to the digits of bfloat16."""
    options = {"precision": "bf16-mixed", "limit_val_batches": 0, "max_epochs": 1}
    eager = fit(make_run("displacement", tmp_path / "a", cuda_graphs=False, **options))
    count = Count(monkeypatch)
    replayed = fit(make_run("displacement", tmp_path / "b", cuda_graphs=True, **options))
    assert count.steps == 3
    assert torch.allclose(weights(replayed), weights(eager), rtol=1e-2, atol=1e-3)


def test_more_sizes_than_are_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of recordings is bounded; what is over goes on without replay, and says so."""
    monkeypatch.setattr(steps_replay, "BUCKETS", 1)
    options = {"limit_val_batches": 0}
    eager = fit(make_run("displacement", tmp_path / "a", cuda_graphs=False, **options))
    count = Count(monkeypatch)
    run = make_run("displacement", tmp_path / "b", cuda_graphs=True, **options)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        fit(run)
    assert 1 <= count.steps < 9 and count.buckets == 1
    assert any(
        "because its batches have more than 1 different sizes" in str(w.message) for w in said
    )
    assert torch.allclose(weights(run), weights(eager), rtol=1e-9, atol=1e-11)


class Waiting:
    """What the host reads in replayed steps: each one comes again when its size is recorded.

    Args:
        patch: replaces the step of `Replay`.
        device: on a GPU torch raises at a read, and elsewhere the reads are counted.
    """

    def __init__(self, patch: pytest.MonkeyPatch, device: str) -> None:
        self.names: list[str] = []
        self.steps = self.buckets = 0
        step = Replay.step

        def watched(replay: Replay, batch: Any, *args: Any, **kwargs: Any) -> Any:
            outputs = step(replay, batch, *args, **kwargs)
            self.buckets = sum(key[0][0] == "training" for key in replay.buckets)
            gradients = {p: g.clone() for p, g in replay.grads.items()}
            with HostReads() as reads, raising(device):  # once more: it is recorded by now
                again = step(replay, batch, *args, **kwargs)
            for parameter, gradient in replay.grads.items():
                gradient.copy_(gradients[parameter])
            self.steps += again is not None
            self.names += reads.names
            return outputs

        patch.setattr(Replay, "step", watched)


@contextmanager
def raising(device: str) -> Iterator[None]:
    """A context in which torch raises where the host waits for a GPU."""
    if device == "cuda":
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        if device == "cuda":
            torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("name", ["displacement", "energy"])
def test_the_host_waits_for_no_replayed_step(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Task, "_off_cpu", lambda self: True)  # plans are made in the loader
    split = steps_replay.split_plan

    def unwatched(plan: Any) -> Any:
        """The numbers of a plan are on the CPU beside any device."""
        with _disable_current_modes():
            return split(plan)

    monkeypatch.setattr(steps_replay, "split_plan", unwatched)
    waiting = Waiting(monkeypatch, "cpu")
    fit(make_run(name, tmp_path / "run", cuda_graphs=True, limit_val_batches=0))
    assert waiting.steps == 9 and waiting.buckets >= 2
    assert waiting.names == []


ON_GPU = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]


@pytest.mark.parametrize(
    "name", [pytest.param(k, marks=ON_GPU) for k in ("displacement", "energy")]
)
def test_recorded_cuda_graphs_train_as_eager_steps_do(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU, with ragged batches in several buckets and a resume in between, to rounding: sums
    of a GPU come in any order."""
    options: dict[str, Any] = {"accelerator": "cuda", "devices": 1, "gradient_clip_val": 0.5}
    eager = fit(make_run(name, tmp_path / "eager", cuda_graphs=False, **options))
    count = Count(monkeypatch)
    recorders = []
    prepare = Replay.__init__

    def remembered(replay: Replay, *args: Any, **kwargs: Any) -> None:
        prepare(replay, *args, **kwargs)
        recorders.append(type(replay.recorder))

    monkeypatch.setattr(Replay, "__init__", remembered)
    whole = fit(make_run(name, tmp_path / "whole", cuda_graphs=True, **options))
    assert count.steps == 9 and count.evaluations == 6 and count.buckets >= 2
    folder = tmp_path / "parts"
    short = make_run(name, folder, cuda_graphs=True, **options)
    short.callbacks = [Stop(1)]
    fit(short)
    last = folder / "checkpoints" / "last.ckpt"
    resumed = fit(make_run(name, folder, cuda_graphs=True, **options), ckpt_path=last)
    for run in (whole, resumed):
        assert torch.allclose(weights(run), weights(eager), rtol=1e-6, atol=1e-8)
    assert set(recorders) == {CudaGraphs}


@pytest.mark.parametrize(
    "name", [pytest.param(k, marks=ON_GPU) for k in ("displacement", "energy")]
)
def test_the_host_waits_for_no_replayed_step_on_a_gpu(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch raises at a synchronisation."""
    waiting = Waiting(monkeypatch, "cuda")
    options: dict[str, Any] = {"accelerator": "cuda", "devices": 1, "limit_val_batches": 0}
    fit(make_run(name, tmp_path / "run", cuda_graphs=True, **options))
    assert waiting.steps == 9 and waiting.buckets >= 2


def test_compile_and_cuda_graphs_are_refused_together() -> None:
    with pytest.raises(ValueError, match="compile and cuda_graphs do not go together"):
        EnergyForces(PONITA(4, 0, 1, 0, channels=4), compile=True, cuda_graphs=True)
