"""Progress of long commands, on standard error and in a terminal alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any


def bar(description: str) -> Callable[[Iterable[Any]], Iterable[Any]]:
    """What goes around a loop, so that a bar says how far it is.

    Args:
        description: what is counted, beside the bar.

    Example:
        >>> list(bar("squares")(range(3)))
        [0, 1, 2]
    """

    def around(steps: Iterable[Any]) -> Iterable[Any]:
        from rich.console import Console
        from rich.progress import track

        console = Console(stderr=True)
        return track(steps, description, console=console, disable=not console.is_terminal)

    return around


def waiting(description: str) -> AbstractContextManager[Any]:
    """A sign of life for work of one step.

    Args:
        description: of the work.

    Example:
        >>> with waiting("compiling"):
        ...     pass
    """
    from rich.console import Console

    # without a terminal, rich writes nothing
    return Console(stderr=True).status(description)
