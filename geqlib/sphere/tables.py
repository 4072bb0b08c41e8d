"""Tables of constants that no cast can round."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

SINGLE = "_float32"  # name of the same table in float32


class Constants(nn.Module):
    """A module with float64 tables that move with it, but are cast only where they are used.

    `module.double()` is therefore exact, also after `module.float()` or `module.half()`. Tables are
    not in the state dict: they follow from the arguments of the module. Each is there in float32,
    too, so that no step has to cast it.

    Args:
        tables: name -> tensor; read them with `table`.
    """

    def __init__(self, **tables: Tensor) -> None:
        super().__init__()
        self._names = tuple(tables)
        for name, table in tables.items():
            self.register_buffer(name, table, persistent=False)
            self.register_buffer(name + SINGLE, table.float(), persistent=False)

    def table(self, name: str, like: Tensor) -> Tensor:
        """A table in the type of `like`."""
        if like.dtype == torch.float32:
            return self.get_buffer(name + SINGLE)
        return self.get_buffer(name).to(like.dtype)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        exact = dict(self._buffers)
        super()._apply(fn, recurse)
        for name, table in exact.items():
            moved = self._buffers[name]
            if table is not None and moved is not None and moved.dtype != table.dtype:
                self._buffers[name] = table.to(moved.device)
        return self

    def __repr__(self) -> str:
        shapes = [f"{name}={list(self.get_buffer(name).shape)}" for name in self._names]
        return f"{type(self).__name__}({', '.join(shapes)})"
