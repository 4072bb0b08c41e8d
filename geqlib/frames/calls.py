"""Calling a module on the copies of a batch, and putting what it returns together again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from geqlib.frames.copies import FrameCopies
from geqlib.symmetry.types import TensorType, irreps_dim

Outputs = str | Sequence[str] | Mapping[str, str]


def call_stacked(
    module: nn.Module, shown: FrameCopies, seen: dict[str, Tensor], *, batch: bool, sizes: bool
) -> Any:
    """One call for all copies, as further samples of one batch."""
    extra: dict[str, Any] = {"batch": shown.node_copy} if batch else {}
    if sizes:
        extra["num_graphs"] = shown.sample.size(0)
    return module(**seen, **extra)


def call_each(
    module: nn.Module, shown: FrameCopies, seen: dict[str, Tensor], types: Mapping[str, TensorType]
) -> list[Any]:
    """One call for each copy of the only sample, which is not told of the others."""
    copies, found = len(shown.sample), []
    for k in range(copies):
        part: dict[str, Tensor] = {}
        for name, x in seen.items():
            type_ = types[name]
            rows = x.size(type_.axis) // copies
            part[name] = x.narrow(type_.axis, k * rows, rows)
            if type_.kind == "edge_index":
                part[name] = part[name] - k * (len(shown.nodes) // copies)
            elif type_.level == "graph":
                part[name] = part[name][0]
        found.append(module(**part))
    return found


def put_together(
    found: Any,
    outputs: Outputs,
    types: Mapping[str | int, TensorType],
    plan: FrameCopies,
    shown: FrameCopies,
    single: bool,
) -> Any:
    """The averages of what a module returned, in the form in which it returned it."""
    results = found if single else [found]
    averages = {}
    for key, type_ in types.items():
        parts = [_one_of(result, outputs, key, type_) for result in results]
        if single and type_.level == "graph":
            parts = [part[None] for part in parts]
        x = torch.cat(parts)
        _check_output(x, type_, shown)
        mean = plan.average(x, type_)
        averages[key] = mean[0] if single and type_.level == "graph" else mean
    if isinstance(outputs, str):
        return averages[0]
    return averages if isinstance(outputs, Mapping) else tuple(averages.values())


def _one_of(result: Any, outputs: Outputs, key: str | int, type_: TensorType) -> Tensor:
    if isinstance(outputs, str):
        value = result
    elif isinstance(outputs, Mapping):
        value = result.get(key) if isinstance(result, Mapping) else None
    else:
        many = isinstance(result, (tuple, list)) and len(result) == len(outputs)
        value = result[int(key)] if many else None
    if not isinstance(value, Tensor):
        raise ValueError(
            f"{type_.where} is no tensor in the {type(result).__name__} that the module returned: "
            "say in `outputs` what it returns."
        )
    return value


def _check_output(x: Tensor, type_: TensorType, shown: FrameCopies) -> None:
    rows = shown.of(type_.level)[0].size(0)
    shape = f"{type_.where} has type {type_.text!r}, but the module returned shape {list(x.shape)}"
    if x.dim() == 0 or x.size(0) != rows:
        raise ValueError(f"{shape} for {rows} {type_.level}s: return one row for each.")
    if not x.is_floating_point():
        raise ValueError(f"{shape} of {x.dtype}: averages are of floating-point numbers.")
    dim = shown.matrix.size(-1)
    if not type_.rotates or dim == 0:
        return
    last = dim if type_.kind in ("point", "vector") else irreps_dim(type_.kind)
    if x.dim() < 2 or x.size(-1) != last:
        raise ValueError(f"{shape}: its last axis must be {last}.")
