"""What several processes measure and predict is brought together; no process is started."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader
from torchmetrics import MeanMetric, MeanSquaredError
from torchmetrics.classification import MulticlassAccuracy

from geqlib.data.shares import ShareOfBatches
from geqlib.train.runs.record import RunRecord, check_shares
from geqlib.train.steps.processes import PredictedBatch, Uncounted, gathered, joined_predictions
from geqlib.train.tasks.points import Median


def part(loader: int, *sizes: int, start: int = 0) -> PredictedBatch:
    """Graphs of these numbers of nodes, numbered from `start`; `x` names the graph of each node."""
    index = torch.arange(start, start + len(sizes))
    count = torch.tensor(sizes, dtype=torch.long)
    tensors = {
        "index": index,
        "batch": torch.arange(len(sizes)).repeat_interleave(count),
        "x": index.repeat_interleave(count),
    }
    return PredictedBatch(loader, len(sizes), tensors)


def test_shares_follow_each_other() -> None:
    """Odd numbers of graphs, of different sizes, on two processes."""
    shares = [[part(0, 2, 1), part(0, 3, start=2)], [part(0, 1, 2, start=3)]]
    whole = joined_predictions(shares)
    assert whole["index"].tolist() == [0, 1, 2, 3, 4]
    assert torch.equal(whole["x"], whole["index"][whole["batch"]])


def test_loaders_follow_each_other() -> None:
    """Of several test sets, the first one of all processes comes first."""
    shares = [[part(0, 1), part(1, 1, start=2)], [part(0, 1, start=1), part(1, 1, start=3)]]
    assert joined_predictions(shares)["index"].tolist() == [0, 1, 2, 3]


def test_graphs_without_nodes_are_counted() -> None:
    """A last graph without nodes leaves no trace in `batch`."""
    whole = joined_predictions([[part(0, 1, 0)], [part(0, 2, start=2)]])
    assert whole["batch"].tolist() == [0, 2, 2]


def test_a_process_without_graphs() -> None:
    assert joined_predictions([[part(0, 2)], [], []])["x"].tolist() == [0, 0]


def test_nothing_to_predict_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing to predict"):
        joined_predictions([[], []])


def test_data_that_are_not_shared_out_are_refused() -> None:
    """Lightning would give some graphs to two processes."""
    trainer: Any = SimpleNamespace(world_size=2, datamodule=object())
    graphs = [1, 2, 3]
    check_shares(trainer, DataLoader(graphs, None, sampler=ShareOfBatches(3, 1, 2, 0)))
    for loaders in (DataLoader(graphs), [DataLoader(graphs)], None):
        with pytest.raises(ValueError, match="does not share its graphs out among 2 processes"):
            check_shares(trainer, loaders)
    trainer.world_size = 1
    check_shares(trainer, DataLoader(graphs))


def test_the_first_process_writes_and_the_others_wait(tmp_path: Path) -> None:
    """With the processor time of all."""
    waits: list[str] = []
    strategy = SimpleNamespace(barrier=waits.append, reduce=lambda x, reduce_op: x + 100)
    record = RunRecord(tmp_path, 0)
    started: Any = SimpleNamespace(global_step=0)
    record.on_train_start(started, nn.Linear(1, 1))
    for first in (False, True):
        assert not list(tmp_path.iterdir())
        trainer: Any = SimpleNamespace(
            is_global_zero=first,
            strategy=strategy,
            world_size=2,
            fast_dev_run=False,
            current_epoch=1,
            global_step=2,
        )
        record.on_train_end(trainer, nn.Linear(1, 1))
    assert waits == ["fit.json", "fit.json"]
    assert json.loads((tmp_path / "fit.json").read_text())["processor_seconds"] >= 100


def test_one_process_gathers_its_own() -> None:
    assert gathered({"a": 1}) == [{"a": 1}]


@pytest.mark.parametrize("used", [True, False], ids=["used", "fresh"])
def test_batches_that_do_not_count_leave_metrics_as_they_were(used: bool) -> None:
    """Sums, lists and metrics that such a batch made."""
    module: Any = nn.ModuleDict(
        {
            "mse": MeanSquaredError(),
            "mean": MeanMetric(),
            "median": Median(),
            "accuracy": MulticlassAccuracy(3, average="micro"),
        }
    )
    if used:
        _update(module, 1.0)
    before = _values(module)
    uncounted = Uncounted(module)
    module["new"] = MeanSquaredError()
    _update(module, 5.0)
    module["new"].update(torch.ones(2), torch.zeros(2))
    uncounted.restore()
    assert _values(module) == before | {"new": {"sum_squared_error": [0.0], "total": 0}}
    _update(module, 2.0)
    assert module["median"].compute() == (1.0 if used else 2.0)


def _update(module: Any, value: float) -> None:
    x = torch.full((3,), value)
    module["mse"].update(x, torch.zeros(3))
    module["mean"].update(x)
    module["median"].update(x[:1])
    module["accuracy"].update(torch.eye(3), torch.tensor([0, 1, 0]))


def _values(module: Any) -> dict[str, Any]:
    return {
        name: {
            key: value.tolist() if isinstance(value, torch.Tensor) else [x.tolist() for x in value]
            for key, value in metric.metric_state.items()
        }
        for name, metric in module.items()
    }
