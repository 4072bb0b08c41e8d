"""The typed outputs of one call of a wrapped module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from geqlib.frames.copies import FrameCopies
from geqlib.symmetry.types import TensorType, parse_type

OutputTypes = str | Sequence[str] | Mapping[str, str]


def output_types(outputs: OutputTypes) -> dict[str | int, TensorType]:
    """The type of each output: by name for a mapping, by position for a sequence, and under the
    position 0 for a module that returns one tensor."""
    if isinstance(outputs, str):
        return {0: parse_type("the output", outputs)}
    if isinstance(outputs, Mapping):
        return {key: parse_type(f"output {key!r}", text) for key, text in outputs.items()}
    return {k: parse_type(f"output {k}", text) for k, text in enumerate(outputs)}


def output(
    results: list[Any],
    outputs: OutputTypes,
    key: str | int,
    type_: TensorType,
    copies: FrameCopies,
    single: bool,
) -> Tensor:
    """One output of the module, joined over all copies of the input, after checks of its shape."""
    parts = [_entry(result, outputs, key, type_) for result in results]
    if single and type_.level == "graph":
        parts = [part[None] for part in parts]
    y, size = torch.cat(parts), copies.of(type_.level)[0].size(0)
    shape = f"{type_.where} has type {type_.text!r}, but the module returned shape {list(y.shape)}"
    if y.dim() == 0 or y.size(0) != size:
        raise ValueError(f"{shape} for {size} {type_.level}s: return one entry for each.")
    if not y.is_floating_point():
        raise ValueError(f"{shape} of {y.dtype}: averages are of floating-point numbers.")
    dim = copies.matrix.size(-1)
    if type_.rotates and dim and (y.dim() < 2 or y.size(-1) != type_.width(dim)):
        raise ValueError(f"{shape}: its last axis must be {type_.width(dim)}.")
    return y


def _entry(result: Any, outputs: OutputTypes, key: str | int, type_: TensorType) -> Tensor:
    """The output with this name or position among those that the module returned."""
    if isinstance(outputs, str):
        value = result
    elif isinstance(outputs, Mapping):
        value = result.get(key) if isinstance(result, Mapping) else None
    else:
        complete = isinstance(result, (tuple, list)) and len(result) == len(outputs)
        value = result[int(key)] if complete else None
    if not isinstance(value, Tensor):
        raise ValueError(
            f"{type_.where} is no tensor in the {type(result).__name__} that the module returned: "
            "say in `outputs` what it returns."
        )
    return value
