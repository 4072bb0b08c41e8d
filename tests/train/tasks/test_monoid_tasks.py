"""Tasks on sets and graphs: losses and metrics equal their formulas, auxiliary losses are added."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from geqlib.data import MultitaskData, SetData
from geqlib.data.loaders import SplitLoaders
from geqlib.data.packed import PackedGraphs
from geqlib.models import MonoidGNN, SetNetwork
from geqlib.nn import MonoidAggregation
from geqlib.train import BitsTask, MultitaskTask, RegressionTask, Task
from geqlib.train.check import symmetry_errors

pytestmark = pytest.mark.filterwarnings("ignore")  # advice of Lightning's to scripts
TASKS = ("shortest_path", "eccentricity", "laplacian", "connected", "diameter", "spectral_radius")


def trainer(folder: Path, **options: Any) -> L.Trainer:
    plain = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    quiet = {"enable_model_summary": False, "accelerator": "cpu", "max_epochs": 1}
    return L.Trainer(default_root_dir=folder, **(plain | quiet | options))


def silent(task: Task) -> Any:
    task.log = lambda *args, **options: None  # type: ignore[method-assign]
    return task


# --- auxiliary losses ----------------------------------------------------------------------------


def test_training_adds_what_aggregations_ask_for() -> None:
    torch.manual_seed(0)
    aggr = MonoidAggregation(8, "gru", assoc=2.0, identity=1.0, shuffle=False)
    task = silent(BitsTask(SetNetwork(8, aggr))).train()
    batch = sets().splits["train"].__getitems__(range(8))
    loss = task.training_step(batch, 0)
    plain = binary_cross_entropy_with_logits(task(batch), batch.y)
    expected = torch.stack(aggr.aux_losses).sum()
    torch.testing.assert_close(loss, plain + expected)
    assert expected > 0
    aggr.aux_losses.clear()
    aggr.assoc = aggr.identity = 0.0
    torch.testing.assert_close(task.training_step(batch, 0), plain)


# --- sets ----------------------------------------------------------------------------------------


def sets() -> SetData:
    data = SetData(8, train=16, val=6, test=5, test_sizes=(2, 7))
    data.setup()
    return data


class Constant(nn.Module):
    """The same logits for every set."""

    def __init__(self, bits: list[float]) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(bits))

    def forward(self, x: Tensor, num_graphs: int) -> Tensor:
        return self.logits.expand(num_graphs, -1)


def test_accuracy_counts_whole_answers(tmp_path: Path) -> None:
    data = SetData(2, task="size_parity", val=6, val_size=1, test=5, test_sizes=(2, 7))
    task = BitsTask(Constant([1.0]))
    run = trainer(tmp_path)
    (actual,) = run.validate(task, datamodule=data, verbose=False)
    assert actual["val/accuracy"] == 1
    assert actual["val/loss"] == pytest.approx(math.log1p(math.exp(-1)))
    results = run.test(task, datamodule=data, verbose=False)
    assert {k: v for r in results for k, v in r.items()} == {
        "test/accuracy_2": 0,
        "test/accuracy_7": 1,
    }
    eight = BitsTask(Constant([-1.0] * 7 + [1.0]))
    (actual,) = run.validate(eight, datamodule=SetData(val=50, val_size=1), verbose=False)
    assert actual["val/accuracy"] == 0  # the answer is 255, and seven bits are wrong


def test_a_set_model_trains_and_predicts(tmp_path: Path) -> None:
    torch.manual_seed(0)
    task = BitsTask(SetNetwork(8, MonoidAggregation(8, ["gru", "topk"], assoc=0.1)), lr=1e-2)
    run = trainer(tmp_path, max_epochs=2)
    run.fit(task, sets())
    assert math.isfinite(run.callback_metrics["train/loss"])
    (first, second) = run.predict(task, sets())  # type: ignore[misc]
    assert first[0]["logits"].shape == second[0]["true"].shape == (5, 8)


# --- graph algorithms ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def algorithms(tmp_path_factory: pytest.TempPathFactory) -> MultitaskData:
    cache = str(tmp_path_factory.mktemp("multitask"))
    data = MultitaskData(4, train=1, val=1, test=2, starts=(15, 20), cache=cache)
    data.prepare_data()
    data.setup()
    return data


def test_multitask_scores_are_logarithms_of_errors(
    algorithms: MultitaskData, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    task = MultitaskTask(MonoidGNN(2, "max", out_node=3, out_graph=3)).eval()
    actual: dict[str, float] = {}
    for stage in ("validate", "test"):
        for part in getattr(trainer(tmp_path), stage)(task, datamodule=algorithms, verbose=False):
            actual |= part
    names = {"val": "val/{}", "15-19": "test/{}_15-19", "20-24": "test/{}_20-24"}
    for split, name in names.items():
        part = algorithms.splits[split]
        batch: Any = part.__getitems__(range(len(part)))
        with torch.no_grad():
            nodes, graphs = task(batch)
        errors = [*((nodes - batch.y_node) ** 2).mean(0), *((graphs - batch.y_graph) ** 2).mean(0)]
        logs = [math.log10(e) for e in errors]
        for key, value in zip(TASKS, logs, strict=True):
            assert actual[name.format(key)] == pytest.approx(value, rel=1e-4)
        assert actual[name.format("log_mse")] == pytest.approx(np.mean(logs), rel=1e-4)
    assert not task.errors
    again = trainer(tmp_path).validate(task, datamodule=algorithms, verbose=False)
    assert again[0]["val/log_mse"] == pytest.approx(actual["val/log_mse"])


def test_multitask_loss_weighs_targets_alike(algorithms: MultitaskData) -> None:
    task = silent(MultitaskTask(MonoidGNN(2, "max", out_node=3, out_graph=3)))
    batch: Any = algorithms.splits["val"].__getitems__(range(5))
    nodes, graphs = task(batch)
    expected = ((nodes - batch.y_node) ** 2).mean() + ((graphs - batch.y_graph) ** 2).mean()
    torch.testing.assert_close(task.training_step(batch, 0), expected / 2)


def test_bad_graphs_are_named(algorithms: MultitaskData) -> None:
    task = MultitaskTask(MonoidGNN(2, "max", out_node=3, out_graph=3))
    batch: Any = algorithms.splits["val"].__getitems__([0, 1])
    task.check_batch(batch)
    batch.x[20, 1] = math.nan
    with pytest.raises(ValueError, match=r"x is NaN or infinite at row 20 \(graph 1"):
        task.check_batch(batch)


# --- regression ----------------------------------------------------------------------------------


class Numbers(SplitLoaders):
    """Graphs of single nodes: y = 100 + 20 x."""

    batch_size = 8

    def setup(self, stage: str | None = None) -> None:
        self.splits = {}
        for split, count in (("train", 64), ("val", 9), ("test", 9)):
            x = np.random.default_rng(len(split)).normal(size=(count, 2))
            arrays = {"nodes": [1] * count, "x": x, "y": 100 + 20 * x[:, :1]}
            self.splits[split] = PackedGraphs(arrays, {"x": "node", "y": "graph"})

    def target_scale(self) -> tuple[float, float]:
        y = self.splits["train"].y
        return float(y.mean()), float(y.std())


class First(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.5))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * x[:, :1]


@pytest.mark.parametrize("loss", ["mae", "mse"])
def test_regression_standardises_and_measures_in_the_targets_unit(
    tmp_path: Path, loss: Any
) -> None:
    data, task = Numbers(), RegressionTask(First(), loss=loss, lr=1e-9)
    run = trainer(tmp_path)
    run.fit(task, data)
    mean, std = data.target_scale()
    assert (float(task.mean), float(task.std)) == pytest.approx((mean, std))
    part = data.splits["test"]
    x, y = part.x, part.y
    error = mean + std * 0.5 * x[:, :1] - y
    (actual,) = run.test(task, datamodule=data, verbose=False)
    assert actual["test/mae"] == pytest.approx(float(error.abs().mean()), rel=1e-4)
    assert actual["test/rmse"] == pytest.approx(float(error.square().mean().sqrt()), rel=1e-4)
    train: Any = data.splits["train"].__getitems__(range(64))
    residual = 0.5 * train.x[:, :1] - (train.y - mean) / std
    expected = residual.abs().mean() if loss == "mae" else residual.square().mean()
    assert float(silent(task).training_step(train, 0)) == pytest.approx(float(expected), rel=1e-4)
    assert {"mean", "std"} <= task.state_dict().keys()
    (batches,) = [run.predict(task, datamodule=data)]
    assert torch.allclose(batches[0]["predicted"] - batches[0]["true"], error[:8], atol=1e-3)  # type: ignore


def test_regression_options() -> None:
    with pytest.raises(ValueError, match='loss must be "mae" or "mse", got \'huber\''):
        RegressionTask(First(), loss="huber")  # type: ignore[arg-type]
    batch: Any = next(iter(ready().train_dataloader()))
    batch.y[3] = math.inf
    with pytest.raises(ValueError, match="y is NaN or infinite at row 3"):
        RegressionTask(First()).check_batch(batch)


def ready() -> Numbers:
    data = Numbers()
    data.setup()
    return data


# --- geqlib check --------------------------------------------------------------------------------


def test_check_measures_every_order() -> None:
    torch.manual_seed(0)
    model = SetNetwork(8, MonoidAggregation(8, "gru", order="canonical"))
    errors = symmetry_errors(BitsTask(model), sets(), samples=4)
    assert list(errors) == [
        "relabelling S_n",
        *(f"S_n, order={order!r}" for order in ("stable", "random", "canonical", "average")),
    ]
    float64 = {name: row["float64"] for name, row in errors.items()}
    assert float64["relabelling S_n"] < 1e-12 and float64["S_n, order='canonical'"] < 1e-12
    assert min(float64["S_n, order='stable'"], float64["S_n, order='random'"]) > 1e-4
    assert 1e-6 < float64["S_n, order='average'"] < float64["S_n, order='random'"]
    assert model.aggr.order == "canonical"
    exact = SetNetwork(8, MonoidAggregation(8, ["topk"]))
    assert list(symmetry_errors(BitsTask(exact), sets(), samples=2)) == ["relabelling S_n"]
