"""Memory for intermediate results, which a thread keeps from one call to the next."""

from __future__ import annotations

import threading
from collections.abc import Callable
from math import prod

import torch
from torch import Tensor

# gives the tensor that an operation writes to (`out=`), or None for a new one
New = Callable[..., Tensor | None]
_kept = threading.local()


class Scratch:
    """Hands out parts of one buffer, one after the other, until `clear` takes all of them back.

    The system takes freed memory back, and gives it out again page by page: with tensors of some
    megabytes that takes longer than what is computed in them.

    Args:
        like: a tensor on the CPU of the type that is handed out.

    Example:
        >>> new = Scratch(torch.zeros(1))
        >>> torch.add(torch.ones(2, 3), 1, out=new(2, 3)).sum()
        tensor(12.)
    """

    def __init__(self, like: Tensor) -> None:
        self.like, self.used = like, 0

    def __call__(self, *shape: int) -> Tensor:
        size, start = prod(shape), self.used
        self.used += -(-size // 16) * 16  # parts start at multiples of a cache line
        buffer = self._buffer()
        if self.used > len(buffer):
            return self.like.new_empty(shape)
        return buffer[start : start + size].view(shape)

    def clear(self) -> None:
        """Take everything back, and keep as much memory as was asked for."""
        if self.used > len(self._buffer()):
            _buffers()[self.like.dtype] = self.like.new_empty(self.used)
        self.used = 0

    def _buffer(self) -> Tensor:
        return _buffers().setdefault(self.like.dtype, self.like.new_empty(0))


def fresh(*shape: int) -> None:
    """New memory for every result."""


def _buffers() -> dict[torch.dtype, Tensor]:
    if not hasattr(_kept, "buffers"):
        _kept.buffers = {}
    return _kept.buffers
