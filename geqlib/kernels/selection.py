"""Which operators run as fused kernels: one rule by device, type and shape, with an off switch.

Every kernel has a twin in plain torch, which computes the same to rounding. The twin is taken

- on CPUs, on GPUs older than compute capability 8.0, and without Triton;
- for types that are no plain floating-point numbers, and shapes that a kernel does not know;
- inside torch.compile, torch.export and the transforms of torch.func, and for tensor subclasses;
- inside `plain()`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from geqlib.graph.functional import transformed

DEVICES = {"cuda"}  # tests add "cpu", where Triton's interpreter runs the kernels
TYPES = {torch.float64, torch.float32, torch.float16, torch.bfloat16}
OLDEST = (8, 0)  # compute capability

# of the process, not of a thread: torch runs backward passes of a GPU in threads of its own
_switched_off: list[None] = []
_watchers: list[Counter[tuple[str, str]]] = []


@contextmanager
def plain() -> Iterator[None]:
    """Take the plain twin of every fused kernel, in the whole process while the context lasts.

    Backward passes choose anew: call them inside, too.

    Example:
        >>> with plain():
        ...     pass
    """
    _switched_off.append(None)
    try:
        yield
    finally:
        _switched_off.pop()


@contextmanager
def watch() -> Iterator[Counter[tuple[str, str]]]:
    """Count, inside the context, which form operators took: "fused", or why they did not.

    Example:
        >>> from geqlib.graph import directed_plan
        >>> from geqlib.kernels.edge_product import edge_product
        >>> plan = directed_plan(torch.tensor([[0], [1]]), 2)
        >>> with watch() as choices:
        ...     y = edge_product(torch.ones(2, 1, 3), torch.ones(1, 1, 3), plan)
        >>> dict(choices)
        {('edge_product', 'device cpu'): 1}
    """
    counter: Counter[tuple[str, str]] = Counter()
    _watchers.append(counter)
    try:
        yield counter
    finally:
        _watchers.remove(counter)


def fused(operator: str, *tensors: Tensor | None, supported: bool = True) -> bool:
    """Whether an operator runs as a fused kernel for these tensors.

    Args:
        operator: its name, for `watch`.
        tensors: its floating-point arguments.
        supported: whether the kernel knows their shapes.
    """
    if torch.compiler.is_compiling():
        return False
    reason = _objection([t for t in tensors if t is not None], supported)
    for counter in _watchers:
        counter[operator, reason or "fused"] += 1
    return reason is None


def _objection(tensors: list[Tensor], supported: bool) -> str | None:
    """Why the twin is taken."""
    if _switched_off:
        return "switched off"
    for t in tensors:
        if t.device.type not in DEVICES:
            return f"device {t.device.type}"
        if t.device != tensors[0].device:
            return "devices differ"
        if type(t) not in (Tensor, nn.Parameter):
            return f"a {type(t).__name__}"
        if t.dtype not in TYPES:
            return f"type {t.dtype}"
        if t.is_cuda and _capability(t.device) < OLDEST:
            return "compute capability"
    if not supported:
        return "shape"
    if transformed():
        return "torch.func"
    return None if _has_triton() else "no Triton"


@lru_cache
def _capability(device: torch.device) -> tuple[int, int]:
    return torch.cuda.get_device_capability(device)


@lru_cache
def _has_triton() -> bool:
    return find_spec("triton") is not None
