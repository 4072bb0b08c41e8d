"""Integers on the command line stay integers, whatever was imported before."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import reduce
from operator import or_
from types import UnionType
from typing import Any, Union, get_args, get_origin


def integers_first(function: Callable[..., Any]) -> None:
    """Let arguments that may be int or float be parsed as int where they can be.

    Lightning takes 1 for one batch and 1.0 for all of them, and `Optional[Union[int, float]]` for
    its type. Python keeps such types in a cache in which the order of int and float does not count,
    so that the module that is imported first, of any library, decides which of the two a parser
    tries first.

    Args:
        function: whose annotations are put in order.

    Example:
        >>> def trained(batches: Union[float, int, None] = None) -> None: ...
        >>> trained.__annotations__ = {"batches": Union[float, int, None]}
        >>> integers_first(trained)
        >>> trained.__annotations__
        {'batches': int | float | None}
    """
    annotations = inspect.unwrap(function).__annotations__
    for name, annotation in annotations.items():
        parts = get_args(annotation)
        if get_origin(annotation) in (Union, UnionType) and {int, float} <= {*parts}:
            rest = [part for part in parts if part is not int]
            annotations[name] = reduce(or_, [int, *rest])
