"""Splits: disjoint, whole, and a function of their arguments."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geqlib.data.molecules.splits import split_frames


def lists(parts):
    return {name: part.tolist() for name, part in parts.items()}


@given(
    count=st.integers(1, 60),
    val=st.one_of(st.integers(0, 20), st.floats(0, 0.99)),
    test=st.one_of(st.integers(0, 20), st.floats(0, 0.99)),
    seed=st.integers(0, 5),
)
def test_parts_are_disjoint_and_whole(count, val, test, seed):
    sizes = {
        k: round(v * count) if isinstance(v, float) else v for k, v in (("v", val), ("t", test))
    }
    if sum(sizes.values()) >= count:
        with pytest.raises(ValueError, match=r"left|leave some"):
            split_frames(range(count), val=val, test=test, seed=seed)
        return
    parts = lists(split_frames(range(count), val=val, test=test, seed=seed))
    assert (len(parts["val"]), len(parts["test"])) == (sizes["v"], sizes["t"])
    assert sorted(chain(*parts.values())) == list(range(count))
    assert all(part == sorted(part) for part in parts.values())
    assert parts == lists(split_frames(range(count), val=val, test=test, seed=seed))


def test_seed():
    one, other = (lists(split_frames(range(100), val=0.5, seed=seed)) for seed in (0, 1))
    assert one != other


def test_smaller_training_sets_are_parts_of_larger_ones():
    whole = lists(split_frames(range(50), val=10, test=5))
    last = set(whole["train"])
    for train in (35, 20, 3, 1):
        parts = lists(split_frames(range(50), val=10, test=5, train=train))
        assert len(parts["train"]) == train and set(parts["train"]) <= last
        assert (parts["val"], parts["test"]) == (whole["val"], whole["test"])
        last = set(parts["train"])


def test_lists_are_of_frame_numbers():
    numbers = [3, 4, 7, 9, 10, 11]  # others were left out
    parts = split_frames(numbers, val=[9, 4], test=1)
    assert parts["val"].tolist() == [1, 3]
    assert sorted(np.concatenate(list(parts.values()))) == list(range(6))
    assert split_frames(numbers, val=[], test=[])["train"].tolist() == list(range(6))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"val": [1, 2], "test": [2, 3]}, "val and test list the same frame"),
        ({"val": [1, 1]}, "val lists a frame twice"),
        ({"test": [10]}, "test lists frame 10, which does not exist: .* from 0 to 9"),
        ({"val": [-1]}, "val lists frame -1"),
        ({"val": 1.0}, "val is 1.0: expected a fraction below 1, a count, or a list"),
        ({"val": -1}, "val is -1: expected"),
        ({"test": -0.1}, "test is -0.1: expected"),
        ({"val": True}, "val is True: expected"),
        ({"test": float("nan")}, "test is nan: expected"),
        ({"val": 6, "test": 5}, "test asks for 5 frames, but 4 of 10 are left"),
        ({"val": 5, "test": 0.5}, "val and test take all 10 frames"),
        ({"val": 5, "train": 6}, "num_train is 6, but there are 5 frames"),
        ({"train": 0}, "num_train is 0"),
    ],
    ids=str,
)
def test_wrong_arguments(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        split_frames(range(10), **options)
