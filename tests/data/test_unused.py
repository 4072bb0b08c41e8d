"""Features that a network does not take are named before training, and no others."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch_geometric.data import Data

from geqlib.data import CloudData, OwnGraphData
from geqlib.data.unused import warn_of_unused
from geqlib.models import DGCNN, FAGIN, MonoidGNN, PointNet
from geqlib.train import ClassificationTask, GraphClassificationTask


def weighted(*names: str) -> OwnGraphData:
    """Rings of torch_geometric with features, also of their edges."""
    ring = torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]])
    features = {"edge_attr": torch.ones(4, 2), "edge_weight": torch.ones(4)}
    own = {name: features[name] for name in names}
    graphs = [Data(x=torch.ones(4, 1), edge_index=ring, y=k % 2, **own) for k in range(20)]
    data = OwnGraphData.from_graphs(graphs, batch_size=4)
    data.setup()
    return data


def warned(data: Any, task: Any) -> list[str]:
    data.trainer = SimpleNamespace(lightning_module=task, world_size=1, global_rank=0)
    data.trainer.strategy = SimpleNamespace(root_device=torch.device("cpu"))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        data.train_dataloader()
    return [str(w.message) for w in said if "not used" in str(w.message)]


@pytest.mark.parametrize(
    ("names", "net", "unused"),
    [
        (("edge_weight",), MonoidGNN(1, "max", out_graph=2), "edge_weight of OwnGraphData is not"),
        (("edge_attr",), FAGIN(1, 2, max_nodes=4), "edge_attr of OwnGraphData is not"),
        (("edge_attr", "edge_weight"), FAGIN(1, 2, max_nodes=4), "edge_attr and edge_weight of"),
        (("edge_attr",), MonoidGNN(1, "max", out_graph=2, edge_dim=2), None),
        ((), MonoidGNN(1, "max", out_graph=2), None),
    ],
)
def test_graphs(names: tuple[str, ...], net: nn.Module, unused: str | None) -> None:
    said = warned(weighted(*names), GraphClassificationTask(net, 2))
    assert len(said) == (unused is not None)
    assert unused is None or said[0].startswith(unused)


def test_clouds(tmp_path: Path) -> None:
    for kind in ("a", "b"):
        (tmp_path / kind).mkdir()
        for k in range(10):
            np.save(tmp_path / kind / f"{k}.npy", np.random.default_rng(k).normal(size=(9, 4)))
    data = CloudData(tmp_path, points=8, batch_size=4)
    data.setup()
    (said,) = warned(data, ClassificationTask(DGCNN(2, channels=4, layers=1, neighbors=3), 2))
    assert said.startswith("x of CloudData is not used: neither DGCNN, as it is built, nor Classi")
    assert not warned(data, ClassificationTask(PointNet(2, in_scalars=1, channels=4), 2))


def test_networks_that_may_take_anything() -> None:
    class Anything(nn.Module):
        def forward(self, **tensors: Any) -> Any:
            return tensors["x"]

    task = SimpleNamespace(model=Anything())
    data = SimpleNamespace(trainer=SimpleNamespace(lightning_module=task))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_unused(data, ["edge_weight"])
        warn_of_unused(SimpleNamespace(trainer=None), ["edge_weight"])
