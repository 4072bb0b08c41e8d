"""Normals are compared up to sign, and turned together with the points."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from geqlib.data import PointCloudData
from geqlib.data.points.clouds import point_clouds
from geqlib.train import NormalsTask
from geqlib.train.tasks.points import squared_sines


class Constant(nn.Module):
    """The same vector for every point."""

    def __init__(self, vector: list[float]) -> None:
        super().__init__()
        self.vector = nn.Parameter(torch.tensor(vector))

    def forward(self, pos: Tensor) -> tuple[Tensor, Tensor]:
        return pos[:, :0], self.vector.expand(len(pos), 1, 3)


def batch() -> Any:
    normal = nn.functional.normalize(torch.randn(2, 5, 3, generator=torch.manual_seed(0)), dim=2)
    return point_clouds(2 * normal, normal, [0, 1]).__getitems__([0, 1])


def test_error_is_the_squared_sine() -> None:
    angle = torch.tensor([0.0, 0.3, 1.0, math.pi / 2, math.pi - 0.2])
    vectors = torch.stack([angle.cos(), angle.sin(), 0 * angle], 1)
    fixed = torch.tensor([[1.0, 0.0, 0.0]]).expand(5, 3)
    for sign in (1, -1):
        actual = squared_sines(sign * vectors, fixed)
        torch.testing.assert_close(actual, angle.sin() ** 2, atol=1e-6, rtol=0)
    assert squared_sines(torch.zeros(1, 3), fixed[:1]) == 1


def test_length_and_sign_of_vectors_do_not_count() -> None:
    inputs, losses = batch(), []
    for vector in ([1.0, 2.0, -1.0], [-0.1, -0.2, 0.1]):
        task = NormalsTask(Constant(vector))
        task.log = lambda *args, **keywords: None  # type: ignore[assignment]
        losses.append(task.training_step(inputs, 0))
    torch.testing.assert_close(*losses)
    normal = task.predict_outputs(inputs)["normal"]
    torch.testing.assert_close(normal.norm(dim=1), torch.ones(10))
    assert set(task.predict_step(inputs, 0)) == {"pos", "predicted", "batch", "true"}


def test_measured_over_batches(tmp_path: Any) -> None:
    task = NormalsTask(Constant([0.0, 0.0, 1.0]))
    actual = {}
    task.log = lambda name, metric, **_: actual.update({name: metric})  # type: ignore[assignment]
    for part in (batch(), batch()):
        task.validation_step(part, 0)
    sine = (1 - batch().normal[:, 2] ** 2).sqrt()
    torch.testing.assert_close(actual["val/error"].compute(), (sine**2).mean())
    torch.testing.assert_close(actual["val/degrees"].compute(), torch.rad2deg(sine.asin()).mean())


def test_normals_are_turned_with_the_points() -> None:
    inputs = batch()
    task = NormalsTask(Constant([1.0, 0.0, 0.0]), rotate=True)
    turned = task.rotated(inputs)
    assert not torch.allclose(turned.pos, inputs.pos, atol=0.1)
    torch.testing.assert_close(turned.pos, 2 * turned.normal)  # as before


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*does not have many workers")
def test_learns_the_normals_of_boxes(tmp_path: Any) -> None:
    """Upright boxes: the largest coordinate says which face a point is on."""
    import lightning as L

    from geqlib.models import PointNet

    L.seed_everything(0)
    data = PointCloudData(
        batch_size=16,
        points=32,
        train=64,
        val=16,
        test=16,
        kinds=("box",),
        rotations="I/I",
        cache=str(tmp_path),
    )
    task = NormalsTask(PointNet(0, 1, level="node", channels=16), lr=1e-2)
    trainer = L.Trainer(
        max_epochs=20,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
    )
    trainer.fit(task, data)
    assert trainer.callback_metrics["val/error"] < 0.5  # 2 / 3 by chance
