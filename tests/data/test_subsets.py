"""Sets of points have the sizes, the subsets and the shapes that they should."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from geqlib.data import SubsetData
from geqlib.data.subsets import gaussians, mixed_sets, moons


def data(name: Any = "moons", **options: Any) -> SubsetData:
    small = {"size": 20, "chosen": 3, "train": 9, "val": 5, "test": 4, "test_sizes": (20, 50)}
    built = SubsetData(name, 4, **(small | options))
    built.setup()
    return built


def test_sizes_of_sets_and_subsets() -> None:
    module = data()
    assert {k: len(part) for k, part in module.splits.items()} == {
        "train": 9,
        "val": 5,
        "test 20": 4,
        "test 50": 4,
    }
    for split, (size, chosen) in {"train": (20, 3), "val": (20, 3), "test 50": (50, 7)}.items():
        batch: Any = module.splits[split].__getitems__(range(4))
        assert batch.x.shape == (4 * size, 2) and batch.x.dtype == torch.get_default_dtype()
        assert batch.y.view(4, size).sum(1).tolist() == [chosen] * 4
    assert [len(next(iter(loader)).x) for loader in module.test_dataloader()] == [80, 200]


def test_seeds() -> None:
    first, again, other = data(), data(), data(data_seed=1)
    assert torch.equal(first.splits["train"].x, again.splits["train"].x)
    assert not torch.equal(first.splits["train"].x, other.splits["train"].x)
    assert not torch.equal(first.splits["train"].x[:80], first.splits["test 20"].x)


def test_moons_are_half_circles() -> None:
    """Without noise, each point has distance 1 from the centre of its circle."""

    class Silent(np.random.Generator):
        def normal(self, *args: Any, **options: Any) -> Any:
            return np.zeros(args[2])

    points = moons(2, 30, Silent(np.random.PCG64(0)))
    plain = (points + np.array([1.0, 0.2])) / 2
    for k, centre in enumerate([(0.0, 0.0), (1.0, 0.5)]):
        offset = plain[:, k] - centre
        assert np.allclose((offset**2).sum(-1), 1)
        assert ((offset[..., 1] >= -1e-12) if k == 0 else (offset[..., 1] <= 1e-12)).all()
        assert np.allclose(np.sort(plain[0, k, :, 0]), np.sort(plain[1, k, :, 0]))


def test_gaussians_have_their_mean_and_deviation() -> None:
    points = gaussians(200, 100, np.random.default_rng(0))
    error = 5 * 0.5 / np.sqrt(20_000)
    for k, sign in enumerate([1, -1]):
        assert np.abs(points[:, k].mean((0, 1)) - sign / np.sqrt(2)).max() < error
        assert np.abs(points[:, k].std((0, 1)) - 0.5).max() < error


def test_chosen_points_are_of_the_other_class() -> None:
    """Classes that differ in their sign: a set has one sign but for its subset."""
    built = mixed_sets("gaussians", 400, 30, 3, np.random.default_rng(0))
    side = (built.x.sum(1) > 0).view(400, 30)
    chosen = built.y.view(400, 30) > 0
    right = (side ^ chosen).float().mean(1)  # the side of the background, but for 2.3 %
    assert bool(((right < 0.25) | (right > 0.75)).all())
    assert 0.4 < float((right > 0.5).float().mean()) < 0.6
    assert float(chosen.float().mean(0).min()) > 0.02  # at any position


ERRORS = {
    "name": ({"name": "circles"}, "choose one of moons, gaussians"),
    "more chosen than there are": ({"size": 5, "chosen": 6}, "chosen is 6, and sets have 5 points"),
    "none": ({"chosen": 0}, "choose at least one"),
    "empty": ({"size": 0}, "sets have 0 points"),
    "small tests": ({"test_sizes": (6,)}, "test sets of 6 points, less than one"),
    "counts": ({"train": 0}, "must be positive"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors(case: str) -> None:
    options, message = ERRORS[case]
    with pytest.raises(ValueError, match=message):
        data(**options)
