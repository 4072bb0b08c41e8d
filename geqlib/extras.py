"""Packages that only one part of the library needs."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType


def extra_module(name: str, extra: str) -> ModuleType:
    """Import a module of an optional dependency.

    Args:
        name: of the module.
        extra: of geqlib that installs it.

    Raises:
        ValueError: if it is not installed, with the command that installs it.

    Example:
        >>> extra_module("sklearn_of_the_future", "folds")
        Traceback (most recent call last):
        ...
        ValueError: sklearn_of_the_future is missing: install it by pip install "geqlib[folds]".
    """
    try:
        return import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise ValueError(
            f'{package} is missing: install it by pip install "geqlib[{extra}]".'
        ) from error
