"""A prediction that is NaN is never a missing label: it stops training, and is named elsewhere."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.io import write
from safetensors.torch import load_file
from torch import Tensor, nn
from torch_geometric.data import Batch

from geqlib.data import MoleculeData
from geqlib.files.checkpoint import read_checkpoint
from geqlib.train import EnergyForces, NormalsTask, Task
from geqlib.train.run import Run, fit, predict, validate
from geqlib.train.run import test as run_test
from geqlib.train.steps.divergence import divergent_graphs, likely_cause
from geqlib.train.tasks.atomic_errors import label_errors
from geqlib.train.tasks.references import summarise
from tests.train.every_task import TASKS, parts, small_run

pytestmark = pytest.mark.filterwarnings("ignore")  # advice of Lightning's to scripts
BAD = [math.nan, math.inf]


class Diverge(L.Callback):
    """Weights that are not finite after the first batch of an epoch."""

    def __init__(self, epoch: int, value: float = math.nan, batch: int = 0) -> None:
        self.at, self.value = (epoch, batch), value

    def on_train_batch_end(
        self, trainer: Any, module: Any, outputs: Any, batch: Any, k: int
    ) -> None:
        if (trainer.current_epoch, k) == self.at:
            for weight in module.parameters():
                nn.init.constant_(weight, self.value)


def diverging(name: str, folder: Path, callback: Diverge, **options: Any) -> Run:
    run = small_run(name, folder, max_epochs=4, num_sanity_val_steps=0, **options)
    run.callbacks = [callback]
    return run


@pytest.mark.parametrize("name", TASKS)
def test_training_stops_and_the_last_good_checkpoint_stays(name: str, tmp_path: Path) -> None:
    """Of every task: the epoch before is in best.ckpt and last.ckpt, and the sentence says why."""
    run = diverging(name, tmp_path / "run", Diverge(1))
    with pytest.raises(ValueError, match="NaN or infinite in epoch 1, batch") as error:
        fit(run)
    said = str(error.value)
    assert "lower the learning rate, which is" in said and "last.ckpt" in said
    for file in ("best.ckpt", "last.ckpt"):
        stored = read_checkpoint(run.folder / "checkpoints" / file)
        assert stored["epoch"] == 0
        weights = [w for w in stored["state_dict"].values() if w.is_floating_point()]
        assert all(not bool(w.isnan().any()) for w in weights)
    assert not (run.folder / "fit.json").exists()


@pytest.mark.parametrize("ema", [None, 0.5])
@pytest.mark.parametrize("limit", [0, 1.0])
def test_weights_that_diverge_in_the_last_batch(limit: float, ema: float, tmp_path: Path) -> None:
    """Validation finds them, or the checkpoint that would hold them."""
    run = diverging(
        "regression", tmp_path / "run", Diverge(1, batch=1), limit_val_batches=limit, ema=ema
    )
    with pytest.raises(ValueError, match="lower the learning rate"):
        fit(run)
    assert read_checkpoint(run.folder / "checkpoints" / "last.ckpt")["epoch"] == 0


def spoilt_outputs(task: Task, value: float) -> None:
    """The model's outputs are not finite, whatever it is given."""
    model = task.model.model if isinstance(task, EnergyForces) else task.model
    forward = model.forward

    def bad(*args: Any, **kwargs: Any) -> Any:
        out = forward(*args, **kwargs)
        if isinstance(out, dict):
            return {name: x * value for name, x in out.items()}
        if isinstance(out, tuple):
            parts = [x * value for x in out]
            return type(out)(*parts) if hasattr(out, "_fields") else tuple(parts)
        return out * value

    bad.__signature__ = __import__("inspect").signature(forward)  # type: ignore[attr-defined]
    model.forward = bad


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize("stage", ["fit", "validate", "test"])
@pytest.mark.parametrize("name", TASKS)
def test_no_stage_measures_what_is_not_finite(
    name: str, stage: str, value: float, tmp_path: Path
) -> None:
    task, data, _ = parts(name, tmp_path)
    spoilt_outputs(task, value)
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    few = {"max_epochs": 1, "accelerator": "cpu", "limit_test_batches": 2}
    trainer = L.Trainer(**options, **few, enable_model_summary=False)
    with pytest.raises(ValueError, match="NaN or infinite in"):
        getattr(trainer, stage)(task, datamodule=data)


class Root(nn.Module):
    """The root of a negative number for bonds below 0.5."""

    cutoff = 3.0

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(1))

    def forward(self, pos: Tensor, edge_index: Tensor) -> Tensor:
        d = (pos[edge_index[0]] - pos[edge_index[1]]).norm(dim=1)
        return self.w * torch.zeros(len(pos)).index_add(0, edge_index[1], (d - 0.5).sqrt())[:, None]


