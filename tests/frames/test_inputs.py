"""What a wrapped module cannot be averaged over is said in one sentence, wherever it is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from geqlib.frames.averaging import FrameAveraging
from geqlib.frames.point_frames import Frames

GENERATOR = torch.Generator().manual_seed(0)
POS = torch.randn(7, 3, generator=GENERATOR).double()
BATCH = torch.tensor([0, 0, 0, 1, 1, 1, 1])
EYE = torch.eye(3).double()


class Same(nn.Module):
    """Whatever it is given, and whatever else."""

    def forward(self, x: Tensor, batch: Tensor, **others: Any) -> Tensor:
        return torch.sin(x)


def wrap(group: Any = "O(3)", kind: str = "vector", **options: Any) -> FrameAveraging:
    return FrameAveraging(Same(), group, inputs={"x": kind}, outputs=kind, **options)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("mode", ["full", "stochastic", "weighted", "minimal", "learned"])
@pytest.mark.parametrize("kind", ["point", "vector", "1x1e", "1x2e", "1x1o+1x2e"])
def test_one_bad_number_is_found_in_its_sample(kind: str, mode: Any, value: float) -> None:
    width = {"1x2e": 5, "1x1o+1x2e": 8}.get(kind, 3)
    x = torch.randn(7, width, generator=torch.Generator().manual_seed(0)).double()
    x[5, -1] = value
    net = wrap("E(3)" if kind == "point" else "O(3)", kind, mode=mode)
    with pytest.raises(ValueError, match="sample 1 has NaN or infinite points or vectors"):
        net(x=x, batch=BATCH)


def test_orders_of_nodes_need_numbers() -> None:
    x = POS.clone()
    x[2, 0] = torch.nan
    with pytest.raises(ValueError, match="input 'x' has NaN, by which no node can be sorted"):
        wrap("S_n", "scalar")(x=x, batch=BATCH)


def test_numbers_of_samples() -> None:
    with pytest.raises(ValueError, match="give the number of each node's sample"):
        wrap()(x=POS, batch=BATCH[:, None])
    with pytest.raises(ValueError, match=r"batch has dtype torch.float64: convert it with .long()"):
        wrap()(x=POS, batch=BATCH.double())


class Lone(nn.Module):
    """Knows no batches."""

    def forward(self, pos: Tensor) -> Tensor:
        return torch.sin(pos)


def test_a_module_is_given_what_it_takes() -> None:
    inputs = {"pos": "vector", "x": "scalar"}
    net = FrameAveraging(Lone(), "O(3)", inputs=inputs, outputs="vector")
    assert net(pos=POS).shape == POS.shape
    with pytest.raises(
        ValueError, match=r"Lone\.forward takes no `batch`, which separates the samples"
    ):
        net(pos=POS, batch=BATCH)
    with pytest.raises(ValueError, match=r"Lone\.forward takes no 'x': pass some of pos\."):
        net(pos=POS, x=POS[:, :1])


def test_numbers_of_nodes() -> None:
    types = {"x": "vector", "edge_index": "edge_index"}
    net = FrameAveraging(Same(), "O(3)", inputs=types, outputs="vector")
    with pytest.raises(ValueError, match="edge 1 is 2 -> 7, but there are only nodes 0 to 6"):
        net(x=POS, batch=BATCH, edge_index=torch.tensor([[0, 2], [1, 7]]))


def frame(matrix: Any, sample: list[int], weight: list[float]) -> Frames:
    return Frames(matrix, torch.tensor(sample), torch.tensor(weight).double())


@pytest.mark.parametrize(
    ("built", "expected"),
    [
        (EYE, "your frame is a Tensor"),
        (
            frame(EYE[None, :2, :2], [0], [1.0]),
            r"\[1, 2, 2\] for 1 elements in 3 dim",
        ),
        (frame(EYE[None], [0], [1.0]), "weights sum to 0 in sample 1, not 1"),
        (frame(EYE.expand(2, 3, 3), [0, 1], [1.0, 0.5]), "weights sum to 0.5 in sample 1"),
        (frame(EYE.expand(2, 3, 3), [1, 0], [1.0, 1.0]), "samples must ascend from 0 to 1"),
        (frame(EYE.expand(3, 3, 3), [0, 1, 2], [1.0] * 3), "samples must ascend from 0 to 1"),
    ],
)
def test_frames_of_ones_own(built: Any, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        wrap(lambda x, batch: built)(x=POS, batch=BATCH)
    right = frame(EYE.expand(2, 3, 3), [0, 1], [1.0, 1.0])
    assert torch.equal(wrap(lambda x, batch: right)(x=POS, batch=BATCH), POS.sin())


@pytest.mark.parametrize("mode", ["weighted", "learned"])
def test_modes_that_make_frames(mode: Any) -> None:
    with pytest.raises(ValueError, match="chooses frames, but you pass your own"):
        wrap(lambda x, batch: None, mode=mode)
