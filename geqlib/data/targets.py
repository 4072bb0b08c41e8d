"""Targets of graphs and nodes as people write them: classes as text or numbers, or numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

Kind = Literal["classes", "numbers"]
UNLABELLED = -1
LARGEST = float(np.finfo(np.float32).max)


def checked_units(units: Mapping[str, str] | None, targets: Sequence[str]) -> dict[str, str]:
    """Units of targets, for tables and reports: numbers stay as they are.

    Raises:
        ValueError: a name that is not among the targets.

    Example:
        >>> checked_units({"logp": "log10"}, ["logp", "soluble"])
        {'logp': 'log10'}
    """
    own = {str(name): str(unit) for name, unit in (units or {}).items()}
    unknown = next((name for name in own if name not in targets), None)
    if unknown is not None:
        raise ValueError(
            f"units names {unknown!r}, which is not among the targets: choose from "
            f"{', '.join(targets)}."
        )
    return own


def encoded(
    values: Sequence[Any], kind: Kind, what: str, names: Sequence[Any] | None = None
) -> tuple[np.ndarray, list[Any] | None]:
    """Targets as an array, and the classes in ascending order.

    Args:
        values: one for each graph or node: text, a number, or None or NaN where it is unknown; or,
            of numbers, a list of such.
        kind: "classes" are numbered in ascending order from 0, -1 where they are unknown; "numbers"
            are [n, targets] in float32, NaN where they are unknown.
        what: what errors call a value, with its number in place of {}.
        names: of the targets of several numbers.

    Raises:
        ValueError: no value is known, classes of several kinds or that are no whole numbers, or
            numbers that are none.

    Example:
        >>> encoded(["tree", None, "ring"], "classes", "the class of graph {}")
        (array([ 1, -1,  0]), ['ring', 'tree'])
    """
    if kind == "numbers":
        width = len(names or [None])
        rows = [_numbers(value, width, what.format(k)) for k, value in enumerate(values)]
        array = np.array(rows, dtype=np.float32).reshape(-1, width)
        empty = np.flatnonzero(np.isnan(array).all(0))
        if len(empty):
            own = f" of {names[empty[0]]!r}" if names else ""
            raise ValueError(f"{what.format(0)}{own} is unknown, and so are all others: give some.")
        return array, None
    labels = [_label(value, what.format(k)) for k, value in enumerate(values)]
    present = [label for label in labels if label is not None]
    if len({isinstance(label, str) for label in present}) != 1:
        raise ValueError(
            f"{what.format(0)} and others are "
            f"{'unknown' if not present else 'of several kinds, text and numbers'}: give one kind."
        )
    classes = sorted(set(present))
    number = {label: k for k, label in enumerate(classes)} | {None: UNLABELLED}
    return np.array([number[label] for label in labels], dtype=np.int64), classes


def encoded_as(
    values: Sequence[Any], kind: Kind, what: str, classes: Sequence[Any] | None, width: int
) -> np.ndarray | None:
    """Targets that are optional, numbered as the classes of a training set are.

    Args:
        values, kind, what: see `encoded`.
        classes: of the training set; None of numbers.
        width: number of targets.

    Returns:
        As of `encoded`; None where nothing is known.

    Raises:
        ValueError: a class that the training set does not have.

    Example:
        >>> encoded_as(["tree", None], "classes", "the class of graph {}", ["ring", "tree"], 1)
        array([ 1, -1])
    """
    if all(value is None or value == [None] * width for value in map(_plain, values)):
        return None
    if kind == "numbers":
        rows = [_numbers(value, width, what.format(k)) for k, value in enumerate(values)]
        return np.array(rows, dtype=np.float32).reshape(-1, width)
    number = {label: k for k, label in enumerate(classes or [])} | {None: UNLABELLED}
    labels = [_label(value, what.format(k)) for k, value in enumerate(values)]
    other = next((k for k, label in enumerate(labels) if label not in number), None)
    if other is not None:
        raise ValueError(
            f"{what.format(other)} is {labels[other]!r}, which is none of the model's classes, "
            f"{', '.join(map(str, classes or []))}: correct it, or leave it out."
        )
    return np.array([number[label] for label in labels], dtype=np.int64)


def widest(values: Sequence[Any]) -> int:
    """The largest number of numbers in a value; at least 1."""
    plain = [_plain(value) for value in values]
    return max((len(value) for value in plain if isinstance(value, list)), default=1)


def _plain(value: Any) -> Any:
    """Text, a number, a list of these, or None."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list) and len(value) == 1:
        return _plain(value[0])
    if isinstance(value, float) and math.isnan(value):
        return None
    return value


def _label(value: Any, what: str) -> str | int | None:
    value = _plain(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if value is not None and not isinstance(value, str | int):
        raise ValueError(
            f'{what} is {value!r}: classes are text or whole numbers; with kind="numbers" it is '
            "learnt as a number."
        )
    return value


def _numbers(value: Any, width: int, what: str) -> list[float]:
    value = _plain(value)
    row = value if isinstance(value, list) else [value] * (1 if value is not None else width)
    if len(row) != width:
        raise ValueError(f"{what} has {len(row)} numbers, but there are {width} targets.")
    numbers = []
    for part in row:
        try:
            numbers.append(math.nan if part is None else float(part))
        except (TypeError, ValueError) as error:
            raise ValueError(
                f'{what} is {str(part)[:40]!r}, which is no number: with kind="classes" it is the '
                "name of a class."
            ) from error
        if abs(numbers[-1]) > LARGEST:
            raise ValueError(
                f"{what} is infinite, or as good as that: correct it, or leave it out."
            )
    return numbers
