"""Arguments and checkpoints hold plain values, whatever they were given as."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from enum import Enum, IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from e3nn import o3

from geqlib.files.plain import plain

Pair = namedtuple("Pair", "a b")


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 2


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float64(0.5), 0.5),
        (np.float32(0.5), 0.5),
        (np.longdouble(0.5), 0.5),
        (np.int64(3), 3),
        (np.uint8(3), 3),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (np.array([[1, 2]]), [[1, 2]]),
        (np.array(2.0), 2.0),
        (np.array(["a"]), ["a"]),
        (torch.tensor([1.0, 2.0]), [1.0, 2.0]),
        (torch.tensor(3, dtype=torch.int32), 3),
        (torch.nn.Parameter(torch.ones(1)), [1.0]),
        (torch.Size([2, 3]), (2, 3)),
        (torch.device("cpu"), "cpu"),
        (Path("a") / "b", "a/b"),
        (o3.Irreps("2x0e+1x1o"), "2x0e+1x1o"),
        (o3.Irrep("1o"), "1o"),
        (Colour.RED, "red"),
        (Level.HIGH, 2),
        (range(3), [0, 1, 2]),
        (Pair(np.int64(1), Path("x")), (1, "x")),
        ({np.int64(1): [np.float64(2.0)]}, {1: [2.0]}),
        ({"a": {"b": (None, Colour.RED)}}, {"a": {"b": (None, "red")}}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_become_plain(value: Any, expected: Any) -> None:
    """The value is the same, its type one of Python's own, at every depth."""
    result = plain(value)
    assert result == expected and _types(result) == _types(expected)


@pytest.mark.parametrize(
    "value",
    [print, lambda x: x, object(), {1, 2}, b"x", np.array([None]), np.datetime64("2020"), int],
    ids=lambda value: type(value).__name__,
)
def test_others_are_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"options\['f'\]\[1\] is a .* checkpoint cannot hold"):
        plain({"f": [0, value]}, "options")


def test_plain_values_stay_the_same_objects() -> None:
    """Checkpoints are not copied, and state dictionaries keep their versions."""
    state: Any = OrderedDict(w=torch.ones(1))
    state._metadata = {"": {"version": 2}}
    whole = {"state_dict": state, "epoch": 1, "rates": [0.1, (1, "a")]}
    assert plain(whole, tensors=True) is whole


def test_tensors_of_checkpoints_stay() -> None:
    value = plain({"w": torch.ones(2), "a": np.ones(2)}, tensors=True)
    assert torch.equal(value["w"], torch.ones(2)) and torch.equal(
        value["a"], torch.ones(2, dtype=torch.float64)
    )


def _types(value: Any) -> Any:
    if isinstance(value, dict):
        return {_types(k): _types(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value), tuple(map(_types, value))
    return type(value)