@pytest.fixture
def bonds(tmp_path: Path) -> str:
    frames = [
        Atoms("H2", [[0, 0, 0], [0, 0, r]], info={"E": (r - 0.75) ** 2})
        for r in (*np.linspace(0.7, 1.4, 16), 0.3)
    ]
    write(tmp_path / "h2.xyz", frames, format="extxyz")
    return str(tmp_path / "h2.xyz")


def hydrogen(path: str, test: list[int], **options: Any) -> MoleculeData:
    keys = {"cutoff": 3.0, "energy_key": "E", "forces_key": None}
    return MoleculeData(path, val=[12], test=test, **keys, **options)


def test_one_structure_of_many_is_named(bonds: str, tmp_path: Path) -> None:
    """Tests refuse it by its frame; predictions are written and it is named in a warning."""
    plain = {"accelerator": "cpu", "enable_progress_bar": False, "max_epochs": 1}
    run = Run(
        EnergyForces(Root(), forces_weight=0.0),
        hydrogen(bonds, [13, 14, 15, 16]),
        plain | {"default_root_dir": tmp_path / "run"},
        monitor="val/loss",
    )
    last = fit(run).folder / "checkpoints" / "last.ckpt"
    with pytest.raises(
        ValueError, match=r"energy of frame 16 is NaN .*batch 0 of testing: the weig"
    ):
        run_test(run, last, verbose=False)
    assert not (run.folder / "results.json").exists()
    with pytest.warns(UserWarning, match="1 predictions are NaN or infinite.* frame 16"):
        energies = load_file(predict(run, last))["energy"]
    assert energies.isnan().tolist() == [False, False, False, True]
    run.data = hydrogen(bonds, [13, 14, 15])
    metrics = run_test(run, last, verbose=False)
    assert all(math.isfinite(x) for x in metrics.values()), metrics


def test_one_structure_in_training_stops_it(bonds: str, tmp_path: Path) -> None:
    """Its input is named as the cause where the weights are finite."""
    plain = {"accelerator": "cpu", "enable_progress_bar": False, "max_epochs": 1}
    run = Run(
        EnergyForces(Root(), forces_weight=0.0),
        MoleculeData(bonds, val=[12], cutoff=3.0, energy_key="E", forces_key=None),
        plain | {"default_root_dir": tmp_path / "run"},
        monitor="val/loss",
    )
    with pytest.raises(
        ValueError, match=r"of frame 16 is NaN .* of training: .*look at that input"
    ):
        fit(run)


def test_a_prediction_without_a_label_stops_training_too(bonds: str, tmp_path: Path) -> None:
    """Its gradient would be NaN even where the loss leaves it out."""
    frames = bonds.replace("h2", "masked")
    text = Path(bonds).read_text().splitlines()
    text[-3] = re.sub(r"E=\S+", "E=nan", text[-3])
    Path(frames).write_text("\n".join(text) + "\n")
    data = MoleculeData(
        frames, val=[12], cutoff=3.0, energy_key="E", forces_key=None, missing="mask"
    )
    plain = {"accelerator": "cpu", "enable_progress_bar": False, "max_epochs": 1}
    run = Run(EnergyForces(Root(), forces_weight=0.0), data, plain, monitor="val/loss")
    run.trainer = plain | {"default_root_dir": tmp_path / "run"}
    with pytest.raises(ValueError, match="of frame 16 is NaN"):
        fit(run)


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize("label", ["energy", "forces", "stress"])
def test_only_labels_are_masked(label: str, value: float) -> None:
    """A prediction that is not finite is an error that is not finite, with and without labels."""
    shape = {"energy": (2,), "forces": (3, 3), "stress": (2, 3, 3)}[label]
    batch = Batch(batch=torch.tensor([0, 0, 1]))
    batch[label] = torch.zeros(shape)
    batch[label][0] = math.nan
    predicted = torch.ones(shape)
    predicted[-1] = value
    errors = label_errors({label: predicted}, batch)[label]
    assert not errors.labelled[0].any() and bool((errors.error[0] == 0).all())
    assert not errors.values().isfinite().all()
    assert len(errors.values()) == batch[label].numel() * (len(predicted) - 1) / len(predicted)


def test_infinite_labels_are_refused(bonds: str, tmp_path: Path) -> None:
    batch = Batch(batch=torch.tensor([0]), z=torch.tensor([1]), energy=torch.tensor([math.inf]))
    batch.num_graphs_ = 1
    with pytest.raises(ValueError, match="label energy of the training set is infinite at row 0"):
        summarise([batch])


def test_normals_that_are_nan_are_not_dropped() -> None:
    """The mean over points of torchmetrics would leave them out."""
    batch = Batch(pos=torch.ones(2, 3), normal=torch.eye(3)[:2], batch=torch.tensor([0, 0]))

    class Half(nn.Module):
        def forward(self, pos: Tensor) -> Tensor:
            return torch.tensor([[1.0, 0, 0], [math.nan, 0, 0]])

    metrics = NormalsTask(Half()).metrics(batch, "val")
    assert all(bool(metric.compute().isnan()) for metric in metrics.values())


