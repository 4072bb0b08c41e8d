"""Tasks: what is learned, its loss and its metrics."""

from typing import Any


def __getattr__(name: str) -> Any:
    from geqlib.moved import moved_name

    return moved_name(__name__, name)
