"""The n-body benchmark: peers that are what they say, equal budgets, errors by simulation."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch_geometric.data import Batch, Data

from benchmarks import training
from benchmarks.accuracy import nbody
from benchmarks.peers.egnn import EGNN
from benchmarks.peers.ponita_direct import PublishedPONITA
from benchmarks.peers.segnn import SEGNN
from benchmarks.training import chosen_rate, least, schedule
from geqlib.symmetry.rotations import random_rotations
from geqlib.train import DisplacementTask


def balls(graphs: int = 3) -> Data:
    """Simulations of five charged balls."""
    torch.manual_seed(0)
    pairs = (~torch.eye(5, dtype=torch.bool)).nonzero().T
    one = []
    for _ in range(graphs):
        x = torch.randint(2, (5, 1)).double() * 2 - 1
        attr = x[pairs[0]] * x[pairs[1]]
        pos, vec = torch.randn(5, 3).double(), torch.randn(5, 1, 3).double()
        one.append(Data(pos=pos, vec=vec, x=x, edge_index=pairs, edge_attr=attr, y=pos + 1))
    return Batch.from_data_list(one)


@pytest.mark.slow
@pytest.mark.parametrize("peer", [EGNN, SEGNN])
def test_peers_turn_with_the_balls(peer):
    """Rotated and moved balls have rotated displacements, exactly."""
    batch, task = balls(), DisplacementTask(peer().double(), elapsed=1.0)
    turn = random_rotations(1, 3, dtype=torch.float64)[0]
    moved = batch.clone()
    moved.pos, moved.vec = batch.pos @ turn.T + 3, batch.vec @ turn.T
    with torch.no_grad():
        before, after = (task.predict_outputs(b)["y"] for b in (batch, moved))
    torch.testing.assert_close(after, before @ turn.T + 3, rtol=1e-9, atol=1e-9)
    free = batch.pos + batch.vec[:, 0]
    assert (before - free).abs().max() > 1e-6, "the peer predicts nothing"


def test_the_published_network_keeps_the_spread_of_features():
    """Calibrated once, in the first training step, and not in evaluation."""
    batch = balls().to_dict()
    inputs = {key: batch[key].float() for key in ("pos", "x", "vec")}
    inputs["edge_index"] = batch["edge_index"]
    net = PublishedPONITA(channels=8, basis=8, layers=2, layer_scale=None)
    weights = [p.clone() for p in net.parameters()]
    net.eval()(**inputs)
    assert all(map(torch.equal, weights, net.parameters()))
    net.train()(**inputs)
    direct, conv = net.direct, net.direct.model.blocks[0].conv
    h, phi, psi, source, target = direct._start(
        inputs["pos"], inputs["edge_index"], inputs["x"], inputs["vec"], None
    )
    y = direct._positions(conv, h, phi, source, target)
    z = direct._orientations(conv, y, psi)
    torch.testing.assert_close(torch.stack([y.std(), z.std()]), h.std().expand(2))
    calibrated = [p.clone() for p in net.parameters()]
    net.train()(**inputs)
    assert all(map(torch.equal, calibrated, net.parameters()))


@pytest.mark.parametrize("epochs", [1, 8, 90, 137])
def test_every_method_validates_as_often_and_after_its_last_epoch(epochs):
    options = nbody.spaced(schedule(30 * epochs, {"steps_an_epoch": 30}))
    whole, every = options["trainer.max_epochs"], options["trainer.check_val_every_n_epoch"]
    assert whole % every == 0 and whole // every <= nbody.VALIDATIONS + 2
    steps = whole * options["trainer.limit_train_batches"]
    assert steps == pytest.approx(30 * epochs, rel=0.02)


def test_the_default_is_what_the_demo_trains():
    options = nbody.spaced(schedule(30 * nbody.EPOCHS, {"steps_an_epoch": 30}))
    assert list(options.values()) == [90, 30, 5]


def test_budgets_are_steps_that_are_kept(tmp_path, monkeypatch):
    """A rerun takes the same steps, however fast the machine is then."""
    monkeypatch.setattr(training, "BUDGETS", tmp_path)
    monkeypatch.delenv("GEQLIB_RUNS", raising=False)
    speed = iter([0.5, 0.1])
    monkeypatch.setattr(
        training,
        "_measured",
        lambda steps: {key: {"step": next(speed), "steps_an_epoch": 10} for key in steps},
    )
    monkeypatch.setattr(training, "_step", lambda *run: None)
    runs = {"a": (Path("a.yaml"), {})}
    first = training.budgeted("balls", runs, minutes=1)
    assert first == {"a": {"trainer.max_epochs": 12, "trainer.limit_train_batches": 10}}
    assert training.budgeted("balls", runs, minutes=1) == first
    both = training.budgeted("balls", runs | {"b": (Path("b.yaml"), {})}, minutes=1)
    assert both["a"] == first["a"] and both["b"]["trainer.max_epochs"] == 60


def run_folder(folder: Path, losses: list[float]) -> Path:
    path = folder / "metrics" / "version_0" / "metrics.csv"
    path.parent.mkdir(parents=True)
    rows = "".join(f"{k},{loss}\n" for k, loss in enumerate(losses))
    path.write_text(f"processor_minutes,val/loss\n{rows}")
    return folder


def test_learning_rates_are_chosen_by_validation(tmp_path):
    folders = {
        1e-3: run_folder(tmp_path / "a", [3.0, 2.0, 2.5]),
        1e-2: run_folder(tmp_path / "b", [9.0, 1.0, 9.0]),
        1e-1: run_folder(tmp_path / "c", [float("nan"), float("nan"), 5.0]),
    }
    assert least(folders[1e-3], "val/loss") == 2.0
    assert chosen_rate(folders, "val/loss") == 1e-2
    assert chosen_rate(folders, "val/loss", "max") == 1e-2
    with pytest.raises(ValueError, match="has no val/mse in its metrics"):
        least(folders[1e-3], "val/mse")
