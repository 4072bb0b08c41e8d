"""Classes and functions of your own, named by their import path."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module
from typing import Any

PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")


def is_import_path(text: str) -> bool:
    """Whether a text can name a class or function of a module.

    Example:
        >>> is_import_path("my_project.data.rings"), is_import_path("data/rings.g6")
        (True, False)
    """
    return PATH.fullmatch(text) is not None


def call_by_path(path: str, arguments: Mapping[str, Any]) -> Any:
    """What a class or function returns, which is named by its import path.

    Args:
        path: such as "my_project.data.rings"; `geqlib` commands find modules of the folder that
            they are called in.
        arguments: by name.

    Raises:
        ValueError: if there is no such module or name, it cannot be called, or not so.

    Example:
        >>> call_by_path("fractions.Fraction", {"numerator": 3, "denominator": 6})
        Fraction(1, 2)
    """
    module, _, name = path.rpartition(".")
    try:
        thing = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"{path} cannot be imported ({error}): name a class or function by its module, and run "
            "geqlib in the folder that the module is in."
        ) from error
    if not callable(thing):
        raise ValueError(f"{path} is a {type(thing).__name__}: name a class or a function.")
    try:
        return thing(**arguments)
    except (TypeError, ValueError, OSError, KeyError) as error:
        listed = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        raise ValueError(f"{path}({listed}) fails ({type(error).__name__}: {error}).") from error
