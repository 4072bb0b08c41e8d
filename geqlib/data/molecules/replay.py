"""Structures that a potential was trained on before, among those that it is trained on now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.utils.data import Dataset
from torch.utils.data.distributed import DistributedSampler

WEIGHT = "weight"
_OWN_STREAM = 0x5DEECE66D  # of random numbers, beside that of the order of the new structures


def replay_settings(replay: Any) -> tuple[dict[str, Any], float]:
    """The settings of the old data, and its weight.

    Args:
        replay: a file, several files, or settings: those of a data module and `weight`.

    Raises:
        ValueError: if the files are missing, or the weight is no number from 0 on.

    Example:
        >>> replay_settings({"train": "old.xyz", "weight": 0.5})
        ({'train': 'old.xyz'}, 0.5)
        >>> replay_settings("old.xyz")
        ({'train': 'old.xyz'}, 1.0)
    """
    settings = dict(replay) if isinstance(replay, Mapping) else {"train": replay}
    weight = settings.pop(WEIGHT, 1.0)
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < 1e6:
        raise ValueError(
            f"weight of replay is {weight!r}: it is the number of batches of old structures for "
            "each batch of new ones; 0 measures them without training on them."
        )
    if "train" not in settings and "class_path" not in settings:
        raise ValueError(
            "replay names no structures: give it a file, or settings with `train` (and `val`)."
        )
    return settings, float(weight)


class BothStructures(Dataset):
    """New structures, and behind them old ones: a batch is of one kind.

    Args:
        new, old: with `__getitems__`.
    """

    def __init__(self, new: Any, old: Any) -> None:
        self.new, self.old = new, old

    def __len__(self) -> int:
        return len(self.new) + len(self.old)

    def __getitems__(self, numbers: Sequence[int]) -> Any:
        first = len(self.new)
        if all(k < first for k in numbers):
            return self.new.__getitems__(list(numbers))
        return self.old.__getitems__([k - first for k in numbers])


class BothBatches(DistributedSampler):
    """Batches of new structures, each once an epoch, and among them batches of old structures.

    To each batch of new structures come `weight` batches of old ones, in a random order. Old ones
    are drawn without repetition until all were drawn. Everything is decided by (seed, epoch), so
    that resumed runs equal uninterrupted ones, and the order of the new structures is that of runs
    without old ones.

    Args:
        new, old: number of structures of each kind.
        batch_size: structures in a batch; of several processes, of each.
        weight: batches of old structures for each batch of new ones.
        processes, rank: how many there are, and number of this one.
        seed: of the order.

    Example:
        >>> for batch in BothBatches(4, 3, 2, weight=0.5):
        ...     print(batch)
        [0, 1]
        [5, 6]
        [3, 2]
    """

    def __init__(
        self,
        new: int,
        old: int,
        batch_size: int,
        *,
        weight: float,
        processes: int = 1,
        rank: int = 0,
        seed: int = 0,
    ) -> None:
        # Lightning would replace any other kind of sampler
        super().__init__(range(new), processes, rank, shuffle=True, seed=seed)  # type: ignore[arg-type]
        self.new, self.old = new, old
        self.batch_size = min(batch_size, super().__len__())
        self.new_batches = super().__len__() // self.batch_size
        self.old_batches = round(weight * self.new_batches)

    def __len__(self) -> int:
        return self.new_batches + self.old_batches

    def __iter__(self) -> Iterator[Any]:
        own, size = list(super().__iter__()), self.batch_size
        batches = [own[k * size : (k + 1) * size] for k in range(self.new_batches)]
        generator = torch.Generator().manual_seed((self.seed + self.epoch) ^ _OWN_STREAM)
        # the same on all processes, of which each takes its share
        count = self.old_batches * size * self.num_replicas
        drawn = torch.zeros(0, dtype=torch.long)
        while len(drawn) < count:
            drawn = torch.cat([drawn, torch.randperm(self.old, generator=generator) + self.new])
        drawn = drawn[:count]
        shares = drawn.view(self.old_batches, self.num_replicas, size)[:, self.rank]
        batches += shares.tolist()
        order = torch.randperm(len(batches), generator=generator).tolist()
        # without old structures, the order of the new ones is that of a run that has none
        yield from (batches[k] for k in (order if self.old_batches else range(len(batches))))
