"""Tables of constants that no cast can round."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn


class Constants(nn.Module):
    """A module with float64 tables that move with it, but are cast only where they are used.

    `module.double()` is therefore exact, also after `module.float()` or `module.half()`. Tables are
    not in the state dict: they follow from the arguments of the module.

    Args:
        tables: name -> tensor; read them with `table`.
    """

    def __init__(self, **tables: Tensor) -> None:
        super().__init__()
        for name, table in tables.items():
            self.register_buffer(name, table, persistent=False)

    def table(self, name: str, like: Tensor) -> Tensor:
        """A table in the type of `like`."""
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
        shapes = [f"{name}={list(table.shape)}" for name, table in self.named_buffers()]
        return f"{type(self).__name__}({', '.join(shapes)})"
