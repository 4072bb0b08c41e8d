"""Operations for which the host waits on an accelerator, counted on any device."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

READING = {
    "_local_scalar_dense",
    "bincount",
    "equal",
    "is_nonzero",
    "masked_select",
    "nonzero",
    "unique_consecutive",
    "unique_dim",
    "_unique2",
}
INDEXED = {"index", "index_put", "index_put_"}


class HostReads(TorchDispatchMode):
    """The names of the operations inside of it that need a number from the device.

    These are values that are read (`.item()`, `bool(tensor)`) and tensors whose sizes depend on
    values. The same operations are counted on a CPU, where they cost nothing.

    Example:
        >>> with HostReads() as reads:
        ...     rows = torch.tensor([True, False]).nonzero()
        >>> reads.names
        ['nonzero']
    """

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.lists = _Lists(self.names)

    def __enter__(self) -> Any:
        self.lists.__enter__()
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self.lists.__exit__(*error)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = func.overloadpacket.__name__
        copied = name == "_to_copy" and _to_host(args[0], kwargs)
        if name in READING or copied or _by_mask(name, args) or _of_unknown_length(func, kwargs):
            self.names.append(name)
        return func(*args, **(kwargs or {}))


class _Lists(TorchFunctionMode):
    """Counts what torch does without an operation on a CPU."""

    def __init__(self, names: list[str]) -> None:
        super().__init__()
        self.names = names

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        if name in ("tolist", "numpy") and isinstance(args[0], Tensor):
            self.names.append(name)
        return func(*args, **(kwargs or {}))


def _by_mask(name: str, args: tuple[Any, ...]) -> bool:
    indices = args[1] if name in INDEXED and len(args) > 1 else ()
    return any(isinstance(x, Tensor) and x.dtype == torch.bool for x in indices)


def _to_host(x: Tensor, kwargs: Any) -> bool:
    device = (kwargs or {}).get("device")
    return x.device.type != "cpu" and device is not None and torch.device(device).type == "cpu"


def _of_unknown_length(func: Any, kwargs: Any) -> bool:
    if func is not torch.ops.aten.repeat_interleave.Tensor:
        return False
    return (kwargs or {}).get("output_size") is None
