"""Warnings of dependencies, which users of the commands cannot act on."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

# advice that Lightning gives on every run
ADVICE = (
    "The '.*' does not have many workers",
    "The number of training batches",
    "LightningCLI's args parameter",
    "Checkpoint directory .* exists and is not empty",
    "Be aware that when using `ckpt_path`",
    "The dirpath has changed",
)


def ignore_advice() -> None:
    """Show no advice of Lightning's, and of deprecations only those of geqlib."""
    for start in ADVICE:
        warnings.filterwarnings("ignore", message=f".*{start}")
    for category in (DeprecationWarning, FutureWarning, PendingDeprecationWarning):
        warnings.filterwarnings("ignore", category=category, module=r"(?!geqlib\b)")
    # Lightning's own category, which it raises from torch's
    warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)`")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)


@contextmanager
def quiet() -> Iterator[None]:
    """`ignore_advice` within a block."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    with warnings.catch_warnings():
        ignore_advice()
        try:
            yield
        finally:
            logger.setLevel(level)
