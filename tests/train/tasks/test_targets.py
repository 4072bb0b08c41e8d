"""Targets that may be missing, classes of nodes, and links: losses and metrics against loops."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor, nn
from torch_geometric.data import Batch, Data

from geqlib.report import write_report
from geqlib.train import (
    LinkPredictionTask,
    MaskedClassificationTask,
    MaskedRegressionTask,
    NodeClassificationTask,
    RegressionTask,
)
from geqlib.train.tasks.targets import TargetAccuracy, TargetErrors, TargetRanking
from tests.train import tiny

NOTHING = math.nan


class Linear(nn.Module):
    """Sums over the nodes of a graph, or features of nodes, times a matrix."""

    def __init__(self, outputs: int, level: str = "graph") -> None:
        super().__init__()
        self.map, self.level = nn.Linear(3, outputs), level

    def forward(self, x: Tensor, batch: Tensor, num_graphs: int) -> Tensor:
        y = self.map(x)
        if self.level == "node":
            return y
        return y.new_zeros(num_graphs, y.size(1)).index_add(0, batch, y)


def graphs(y: Any, sizes: tuple[int, ...] = (2, 3, 1)) -> Any:
    torch.manual_seed(0)
    edges = torch.zeros(2, 0, dtype=torch.long)
    parts = [Data(x=torch.randn(n, 3), edge_index=edges) for n in sizes]
    batch: Any = Batch.from_data_list(parts)
    batch.y = torch.as_tensor(y)
    return batch


Y = [[1.0, NOTHING], [2.0, 5.0], [NOTHING, -1.0]]


@pytest.mark.parametrize("loss", ["mae", "mse"])
def test_missing_targets_do_not_count(loss: Any) -> None:
    batch, task = graphs(Y), MaskedRegressionTask(Linear(2), 2, loss=loss)
    task.mean.copy_(torch.tensor([1.0, 2.0]))
    task.std.copy_(torch.tensor([2.0, 4.0]))
    standard = task.model(batch.x, batch.batch, 3).tolist()
    errors = [
        standard[g][t] - (Y[g][t] - [1.0, 2.0][t]) / [2.0, 4.0][t]
        for g in range(3)
        for t in range(2)
        if not math.isnan(Y[g][t])
    ]
    power = 1 if loss == "mae" else 2
    value = task.loss(batch)
    assert float(value.detach()) == pytest.approx(
        sum(abs(e) ** power for e in errors) / 4, rel=1e-5
    )
    value.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in task.parameters())
    empty = graphs(torch.full((3, 2), NOTHING))
    assert float(task.loss(empty).detach()) == 0


def test_errors_of_each_target_over_batches() -> None:
    draw = np.random.default_rng(0)
    predicted, true = draw.normal(size=(2, 40, 3))
    true[draw.random(true.shape) < 0.4] = NOTHING
    true[:, 2] = NOTHING
    for power in (1, 2):
        metric = TargetErrors(power)  # type: ignore[arg-type]
        for part in range(4):
            own = slice(10 * part, 10 * part + 10)
            metric.update(torch.from_numpy(predicted[own]), torch.from_numpy(true[own]))
        oracle = [
            np.nanmean(abs(predicted[:, t] - true[:, t]) ** power) ** (1 / power) for t in (0, 1)
        ]
        assert float(metric.compute()) == pytest.approx(np.mean(oracle))
        assert metric.each[:2].tolist() == pytest.approx(oracle) and metric.each[2].isnan()


def test_errors_of_several_targets_do_not_mix_units() -> None:
    """In millimetres in place of metres, the second target counts as much as before."""
    values = []
    for unit in (1.0, 1000.0):
        task = MaskedRegressionTask(Linear(2), 2)
        task.load_state_dict(
            task.state_dict()
            | {"mean": torch.tensor([1.0, 2.0 * unit]), "std": torch.tensor([2.0, 4.0 * unit])}
        )
        torch.manual_seed(0)
        nn.init.normal_(task.model.map.weight), nn.init.zeros_(task.model.map.bias)
        y = [[a, b * unit] for a, b in Y]
        batch = graphs(y)
        predicted = task.predict_outputs(batch)["y"].tolist()
        metrics: Any = task.metrics(batch, "val")
        assert set(metrics) == {"std_mae", "std_rmse"}
        own = [
            [abs(predicted[g][t] - y[g][t]) for g in range(3) if not math.isnan(y[g][t])]
            for t in (0, 1)
        ]
        maes = [np.mean(errors) for errors in own]
        rmses = [np.sqrt(np.mean(np.square(errors))) for errors in own]
        scale = np.array([2.0, 4.0 * unit])
        assert float(metrics["std_mae"].compute()) == pytest.approx(np.mean(maes / scale), rel=1e-5)
        assert float(metrics["std_rmse"].compute()) == pytest.approx(
            np.mean(rmses / scale), rel=1e-5
        )
        assert metrics["std_mae"].each.tolist() == pytest.approx(maes, rel=1e-5)
        values.append(float(metrics["std_mae"].compute()))
    assert values[0] == pytest.approx(values[1], rel=1e-5)
    single = MaskedRegressionTask(Linear(1))
    single.std.fill_(5.0)
    errors: Any = single.metrics(graphs([[1.0], [2.0], [3.0]]), "val")
    assert set(errors) == {"mae", "rmse"}
    assert float(errors["mae"].compute()) == pytest.approx(float(errors["mae"].each))


def test_ranking_and_accuracy_are_those_of_scikit_learn() -> None:
    draw = np.random.default_rng(1)
    logits, true = draw.normal(size=(50, 3)), draw.integers(0, 2, (50, 3)).astype(float)
    true[draw.random(true.shape) < 0.3] = NOTHING
    true[:, 2] = np.where(np.isnan(true[:, 2]), NOTHING, 1.0)  # of one class alone
    metrics = [TargetRanking(), TargetRanking("precision"), TargetAccuracy()]
    for part in (slice(0, 20), slice(20, 50)):
        for metric in metrics:
            metric.update(torch.from_numpy(logits[part]), torch.from_numpy(true[part]))
    known = [~np.isnan(true[:, t]) for t in range(3)]
    for metric, score in zip(metrics, (roc_auc_score, average_precision_score), strict=False):
        oracle = [score(true[known[t], t], logits[known[t], t]) for t in (0, 1)]
        assert float(metric.compute()) == pytest.approx(np.mean(oracle))
        assert metric.each.isnan().tolist() == [False, False, True]
    right = [((logits[k, t] > 0) == (true[k, t] > 0.5)).mean() for t, k in enumerate(known)]
    assert float(metrics[2].compute()) == pytest.approx(np.mean(right))


def test_binary_loss_is_the_mean_over_what_is_known() -> None:
    batch = graphs([[1.0, NOTHING], [0.0, 1.0], [NOTHING, NOTHING]])
    task = MaskedClassificationTask(Linear(2), 2)
    logits = task.model(batch.x, batch.batch, 3)
    chance = logits.sigmoid()
    oracle = -(chance[0, 0].log() + (1 - chance[1, 0]).log() + chance[1, 1].log()) / 3
    assert torch.allclose(task.loss(batch), oracle)
    assert torch.allclose(task.predict_outputs(batch)["y"], logits)


def test_nodes_without_a_class_do_not_count() -> None:
    batch = graphs(torch.tensor([0, -1, 2, 1, -1, -1]))
    task = NodeClassificationTask(Linear(3, "node"), 3)
    chance = task.model(batch.x, batch.batch, 3).softmax(1)
    oracle = -(chance[0, 0].log() + chance[2, 2].log() + chance[3, 1].log()) / 3
    assert torch.allclose(task.loss(batch), oracle)
    accuracy: Any = task.metrics(batch, "val")["accuracy"]
    right = (chance.argmax(1) == batch.y)[batch.y >= 0].float().mean()
    assert float(accuracy.compute()) == pytest.approx(float(right))
    task.check_batch(batch)
    assert float(task.loss(graphs(torch.full((6,), -1))).detach()) == 0
    losses = torch.zeros(3)
    for k in range(3):  # of each graph by its own nodes
        own = ((batch.batch == k) & (batch.y >= 0)).nonzero()[:, 0].tolist()
        each = [-chance[i, batch.y[i]].log() for i in own]
        losses[k] = torch.stack(each).mean() if each else 0.0
    torch.testing.assert_close(task.graph_losses(batch), losses)


def test_links_are_products_of_vectors() -> None:
    batch = graphs(torch.zeros(3))
    batch.edge_label_index = torch.tensor([[0, 2, 3], [1, 3, 4]])
    batch.edge_label = torch.tensor([1, 0, 1])
    task = LinkPredictionTask(Linear(4, "node"))
    z = task.model(batch.x, batch.batch, 3)
    logits = torch.stack([z[0] @ z[1], z[2] @ z[3], z[3] @ z[4]])
    assert torch.allclose(task.logits(batch), logits)
    signs = torch.tensor([1.0, -1.0, 1.0])
    assert torch.allclose(task.loss(batch), nn.functional.softplus(-signs * logits).mean())
    task.check_batch(batch)
    del batch.edge_label
    with pytest.raises(ValueError, match="no pairs of nodes: edge_label_index"):
        task.check_batch(batch)


@pytest.mark.parametrize(
    ("task", "y", "message"),
    [
        (MaskedRegressionTask(Linear(2), 2), [[1.0], [2.0], [3.0]], r"expects 2 targets of each o"),
        (MaskedRegressionTask(Linear(1), 1), [[math.inf], [2.0], [3.0]], "y is infinite"),
        (MaskedClassificationTask(Linear(1)), [[2.0], [0.0], [1.0]], "value 2: classes are 0, 1"),
        (NodeClassificationTask(Linear(2, "node"), 2), [0] * 5 + [2], "y goes from 0 to 2, but th"),
        (NodeClassificationTask(Linear(2, "node"), 2), [0, 1, 0], "the class of each of 6 nodes"),
    ],
)
def test_what_batches_are_refused(task: Any, y: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        task.check_batch(graphs(y))


def test_models_of_another_width_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"returns \(3, 4\), but targets are \(3, 2\): give it 2 outputs"
    ):
        MaskedRegressionTask(Linear(4), 2).loss(graphs(Y))
    for wrong, message in (({"num_targets": 0}, "at least 1"), ({"level": "edge"}, '"graph" or')):
        with pytest.raises(ValueError, match=message):
            MaskedRegressionTask(Linear(1), **wrong)
    with pytest.raises(ValueError, match='loss must be "mae" or "mse"'):
        MaskedRegressionTask(Linear(1), loss="huber")  # type: ignore[arg-type]


def monitor(task: str, options: dict[str, Any]) -> str:
    several = isinstance(options.get("targets", []), list)
    return "val/loss" if "Class" in task else "val/std_mae" if several else "val/mae"


def config(folder: Path, task: str, **options: Any) -> list[str]:
    pytest.importorskip("rdkit", reason="molecules are read by rdkit, which is optional")
    rows = [f"{'C' * (k + 1)}{'O' * (k % 2)},{k % 2},{k if k % 5 else ''}\n" for k in range(24)]
    (folder / "chains.csv").write_text("smiles,alcohol,length\n" + "".join(rows))
    net: dict[str, Any] = {"in_channels": [119, 9, 11, 12, 9, 5, 8, 2, 2], "edge_dim": [22, 6, 2]}
    net |= {"aggr": "sum", "channels": 4}
    outputs = options.pop("outputs", 2)
    settings = {
        "monitor": monitor(task, options),
        "model": {
            "class_path": f"geqlib.train.{task}",
            "init_args": {
                "model": {"class_path": "MonoidGNN", "init_args": net | {"out_graph": outputs}},
                **({"num_targets": outputs} if task.startswith("Masked") else {}),
            },
        },
        "data": {
            "class_path": "MoleculeTableData",
            "init_args": {
                "file": str(folder / "chains.csv"),
                "targets": ["alcohol", "length"],
                "val": 0.25,
                "num_folds": 3,
                "batch_size": 8,
                "cache": str(folder / "cache"),
                **options,
            },
        },
        "trainer": {"max_epochs": 2, "accelerator": "cpu"},
    }
    path = folder / "chains.yaml"
    path.write_text(yaml.safe_dump(settings))
    return ["--config", str(path)]


@pytest.mark.slow
def test_errors_are_cross_validated(tmp_path: Path) -> None:
    chosen = config(tmp_path, "MaskedRegressionTask")
    assert tiny.geqlib(["cv", *chosen, "--out", str(tmp_path / "cv"), "--folds", "0", "1"]) == 0
    summary = json.loads((tmp_path / "cv" / "folds.json").read_text())
    assert summary["measure"] == "std_mae" and summary["folds"] == [0, 1]
    curves = []
    for fold in (0, 1):
        lines = next((tmp_path / "cv" / f"fold{fold}-seed0").glob("metrics/*/metrics.csv"))
        rows = [line.split(",") for line in lines.read_text().splitlines()]
        column = rows[0].index("val/test_std_mae")
        curves.append([float(row[column]) for row in rows[1:] if row[column]])
    assert summary["published"]["mean"] == pytest.approx(np.mean(curves, 0).min())
    assert "confusion" not in summary
    assert (tmp_path / "cv" / "learning_curves.png").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "options", "names"),
    [
        (
            "MaskedRegressionTask",
            {"units": {"length": "C atoms"}},
            {"test/mae_alcohol", "test/rmse_length", "test/std_mae"},
        ),
        (
            "MaskedClassificationTask",
            {"targets": "alcohol", "outputs": 1},
            {"test/auroc", "test/accuracy", "test/loss"},
        ),
        ("RegressionTask", {"targets": "alcohol", "outputs": 1}, {"test/mae", "test/rmse"}),
    ],
)
def test_from_a_table_to_predictions(
    tmp_path: Path, task: str, options: dict[str, Any], names: set[str]
) -> None:
    run = ["--trainer.default_root_dir", str(tmp_path / "run")]
    chosen = [*config(tmp_path, task, **options), *run]
    assert tiny.geqlib(["fit", *chosen]) == 0
    chosen += ["--ckpt_path", str(tmp_path / "run" / "checkpoints" / "best.ckpt")]
    assert tiny.geqlib(["test", *chosen]) == tiny.geqlib(["predict", *chosen]) == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert names <= results["metrics"].keys()
    assert (tmp_path / "run" / "predictions.safetensors").exists()
    several = task == "MaskedRegressionTask"
    assert ("test/mae" in results["metrics"]) == (task == "RegressionTask")
    assert results["units"] == (
        {f"{e}_length": "C atoms" for e in ("mae", "rmse")} if several else {}
    )
    page = (write_report([tmp_path / "run"], tmp_path / "report")).read_text()
    assert ("mae\\_length (C atoms)" in page) == ("| length (C atoms) |" in page) == several


def test_several_targets_need_the_other_task(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ["--trainer.default_root_dir", str(tmp_path / "run")]
    assert tiny.geqlib(["fit", *config(tmp_path, "RegressionTask"), *run]) == 2
    assert "take MaskedRegressionTask with num_targets=2" in capsys.readouterr().err
    chosen = config(tmp_path, "MaskedRegressionTask", outputs=3)
    assert tiny.geqlib(["fit", *chosen, *run]) == 2
    assert "The data has 2 targets, but the task 3" in capsys.readouterr().err


def test_one_target_is_that_of_the_plain_task() -> None:
    torch.manual_seed(0)
    net, batch = Linear(1), graphs([[1.0], [2.0], [3.0]])
    plain, masked = RegressionTask(net, loss="mse"), MaskedRegressionTask(net, loss="mse")
    assert torch.allclose(plain.loss(batch), masked.loss(batch))
