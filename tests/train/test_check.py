"""`geqlib check`: symmetry is measured on graphs that differ from one another."""

import io
from pathlib import Path

import lightning as L
import pytest
import torch
from rich.console import Console
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader

from geqlib.cli.check import show_degrees, show_duals, show_frames
from geqlib.nn import FrameAveraging
from geqlib.testing import degenerate_sets
from geqlib.train import ClassificationTask
from geqlib.train.check import (
    degenerate_frames,
    degree_errors,
    dual_variables,
    symmetry_errors,
)


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


class Heights(nn.Module):
    """The mean height of each cloud, which turns like a vector."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(2))

    def forward(self, pos: Tensor, batch: Tensor, num_graphs: int) -> Tensor:
        total = pos.new_zeros(num_graphs).index_add(0, batch, pos[:, 2])
        return total[:, None] * self.scale


class Averaged(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        types = {"pos": "point"}
        self.net = FrameAveraging(Heights(), "O(3)", inputs=types, outputs="graph:scalar")

    def forward(self, pos: Tensor, batch: Tensor, num_graphs: int) -> Tensor:
        return self.net(pos=pos, batch=batch, num_graphs=num_graphs)


class Solids(L.LightningDataModule):
    """Clouds at random and a cube, in each of two batches."""

    def val_dataloader(self) -> DataLoader:
        generator = torch.Generator().manual_seed(0)
        clouds = [torch.randn(6, 3, generator=generator) for _ in range(4)]
        clouds[2:2] = clouds[4:] = [degenerate_sets(torch.float32)["cube"]]
        return DataLoader([Data(pos=p, y=torch.tensor([0])) for p in clouds], batch_size=3)


def test_broken_rotations_are_resolved_by_degree() -> None:
    task = ClassificationTask(Heights(), classes=2)
    errors = degree_errors(task, PlanarFirst(), degree=1)
    assert errors[1] > 0.1 and errors["higher"] < 1e-6


def test_degenerate_frames_are_counted_per_batch() -> None:
    net = Averaged()
    assert degenerate_frames(ClassificationTask(net, classes=2), Solids()) == [(3, 1), (2, 1)]
    assert degenerate_frames(ClassificationTask(Heights(), classes=2), Solids()) == []


def test_further_groups() -> None:
    task = ClassificationTask(SignedVolume(), classes=2)
    errors = symmetry_errors(task, PlanarFirst(), samples=2, groups=["SL(3)", "GL+(3)"])
    assert errors["SL(3)"]["float64"] < 1e-12 < 1e-2 < errors["GL+(3)"]["float64"]
    with pytest.raises(ValueError, match="is unknown"):
        symmetry_errors(task, PlanarFirst(), samples=2, groups=["SL(4)"])


def test_what_is_printed() -> None:
    console = Console(file=io.StringIO(), width=200)
    show_degrees({1: 0.25, "higher": 0.0}, console)
    show_frames([(3, 1), (3, 0)], console)
    show_duals({"SO(3)": {"dual": 2.5, "loss": 0.4, "eps": 0.3}}, console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "1: 2.5e-01, higher: 0.0e+00" in text
    assert "Degenerate frames: 1 of 6 in 2 batches, at most 33.3% of one" in text
    assert "Price of SO(3): dual variable 2.5" in text


def test_a_group_that_a_run_was_priced_under() -> None:
    """Turns about the z axis of clouds in space."""
    task = ClassificationTask(Heights(), classes=2)
    errors = symmetry_errors(task, PlanarFirst(), samples=2, groups=["SO(2)"])
    assert errors["SO(2)"]["float64"] < 1e-12 < 1e-2 < errors["rotations SO(3)"]["float64"]


@pytest.mark.parametrize("part", ["checkpoints", ""])
def test_dual_variables_of_a_run_are_those_at_its_end(part: str, tmp_path: Path) -> None:
    (tmp_path / part).mkdir(exist_ok=True)
    for name, dual in (("best", 1.0), ("last", 2.0)):
        state = {"InvarianceConstraint(SO(3))": {"dual": dual, "loss": 0.4, "eps": 0.3}}
        torch.save({"state_dict": {}, "callbacks": state}, tmp_path / part / f"{name}.ckpt")
    assert dual_variables(tmp_path)["SO(3)"]["dual"] == 2.0
    assert dual_variables(tmp_path / part / "best.ckpt")["SO(3)"]["dual"] == 1.0
