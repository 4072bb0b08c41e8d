"""Evaluation by several processes: each measures its share, and every graph counts once."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from typing import Any

from torch.utils.data import Dataset
from torch.utils.data.distributed import DistributedSampler

PADDING = "is_padding"  # attribute of batches that are evaluated and do not count


class ShareOfBatches(DistributedSampler):
    """The batches of one process: consecutive graphs, so that all shares in order are all graphs.

    Every process has the same number of batches, because processes wait for each other. Where a
    share has too few graphs for that, or none, its last batches are `Padding`.

    Args:
        total: number of graphs.
        batch_size: graphs in a batch, at most.
        processes: how many there are.
        rank: number of this one.

    Example:
        >>> [list(ShareOfBatches(5, 2, 2, rank)) for rank in (0, 1)]
        [[[0, 1], Padding([0])], [[2, 3], [4]]]
    """

    def __init__(self, total: int, batch_size: int, processes: int, rank: int) -> None:
        # Lightning would replace any other kind of sampler by one that repeats graphs
        super().__init__(range(total), processes, rank, shuffle=False)  # type: ignore[arg-type]
        self.graphs = range(rank * total // processes, (rank + 1) * total // processes)
        self.batch_size = batch_size
        self.batches = ceil(ceil(total / processes) / batch_size)  # of the largest share

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[Any]:
        for k in range(self.batches):
            graphs = self.graphs[k * self.batch_size : (k + 1) * self.batch_size]
            yield list(graphs) if graphs else Padding([0])


class Padding(list):
    """Numbers of graphs that make up a batch which does not count."""

    def __repr__(self) -> str:
        return f"Padding({super().__repr__()})"


class WholeBatches(Dataset):
    """A data set that is indexed by the numbers of a whole batch.

    Args:
        data: with `__getitems__`.
    """

    def __init__(self, data: Any) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, numbers: list[int]) -> Any:
        batch = self.data.__getitems__(list(numbers))
        if isinstance(numbers, Padding):
            setattr(batch, PADDING, True)
        return batch


def is_padding(batch: Any) -> bool:
    """Whether a batch is evaluated for the sake of other processes alone."""
    return bool(getattr(batch, PADDING, False))
