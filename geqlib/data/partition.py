"""Which part of a data set is for training, validation and testing: shares, or folds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

from geqlib.data.copies import warn_of_copies
from geqlib.data.loaders import SplitLoaders, noun_of
from geqlib.data.packed import PackedGraphs

Parts = dict[str, np.ndarray]


@dataclass(frozen=True)
class Partition:
    """Shares of a data set, or one of its folds; a function of its arguments alone.

    Args:
        val, test: shares of the data; 0 for none.
        fold: one of `num_folds`, which is then tested; `val` is a share of the others. None for
            shares of the whole.
        num_folds: number of folds, which differ in size by one at most.
        seed: of the order in which the data are dealt out.

    Raises:
        ValueError: shares that leave nothing to train on, or a fold that there is not.

    Example:
        >>> parts = Partition(val=0.2, test=0.2).parts(10)
        >>> {name: len(part) for name, part in parts.items()}
        {'train': 6, 'val': 2, 'test': 2}
    """

    val: float = 0.1
    test: float = 0.1
    fold: int | None = None
    num_folds: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        for name, share in (("val", self.val), ("test", self.test)):
            if not 0 <= share < 1:
                raise ValueError(f"{name} is a share in [0, 1), got {share}.")
        if self.fold is None and self.val + self.test >= 1:
            raise ValueError(
                f"val {self.val} and test {self.test} leave nothing to train on: choose smaller "
                "shares."
            )
        if self.num_folds < 2:
            raise ValueError(f"num_folds must be at least 2, got {self.num_folds}.")
        if self.fold is not None and not 0 <= self.fold < self.num_folds:
            raise ValueError(f"fold is {self.fold}: choose one of 0 to {self.num_folds - 1}.")

    def parts(
        self, count: int, classes: np.ndarray | None = None, groups: np.ndarray | None = None
    ) -> Parts:
        """Numbers of the data in each part, ascending; there is no "val" or "test" of share 0.

        Args:
            count: of the data.
            classes: [count]; each part then has its share of each class, up to one.
            groups: [count]; what is in one group stays in one part. Large groups are trained on.

        Raises:
            ValueError: if a part would be empty.
        """
        if groups is not None:
            return self._checked(self._of_groups(count, groups))
        order = np.random.default_rng(self.seed).permutation(count)
        if classes is not None:
            order = order[np.argsort(classes[order], kind="stable")]
        if self.fold is None:
            test = _spread(count, round(self.test * count))
        else:
            if count < self.num_folds:
                raise ValueError(
                    f"num_folds is {self.num_folds}, but there are {count} graphs to divide: "
                    "choose fewer folds."
                )
            test = np.arange(self.fold, count, self.num_folds)
        rest = np.delete(order, test)
        of = count if self.fold is None else len(rest)
        val = _spread(len(rest), round(self.val * of))
        parts = {"train": np.delete(rest, val), "val": rest[val], "test": order[test]}
        return self._checked(parts)

    def _of_groups(self, count: int, groups: np.ndarray) -> Parts:
        """Large groups first, into the first part in which they fit."""
        members = [np.flatnonzero(groups == name) for name in np.unique(groups)]
        members.sort(key=lambda group: (len(group), group[0]), reverse=True)
        if self.fold is None:
            shares = {"val": round(self.val * count), "test": round(self.test * count)}
            return _filled(members, {"train": count - sum(shares.values())} | shares)
        folds: list[list[np.ndarray]] = [[] for _ in range(self.num_folds)]
        for group in members:  # to the smallest fold
            min(folds, key=lambda fold: sum(map(len, fold))).append(group)
        test = folds.pop(self.fold)
        rest = [group for group in members if not any(group is other for other in test)]
        size = sum(map(len, rest))
        val = round(self.val * size)
        parts = _filled(rest, {"train": size - val, "val": val})
        return parts | {"test": np.concatenate([np.empty(0, int), *test])}

    def _checked(self, parts: Parts) -> Parts:
        shares = {"train": 1.0, "val": self.val, "test": self.test if self.fold is None else 1.0}
        total = sum(map(len, parts.values()))
        for name in [name for name, share in shares.items() if share == 0]:
            parts.pop(name, None)
        for name, part in parts.items():
            if not len(part):
                raise ValueError(
                    f"There is nothing in the {name} part of {total} graphs: choose other shares "
                    "(val, test) or fewer folds, or 0 to do without validation."
                )
        return {name: np.sort(part) for name, part in parts.items()}


class PartitionedLoaders(SplitLoaders):
    """`SplitLoaders` of one data set, in shares or folds.

    In a fold, its test part is measured beside the validation part after each epoch, as
    `geqlib cv` needs it.

    Attributes:
        partition: which part is what.
        validation: share for validation, as `geqlib cv` asks for it.
        num_folds: of `geqlib cv`.
    """

    drop_last = False
    divided = False  # into parts that have no graph in common
    partition: Partition

    @property
    def validation(self) -> float:
        return self.partition.val

    @property
    def num_folds(self) -> int:
        return self.partition.num_folds

    def train_dataloader(self) -> DataLoader:
        if self.divided:
            warn_of_copies(self.splits, noun_of(self))
        return super().train_dataloader()

    def val_dataloader(self) -> Any:
        names = ["val"] if self.partition.fold is None else ["val", "test"]
        parts: list[DataLoader] = [self._in_order(name) for name in names if name in self.splits]
        if not parts:
            return self._in_order("val")  # which says what is missing
        return parts if len(parts) > 1 else parts[0]

    def divide(
        self,
        graphs: PackedGraphs,
        *,
        listed: Mapping[str, np.ndarray] | None = None,
        classes: np.ndarray | None = None,
        groups: np.ndarray | None = None,
    ) -> None:
        """Fill `splits`.

        Args:
            graphs: all of them.
            listed: numbers of those that have a file of their own, by split.
            classes, groups: see `Partition.parts`.
        """
        listed = dict(listed or {})
        if listed and self.partition.fold is not None:
            raise ValueError(
                "A fold tests a part of the data, but val or test name files of their own: leave "
                "them out, or do without folds."
            )
        taken = np.concatenate([np.empty(0, int), *listed.values()])
        free = np.setdiff1d(np.arange(len(graphs)), taken)
        own = self.partition
        drawn = Partition(
            val=0.0 if "val" in listed else own.val,
            test=0.0 if "test" in listed else own.test,
            fold=own.fold,
            num_folds=own.num_folds,
            seed=own.seed,
        )
        chosen = drawn.parts(
            len(free),
            None if classes is None else classes[free],
            None if groups is None else groups[free],
        )
        self.numbers = {name: free[part] for name, part in chosen.items()} | listed
        self.splits = {name: graphs.subset(part) for name, part in self.numbers.items()}
        self.divided = True

    def degrees(self) -> list[int]:
        """How many training nodes have 0, 1, 2, ... neighbours, for PNA's scalers."""
        return self.splits["train"].degrees()


def checked_batch_size(size: int) -> int:
    """A positive number of graphs.

    Raises:
        ValueError: if it is not.
    """
    if size < 1:
        raise ValueError(f"batch_size must be positive, got {size}.")
    return size


def _spread(count: int, chosen: int) -> np.ndarray:
    """That many positions of `count`, at equal distances, so that each class has its share."""
    return ((np.arange(chosen) + 0.5) * count / max(chosen, 1)).astype(int)


def _filled(groups: list[np.ndarray], sizes: dict[str, int]) -> Parts:
    parts: dict[str, list[np.ndarray]] = {name: [] for name in sizes}
    for group in groups:
        room = {name: size - sum(map(len, parts[name])) for name, size in sizes.items()}
        fitting = [name for name, free in room.items() if free >= len(group)]
        parts[fitting[0] if fitting else max(room, key=lambda name: room[name])].append(group)
    return {name: np.concatenate([np.empty(0, int), *part]) for name, part in parts.items()}