def test_graphs_are_told_by_nodes_and_by_rows() -> None:
    batch = Batch(batch=torch.tensor([0, 0, 1, 2]), ptr=torch.tensor([0, 2, 3, 4]))
    nodes, graphs = torch.zeros(4, 3), torch.zeros(3)
    nodes[2, 1], graphs[0] = math.inf, math.nan
    assert divergent_graphs({"a": nodes, "b": graphs, "loss": torch.tensor(1.0)}, batch) == [0, 1]


@pytest.mark.parametrize(
    ("weights", "precision", "lr", "said"),
    [
        (math.nan, "32-true", 0.5, "lower the learning rate, which is 0.5"),
        (1e7, "32-true", 0.5, "have grown beyond 1e6: lower the learning rate"),
        (1.0, "16-mixed", 0.5, "largest number of precision 16-mixed is 65504"),
        (1.0, "bf16-mixed", 0.5, "look at that input"),
        (math.nan, "32-true", None, "use another checkpoint"),
    ],
)
def test_likely_causes(weights: float, precision: str, lr: float | None, said: str) -> None:
    assert said in likely_cause([torch.full((2,), weights)], precision, lr)


def test_a_metric_that_is_nan_never_ends_in_results(tmp_path: Path) -> None:
    """From a checkpoint whose weights are NaN, as the first edition could write them."""
    run = fit(small_run("regression", tmp_path / "run"))
    last = run.folder / "checkpoints" / "last.ckpt"
    stored = torch.load(last, weights_only=True)
    for name, _ in run.task.named_parameters():
        stored["state_dict"][name].fill_(math.nan)
    torch.save(stored, last)
    for command in (run_test, validate):
        with pytest.raises(ValueError, match=r"the weights are NaN or infinite, too: use another"):
            command(run, last)
    assert not (run.folder / "results.json").exists()


@pytest.mark.parametrize(("split", "frames"), [("val", [12]), ("train", None)])
def test_a_split_without_labels_is_no_perfect_score(
    split: str, frames: list[int] | None, bonds: str, tmp_path: Path
) -> None:
    """The loss of no label is 0, which no other epoch would beat."""
    lines = Path(bonds).read_text().splitlines()
    for n in range(1, len(lines), 4):
        if (n // 4 == 12) == (split == "val"):
            lines[n] = re.sub(r"E=\S+", "E=nan", lines[n])
    Path(bonds).write_text("\n".join(lines) + "\n")
    run = Run(
        EnergyForces(Root(), forces_weight=0.0),
        MoleculeData(bonds, val=[12], cutoff=3.0, energy_key="E", forces_key=None, missing="mask"),
        {"accelerator": "cpu", "max_epochs": 1, "default_root_dir": tmp_path / "run"},
        monitor="val/loss",
    )
    with pytest.raises(ValueError, match=f"No frame of the {split} split has a label for energy"):
        fit(run)


@pytest.mark.parametrize("name", ["displacement", "multitask", "energy"])
@pytest.mark.parametrize("cuda_graphs", [False, True])
def test_numbers_that_are_read_late(
    name: str, cuda_graphs: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on an accelerator: the step is named, though others came after it, and the last good
    checkpoint stays."""
    monkeypatch.setattr(Task, "_reads_late", lambda self: self._trainer is not None)
    run = diverging(name, tmp_path / "run", Diverge(1))
    run.task.cuda_graphs = cuda_graphs
    where = "validation" if name == "energy" else "training"  # it has one batch in an epoch
    batch = 0 if name == "energy" else 1
    with pytest.raises(ValueError, match=f"in epoch 1, batch {batch} of {where}") as error:
        fit(run)
    assert "the weights are NaN or infinite, too: lower the learning rate" in str(error.value)
    for file in ("best.ckpt", "last.ckpt"):
        assert read_checkpoint(run.folder / "checkpoints" / file)["epoch"] == 0
    assert not (run.folder / "fit.json").exists()


def test_a_late_reading_names_graph_and_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the step itself: what the weights became after it does not count."""
    monkeypatch.setattr(Task, "_reads_late", lambda self: self._trainer is not None)
    task, data, _ = parts("displacement", tmp_path)

    class Spoil(L.Callback):
        def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, k: int) -> None:
            if k == 0 and trainer.current_epoch == 1:
                batch.y[batch.batch == 2] = math.inf

    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = L.Trainer(**options, max_epochs=3, accelerator="cpu", callbacks=[Spoil()])
    with pytest.raises(
        ValueError, match="The loss is NaN or infinite in epoch 1, batch 0"
    ) as error:
        trainer.fit(task, datamodule=data)
    assert "the weights are finite" in str(error.value)
