"""Several processes evaluate every graph once, in as many batches each; no process is started."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from geqlib.data.loaders import SplitLoaders
from geqlib.data.packed import PackedGraphs
from geqlib.data.shares import Padding, ShareOfBatches, is_padding


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("processes", [1, 2, 3, 5])
def test_shares_in_order_are_all_graphs_once(processes: int, size: int) -> None:
    """Whatever the remainder, and with fewer graphs than processes."""
    for total in range(12):
        shares = [list(ShareOfBatches(total, size, processes, k)) for k in range(processes)]
        counted = [k for share in shares for part in share for k in part if part_counts(part)]
        assert counted == list(range(total))
        assert len({len(share) for share in shares}) == 1
        assert all(len(part) <= size for share in shares for part in share)


def part_counts(part: list[int]) -> bool:
    return not isinstance(part, Padding)


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_loaders_of_two_processes(workers: int) -> None:
    """Padding is marked, also where batches are made by workers."""
    loaders = [loaded(rank, workers).test_dataloader() for rank in (0, 1)]
    batches = [list(loader) for loader in loaders]
    assert [[b.x.tolist() for b in own] for own in batches] == [[[0.0], [0.0]], [[1.0], [2.0]]]
    assert [[is_padding(b) for b in own] for own in batches] == [[False, True], [False, False]]


def test_training_is_shared_as_before() -> None:
    """All processes have as many training batches, which the next test of resuming relies on."""
    lengths = {len(loaded(rank).train_dataloader()) for rank in (0, 1)}
    assert lengths == {2}


class Numbers(SplitLoaders):
    """Three graphs of one node, whose number it is."""

    drop_last = False

    def __init__(self, workers: int) -> None:
        super().__init__()
        self.batch_size, self.workers = 1, workers
        arrays = {"nodes": [1, 1, 1], "x": torch.arange(3.0)}
        graphs = PackedGraphs(arrays, {"x": "node"})
        self.splits = {"train": graphs, "test": graphs}


def loaded(rank: int, workers: int = 0) -> Any:
    data: Any = Numbers(workers)
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    data.trainer = SimpleNamespace(world_size=2, global_rank=rank, strategy=strategy)
    return data
