"""Shares, folds and groups of a data set."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geqlib.data.partition import Partition


@given(st.integers(12, 80), st.integers(2, 6), st.integers(0, 5), st.booleans(), st.integers(0, 99))
def test_folds_cover_the_data_once(
    count: int, num_folds: int, seed: int, grouped: bool, other: int
) -> None:
    draw = np.random.default_rng(other)
    groups = draw.integers(0, count, count) if grouped else None
    tested = []
    for fold in range(num_folds):
        partition = Partition(val=0.3, fold=fold, num_folds=num_folds, seed=seed)
        try:
            parts = partition.parts(count, groups=groups)
        except ValueError as error:
            assert grouped, error  # few large groups may leave nothing for a part
            return
        whole = np.concatenate(list(parts.values()))
        assert sorted(whole) == list(range(count))
        if groups is not None:
            owners = [set(groups[part]) for part in parts.values()]
            assert not (owners[0] & owners[1] or owners[0] & owners[2] or owners[1] & owners[2])
        tested += parts["test"].tolist()
    assert sorted(tested) == list(range(count))


def test_each_part_has_its_share_of_each_class() -> None:
    classes = np.array([0] * 80 + [1] * 20)
    parts = Partition(val=0.2, test=0.2, seed=3).parts(100, classes)
    assert {k: len(v) for k, v in parts.items()} == {"train": 60, "val": 20, "test": 20}
    assert [classes[part].sum() for part in parts.values()] == [12, 4, 4]
    for fold in range(5):
        test = Partition(fold=fold, num_folds=5).parts(100, classes)["test"]
        assert classes[test].sum() == 4


def test_seeds_are_other_parts() -> None:
    first, again, other = (Partition(seed=seed).parts(50)["test"].tolist() for seed in (0, 0, 1))
    assert first == again != other


def test_large_groups_are_trained_on() -> None:
    groups = np.array([0] * 6 + [1, 1, 2, 3])
    parts = Partition(val=0.2, test=0.2).parts(10, groups=groups)
    assert {k: v.tolist() for k, v in parts.items()} == {
        "train": [0, 1, 2, 3, 4, 5],
        "val": [6, 7],
        "test": [8, 9],
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"val": 1.0}, r"val is a share in \[0, 1\), got 1.0"),
        ({"val": 0.5, "test": 0.5}, "leave nothing to train on: choose smaller"),
        ({"fold": 3, "num_folds": 3}, "fold is 3: choose one of 0 to 2"),
        ({"num_folds": 1}, "num_folds must be at least 2"),
    ],
)
def test_options(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Partition(**options)


def test_parts_that_would_be_empty() -> None:
    with pytest.raises(ValueError, match="nothing in the val part of 4 graphs: choose other"):
        Partition(val=0.1, test=0.3).parts(4)
    with pytest.raises(ValueError, match="num_folds is 10, but there are 4 graphs"):
        Partition(fold=0).parts(4)
    assert Partition(val=0, test=0.3).parts(4).keys() == {"train", "test"}
