"""Warnings of dependencies, which users of the commands cannot act on."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

# advice that Lightning gives on every run
ADVICE = (
    "The '.*' does not have many workers",
    "The number of training batches",
    "LightningCLI's args parameter",
    "Checkpoint directory .* exists and is not empty",
    "Be aware that when using `ckpt_path`",
    "The dirpath has changed",
)
SEED = "lightning.fabric.utilities.seed"  # the logger that says which seed was set


def ignore_advice() -> None:
    """Show no advice of Lightning's, and of deprecations only those of geqlib."""
    for start in ADVICE:
        warnings.filterwarnings("ignore", message=f".*{start}")
    for category in (DeprecationWarning, FutureWarning, PendingDeprecationWarning):
        warnings.filterwarnings("ignore", category=category, module=r"(?!geqlib\b)")
    # Lightning's own category, which it raises from torch's
    warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)`")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)


def in_process_of_a_run() -> None:
    """`ignore_advice` for one of several processes, whose command says the seed."""
    ignore_advice()
    logging.getLogger(SEED).setLevel(logging.WARNING)


class Once(logging.Filter):
    """Lets each text of a logger through once."""

    def __init__(self) -> None:
        super().__init__()
        self.said: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        new = text not in self.said
        self.said.add(text)
        return new


@contextmanager
def seed_said_once() -> Iterator[None]:
    """Lightning says each seed once within a block, however often it is set."""
    logger, once = logging.getLogger(SEED), Once()
    logger.addFilter(once)
    try:
        yield
    finally:
        logger.removeFilter(once)


@contextmanager
def quiet() -> Iterator[None]:
    """`ignore_advice` within a block, in which warnings do not name the line of a dependency that
    they passed through."""
    logger = logging.getLogger("lightning.pytorch")
    level, formatted = logger.level, warnings.formatwarning
    with warnings.catch_warnings():
        ignore_advice()
        warnings.formatwarning = partial(_without_line, formatted)
        try:
            yield
        finally:
            warnings.formatwarning = formatted
            logger.setLevel(level)


def _without_line(
    formatted: Callable[..., str], message: Any, category: type[Warning], *where: Any, **line: Any
) -> str:
    if category is UserWarning:
        return f"Warning: {message}\n"
    return formatted(message, category, *where, **line)
