"""The data module of torch_geometric: trained, tested, predicted and checked by configuration."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.train import tiny

CODE = """
import torch
from torch_geometric.data import Data, InMemoryDataset


class Ladders(InMemoryDataset):
    def __init__(self, split: str = "train"):
        super().__init__(None)
        graphs = []
        for n in range(4, 12 if split == "train" else 7):
            walk = torch.arange(n)
            edges = torch.stack([walk[:-1], walk[1:]])
            graphs.append(Data(x=torch.ones(n, 2), edge_index=edges, y=torch.tensor([n % 2])))
        self.data, self.slices = self.collate(graphs)
"""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*pin_memory")
def test_lightning_data_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("ladders.py").write_text(CODE)
    net = {"in_channels": 2, "aggr": "max", "out_graph": 2, "channels": 4}
    model = {"class_path": "MonoidGNN", "init_args": net}
    other = {"class_path": "ladders.Ladders", "init_args": {"split": "other"}}
    sets = {f"{name}_dataset": other for name in ("val", "test", "pred")}
    settings = {
        "monitor": "val/loss",
        "model": {
            "class_path": "GraphClassificationTask",
            "init_args": {"classes": 2, "model": model},
        },
        "data": {
            "class_path": "torch_geometric.data.lightning.LightningDataset",
            "init_args": {"train_dataset": {"class_path": "ladders.Ladders"}, **sets},
        },
        "trainer": {"max_epochs": 1, "accelerator": "cpu", "default_root_dir": "run"},
    }
    Path("own.yaml").write_text(yaml.safe_dump(settings))
    chosen = ["--config", "own.yaml"]
    assert tiny.geqlib(["fit", *chosen]) == tiny.geqlib(["check", *chosen]) == 0
    chosen += ["--ckpt_path", "run/checkpoints/best.ckpt"]
    assert tiny.geqlib(["test", *chosen]) == tiny.geqlib(["predict", *chosen]) == 0
    results = json.loads(Path("run", "results.json").read_text())
    assert 0 <= results["metrics"]["test/accuracy"] <= 1
    assert Path("run", "predictions.safetensors").exists()
