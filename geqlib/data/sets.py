"""Questions about sets of numbers, tested on sets larger than those of the training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from geqlib.data.loaders import SplitLoaders
from geqlib.data.packed import PackedGraphs

Question = Literal["second_minimum", "size_parity", "bit_parity"]
OUT_BITS = {"second_minimum": 8, "size_parity": 1, "bit_parity": 8}
# even sizes and the odd ones before them, without which a constant would predict the parity
TEST_SIZES = tuple(
    size
    for even in (2, 4, 8, 16, 32, 64, 100, 128, 200, 256, 400, 700, 1000)
    for size in (even - 1, even)
)
TEST_ELEMENTS = 32_768


class SetData(SplitLoaders):
    """Multisets of numbers from 0 to 255: small ones to train on, larger ones to be tested on.

    The protocol of Ong and Velickovic (LoG 2022, arXiv 2212.08541), section 5.1: 65 536 training
    sets of 1 to 16 elements, 1024 validation sets of 32, 1024 test sets of each size; sizes and
    elements uniform. The answers are bits, least significant first:

    - "second_minimum": of equal elements, each counts. Of a single element it is 255, as if each
      set held a further 255: that makes 255 the identity of a commutative monoid.
    - "size_parity": one bit, whether the size is odd.
    - "bit_parity": of each bit, whether it is set in an odd number of elements.

    Batches hold `x` [N] the elements, `batch` [N] the set of each, `ptr`, `y` [sets, bits].

    Args:
        batch_size: sets in a batch; in evaluation fewer where sets are large.
        task: the question.
        train, val, test: number of sets; `test` of each size.
        min_size, max_size: of training sets.
        val_size: of validation sets; half of them are smaller by one if the size is asked for.
        test_sizes: each of them has its own data loader.
        data_seed: of the sets.
        shuffle_seed: of their order in training.

    Example:
        >>> data = SetData(4, train=8, val=2, test=2, test_sizes=(3, 5))
        >>> data.setup()
        >>> [next(iter(loader)).x.shape for loader in data.test_dataloader()]
        [torch.Size([6]), torch.Size([10])]
    """

    noun: ClassVar[str] = "set"

    def __init__(
        self,
        batch_size: int = 128,
        *,
        task: Question = "second_minimum",
        train: int = 65_536,
        val: int = 1024,
        test: int = 1024,
        min_size: int = 1,
        max_size: int = 16,
        val_size: int = 32,
        test_sizes: Sequence[int] = TEST_SIZES,
        data_seed: int = 0,
        shuffle_seed: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        if task not in OUT_BITS:
            raise ValueError(f"task '{task}' is unknown: choose {', '.join(OUT_BITS)}.")
        if min(batch_size, train, val, test) < 1:
            raise ValueError(
                "batch_size, train, val and test must be positive, got "
                f"{batch_size}, {train}, {val} and {test}."
            )
        if not 1 <= min_size <= max_size or min(val_size, *test_sizes) < 1:
            raise ValueError(
                f"Sets need at least one element, got sizes {min_size} to {max_size}, {val_size} "
                f"and {list(test_sizes)}."
            )
        self.task: Question = task
        self.batch_size, self.sets = batch_size, {"train": train, "val": val}
        smaller = max(val_size - (task == "size_parity"), 1)
        self.sizes = {"train": (min_size, max_size), "val": (smaller, val_size)}
        for size in test_sizes:
            self.sets[f"test {size}"], self.sizes[f"test {size}"] = test, (size, size)
        self.data_seed, self.shuffle_seed = data_seed, shuffle_seed
        self.splits: dict[str, PackedGraphs] = {}

    def setup(self, stage: str | None = None) -> None:
        for split, (low, high) in self.sizes.items():
            # a stream for each split, which the others do not move
            stream = {"train": 0, "val": 1}.get(split, 2)
            rng = np.random.default_rng([self.data_seed, stream, high])
            count = self.sets[split]
            sizes = rng.integers(low, high, count, endpoint=True)
            values = rng.integers(0, 256, (count, high), dtype=np.uint8)
            self.splits[split] = number_sets(values, sizes, self.task)

    def test_dataloader(self) -> list[DataLoader]:
        return [self._in_order(split) for split in self.sizes if split.startswith("test")]

    def predict_dataloader(self) -> list[DataLoader]:
        return self.test_dataloader()

    def _in_order(self, split: str) -> DataLoader:
        # of sets of a thousand elements, the number that fits into a processor's cache
        fitting = max(TEST_ELEMENTS // self.sizes[split][1], 1)
        return self._evaluation(self.splits[split], fitting)


def number_sets(values: np.ndarray, sizes: np.ndarray, task: Question) -> PackedGraphs:
    """Sets and their answers as graphs without edges.

    Args:
        values: [S, most] numbers; the first `sizes` of each row are the set.
        sizes: [S].
        task: the question that `y` answers.
    """
    inside = np.arange(values.shape[1]) < sizes[:, None]
    y = answers(torch.from_numpy(values), torch.from_numpy(inside), task)
    arrays = {"nodes": sizes, "x": values[inside], "y": y}
    return PackedGraphs(arrays, {"x": "node", "y": "graph"})


def answers(values: Tensor, inside: Tensor, task: Question) -> Tensor:
    """[S, bits] answers, 0.0 or 1.0, about the sets of those values [S, most] that are inside."""
    if task == "size_parity":
        return (inside.sum(1, keepdim=True) % 2).to(torch.get_default_dtype())
    if task == "bit_parity":
        ones = (bits(values) * inside[..., None]).sum(1)
        return (ones % 2).to(torch.get_default_dtype())
    filled = values.long().masked_fill(~inside, 255)
    filled = torch.nn.functional.pad(filled, (0, 1), value=255)
    second = filled.topk(2, largest=False, sorted=True).values[:, 1]
    return bits(second).to(torch.get_default_dtype())


def bits(numbers: Tensor) -> Tensor:
    """[..., 8] bits, least significant first."""
    return numbers[..., None].long() >> torch.arange(8) & 1
