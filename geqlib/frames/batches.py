"""The typed inputs of one call of a wrapped module."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from geqlib.graph.checks import as_index, check_edges, values_readable
from geqlib.symmetry.types import TensorType, Typed


@dataclass(frozen=True)
class Batch:
    """Tensors with their types, and the sample to which each entry belongs.

    Args:
        tensors: name -> (tensor, type).
        samples: for "node", "edge" and "graph", the sample of each entry.
        count: number of samples.
        single: whether it is one sample, without `batch`; graph inputs then have a new first axis.
        sized: whether `num_graphs` was passed.
    """

    tensors: Typed
    samples: dict[str, Tensor]
    count: int
    single: bool
    sized: bool

    @property
    def edge_index(self) -> Tensor | None:
        return next((x for x, t in self.tensors.values() if t.kind == "edge_index"), None)


def typed_batch(
    arguments: Mapping[str, Any],
    types: Mapping[str, TensorType],
    dim: int,
    *,
    dense: bool,
    check: bool,
) -> Batch:
    """The arguments of a call, sorted and checked.

    Args:
        arguments: tensors by name, `batch` and `num_graphs`; what is None is left out.
        types: of the tensors.
        dim: of the space that is rotated, 0 if none is.
        dense: whether the first axis of all tensors numbers samples.
        check: whether to look at shapes and, outside of `values_unread`, at values.

    Raises:
        ValueError: names without a type, shapes that contradict it, numbers of samples or nodes out
            of range.
    """
    named = {
        name: x
        for name, x in arguments.items()
        if x is not None and name not in ("batch", "num_graphs")
    }
    untyped = [name for name in named if name not in types]
    if untyped:
        raise ValueError(f"input {untyped[0]!r} has no type: name it in `inputs`.")
    named = {k: as_index(x, k) if types[k].kind == "edge_index" else x for k, x in named.items()}
    batch, size = arguments.get("batch"), arguments.get("num_graphs")
    batch = None if batch is None else as_index(batch, "batch")
    single = batch is None and not dense
    if single:
        named = {k: x[None] if types[k].level == "graph" else x for k, x in named.items()}
    tensors = {name: (x, types[name]) for name, x in named.items() if types[name].kind != "batch"}
    if not tensors:
        raise ValueError(f"no inputs are given: pass {', '.join(types)} by name.")
    if check:
        _check_indices(tensors, batch)
    samples, count = _samples(tensors, batch, size, dense)
    if check:
        for x, type_ in tensors.values():
            _check_shape(x, type_, dim, len(samples[type_.level]))
        if batch is not None and len(batch) and values_readable():
            low, high = map(int, torch.aminmax(batch))
            if low < 0 or high >= count:
                raise ValueError(f"batch numbers samples beyond num_graphs={count}: count from 0.")
    return Batch(tensors, samples, count, single, size is not None)


def _samples(
    tensors: Typed, batch: Tensor | None, size: int | None, dense: bool
) -> tuple[dict[str, Tensor], int]:
    first = next(iter(tensors.values()))[0]
    if dense:
        count = first.size(0)
        node = torch.arange(count, device=first.device)
    elif batch is None:
        nodes = next((x.size(0) for x, t in tensors.values() if t.level == "node"), 0)
        node, count = torch.zeros(nodes, dtype=torch.long, device=first.device), 1
    else:
        node = batch
        count = size if size is not None else int(batch.max()) + 1 if batch.size(0) else 0
    edges = next((x for x, t in tensors.values() if t.kind == "edge_index"), None)
    if edges is not None:
        edge = node[edges[0]]
    else:
        edge = node.new_zeros(next((len(x) for x, t in tensors.values() if t.level == "edge"), 0))
    return {"node": node, "edge": edge, "graph": torch.arange(count, device=first.device)}, count


def _check_indices(tensors: Typed, batch: Tensor | None) -> None:
    if batch is not None and (batch.dim() != 1 or batch.is_floating_point()):
        raise ValueError(
            f"batch has shape {list(batch.shape)} and dtype {batch.dtype}: give the number of "
            "each node's sample, [nodes] integers."
        )
    nodes = next((len(x) for x, t in tensors.values() if t.level == "node"), 0)
    edges = next((x for x, t in tensors.values() if t.kind == "edge_index"), None)
    if edges is not None and values_readable():
        check_edges(edges, nodes if batch is None else len(batch))


def _check_shape(x: Tensor, type_: TensorType, dim: int, size: int) -> None:
    shape = f"{type_.where} has type {type_.text!r} and shape {list(x.shape)}"
    if x.dim() <= type_.axis or x.size(type_.axis) != size:
        raise ValueError(f"{shape}, but there are {size} {type_.level}s.")
    if not type_.rotates or dim == 0:
        return
    if not type_.cartesian and dim != 3:
        raise ValueError(f"{shape}: irreps need a group in 3 dimensions.")
    width = type_.width(dim)
    if x.dim() < 2 or x.size(-1) != width or not x.is_floating_point():
        raise ValueError(f"{shape}: it must be floating point, with a last axis of {width}.")
