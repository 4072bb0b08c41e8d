"""`geqlib check`: symmetry is measured on graphs that differ from one another."""

import lightning as L
import torch
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader

from geqlib.train import ClassificationTask
from geqlib.train.check import symmetry_errors


class SignedVolume(nn.Module):
    """Changes its sign under reflections, and vanishes for planar clouds."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(2))

    def forward(self, pos: Tensor, batch: Tensor, num_graphs: int) -> Tensor:
        counts = torch.bincount(batch, minlength=num_graphs).tolist()
        centred = [part[:3] - part.mean(0) for part in pos.split(counts)]
        return torch.stack([torch.linalg.det(c) for c in centred])[:, None] * self.scale


class PlanarFirst(L.LightningDataModule):
    def val_dataloader(self) -> DataLoader:
        generator = torch.Generator().manual_seed(0)
        clouds = [torch.randn(5, 3, generator=generator) for _ in range(8)]
        for cloud in clouds[:5]:
            cloud[:, 2] = 0
        return DataLoader([Data(pos=p, y=torch.tensor([0])) for p in clouds])


def test_the_graphs_that_are_measured_are_spread_over_the_validation_split() -> None:
    task = ClassificationTask(SignedVolume(), classes=2)
    errors = symmetry_errors(task, PlanarFirst(), samples=2)
    assert errors["rotations SO(3)"]["float64"] < 1e-12
    assert errors["and reflections O(3)"]["float64"] > 1e-2
