"""Points of the plane among others of another kind: sets from which a subset is to be chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Literal, get_args

import numpy as np
from torch.utils.data import DataLoader

from geqlib.data.loaders import SplitLoaders
from geqlib.data.packed import PackedGraphs

Name = Literal["moons", "gaussians"]
MOON_NOISE = 0.1
GAUSSIAN_STD = 0.5
TEST_SIZES = (100, 200, 400, 1000)
EVALUATED = 12_800  # elements of a batch outside of training, at most


class SubsetData(SplitLoaders):
    """Sets of points of one class, a few of which are replaced by points of the other class.

    The few are the subset S* that is to be chosen. Source: the synthetic sets of Ou et al. (NeurIPS
    2022) and Xie et al. (ICLR 2024): 1000 sets of 100 points each for training, validation and
    testing, 10 of them chosen, and here the same share of larger test sets. Which class is the
    background is drawn for each set, so that only its set says which points a subset is made of.

    - "moons": two half circles of radius 1, of n points each, (cos t, sin t) and (1 - cos t, 1/2 -
      sin t) with t even from 0 to pi; with noise of 0.1, times 2, plus (-1, -0.2).
    - "gaussians": standard deviation 0.5 around (1, 1) / sqrt(2) and (-1, -1) / sqrt(2).

    The points are drawn with generators of their own, so they are others than those of the papers.
    Batches hold `x` [N, 2], `y` [N] 1 for the chosen and 0 for the others, `batch`, `ptr`.

    Args:
        name: of the distribution.
        batch_size: sets in a batch; in evaluation fewer where sets are large.
        size: points of a set.
        chosen: how many of them are to be chosen.
        train, val, test: number of sets; `test` of each size.
        test_sizes: each of them has its own data loader, and `chosen` grows with it.
        data_seed: of the sets.
        shuffle_seed: of their order in training.

    Raises:
        ValueError: an unknown name, sizes out of range, a subset larger than its set.

    Example:
        >>> data = SubsetData(batch_size=2, size=10, chosen=3, train=4, val=2, test=2)
        >>> data.setup()
        >>> batch = data.splits["train"].__getitems__([0, 1])
        >>> batch.x.shape, int(batch.y.sum())
        (torch.Size([20, 2]), 6)
    """

    name: str
    noun: ClassVar[str] = "set"

    def __init__(
        self,
        name: Name = "moons",
        batch_size: int = 128,
        *,
        size: int = 100,
        chosen: int = 10,
        train: int = 1000,
        val: int = 1000,
        test: int = 1000,
        test_sizes: Sequence[int] = TEST_SIZES,
        data_seed: int = 0,
        shuffle_seed: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        if name not in get_args(Name):
            raise ValueError(f"name is {name!r}: choose one of {', '.join(get_args(Name))}.")
        if min(batch_size, train, val, test) < 1:
            raise ValueError(
                f"batch_size, train, val and test must be positive, got {batch_size}, {train}, "
                f"{val} and {test}."
            )
        if not 1 <= chosen <= size:
            raise ValueError(
                f"chosen is {chosen}, and sets have {size} points: choose at least one, and no "
                "more than there are."
            )
        small = next((n for n in test_sizes if n * chosen < size), None)
        if small is not None:
            raise ValueError(
                f"Of test sets of {small} points, less than one would be chosen, as {chosen} of "
                f"{size}: take larger ones."
            )
        self.name, self.batch_size, self.sets = name, batch_size, {"train": train, "val": val}
        self.sizes = {"train": size, "val": size} | {f"test {n}": n for n in test_sizes}
        self.sets |= {f"test {n}": test for n in test_sizes}
        self.share = chosen, size
        self.data_seed, self.shuffle_seed = data_seed, shuffle_seed
        self.splits: dict[str, PackedGraphs] = {}

    def setup(self, stage: str | None = None) -> None:
        chosen, size = self.share
        for split, n in self.sizes.items():
            # a stream for each split, which the others do not move
            stream = {"train": 0, "val": 1}.get(split, 2)
            rng = np.random.default_rng([self.data_seed, stream, n])
            self.splits[split] = mixed_sets(self.name, self.sets[split], n, chosen * n // size, rng)

    def test_dataloader(self) -> list[DataLoader]:
        return [self._in_order(split) for split in self.sizes if split.startswith("test")]

    def predict_dataloader(self) -> list[DataLoader]:
        return self.test_dataloader()

    def _in_order(self, split: str) -> DataLoader:
        fitting = max(EVALUATED // self.sizes[split], 1)
        return self._evaluation(self.splits[split], min(self.batch_size, fitting))


def mixed_sets(
    name: str, count: int, size: int, chosen: int, rng: np.random.Generator
) -> PackedGraphs:
    """Sets of a random class, with points of the other one at `chosen` random positions.

    Args:
        name: of the distribution.
        count: how many sets.
        size: points of each.
        chosen: points of the other class.
        rng: draws everything.
    """
    classes = CLASSES[name](count, size, rng)
    background = rng.integers(0, 2, count)
    y = rng.permuted(np.broadcast_to(np.arange(size) < chosen, (count, size)), axis=1)
    kind = np.where(y, 1 - background[:, None], background[:, None])
    x = np.take_along_axis(classes, kind[:, None, :, None], axis=1)[:, 0]
    arrays = {
        "nodes": np.full(count, size),
        "x": x.reshape(-1, 2),
        "y": y.reshape(-1).astype(np.uint8),
    }
    return PackedGraphs(arrays, {"x": "node", "y": "node"})


def moons(count: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """[count, 2, size, 2] points of both half circles, in random order."""
    t = np.linspace(0, np.pi, size)
    upper = np.stack([np.cos(t), np.sin(t)], 1)
    both = np.stack([upper, np.array([1.0, 0.5]) - upper])
    order = rng.permuted(np.broadcast_to(np.arange(size), (count, 2, size)), axis=2)
    points = both[np.arange(2)[:, None], order]
    points = points + rng.normal(0.0, MOON_NOISE, points.shape)
    return 2 * points + np.array([-1.0, -0.2])


def gaussians(count: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """[count, 2, size, 2] points around both centres."""
    centre = np.full(2, 0.5**0.5)
    centres = np.stack([centre, -centre])[:, None]
    return centres + rng.normal(0.0, GAUSSIAN_STD, (count, 2, size, 2))


CLASSES: dict[str, Callable[[int, int, np.random.Generator], np.ndarray]] = {
    "moons": moons,
    "gaussians": gaussians,
}
