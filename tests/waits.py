"""How often the host would wait for a device, counted on a CPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

WAITING = {
    "_local_scalar_dense",
    "_unique2",
    "bincount",
    "equal",
    "masked_select",
    "nonzero",
    "unique_consecutive",
    "unique_dim",
}


class Waits(TorchDispatchMode):
    """Names of the operations inside the context whose results the host has to know.

    Example:
        >>> with Waits() as waits:
        ...     x = torch.arange(3)[torch.tensor([True, False, True])]
        >>> waits.names
        ['index by a mask']
    """

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name, options = func.overloadpacket.__name__, kwargs or {}
        if name in WAITING:
            self.names.append(name)
        if name == "repeat_interleave" and options.get("output_size") is None:
            self.names.append(name)
        if name == "index" and any(x is not None and x.dtype == torch.bool for x in args[1]):
            self.names.append("index by a mask")
        return func(*args, **options)


def waits(function: Callable[[], Any]) -> list[str]:
    """What the host waits for in function()."""
    tolist = Tensor.tolist
    with Waits() as mode:

        def counted(x: Tensor) -> Any:
            mode.names.append("tolist")
            return tolist(x)

        with patch.object(Tensor, "tolist", counted):
            function()
    return mode.names
