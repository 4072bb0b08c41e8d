"""How the tensors of a wrapped module transform."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from geqlib.frames.point_frames import Frames
from geqlib.graph.checks import check_edges
from geqlib.symmetry.types import TensorType, irreps_dim, parse_type

Named = Mapping[str, tuple[Tensor, TensorType]]


@dataclass(frozen=True)
class Batch:
    """The typed inputs of one call.

    Args:
        tensors: name -> (tensor, type).
        samples: for "node", "edge" and "graph", the sample of each row.
        count: number of samples.
        single: whether it is one sample, without `batch`; then graph inputs have got a first axis.
        sized: whether `num_graphs` was given.
    """

    tensors: Named
    samples: dict[str, Tensor]
    count: int
    single: bool
    sized: bool

    @property
    def edge_index(self) -> Tensor | None:
        return next((x for x, t in self.tensors.values() if t.kind == "edge_index"), None)


def typed_batch(
    given: Mapping[str, Any], types: Mapping[str, TensorType], dim: int, *, dense: bool, check: bool
) -> Batch:
    """Sort out what a module is called with.

    Args:
        given: tensors by name, `batch` and `num_graphs`; what is None is left out.
        types: of the tensors.
        dim: of the group, 0 if it does not rotate.
        dense: whether samples are rows.
        check: whether to look at values and shapes.

    Raises:
        ValueError: names without a type, shapes that contradict it, numbers of samples or nodes out
            of range.
    """
    named = {k: v for k, v in given.items() if v is not None and k not in ("batch", "num_graphs")}
    strays = [name for name in named if name not in types]
    if strays:
        raise ValueError(f"input {strays[0]!r} has no type: name it in `inputs`.")
    batch, size = given.get("batch"), given.get("num_graphs")
    single = batch is None and not dense
    if single:
        named = {k: v[None] if types[k].level == "graph" else v for k, v in named.items()}
    tensors = {name: (x, types[name]) for name, x in named.items() if types[name].kind != "batch"}
    if not tensors:
        raise ValueError(f"no inputs are given: pass {', '.join(types)} by name.")
    if check:
        _check_numbers(tensors, batch)
    samples, count = _samples(tensors, batch, size, dense)
    if check:
        for x, type_ in tensors.values():
            _check_shape(x, type_, dim, len(samples[type_.level]))
        low, high = (0, 0) if batch is None or not len(batch) else map(int, torch.aminmax(batch))
        if low < 0 or high >= max(count, 1):
            raise ValueError(f"batch numbers samples beyond num_graphs={count}: count from 0.")
    return Batch(tensors, samples, count, single, size is not None)


def _samples(
    tensors: Named, batch: Tensor | None, size: int | None, dense: bool
) -> tuple[dict[str, Tensor], int]:
    first = next(iter(tensors.values()))[0]
    edges = next((x for x, t in tensors.values() if t.kind == "edge_index"), None)
    if dense:
        count = first.size(0)
        node = torch.arange(count, device=first.device)
    elif batch is None:
        nodes = next((x.size(0) for x, t in tensors.values() if t.level == "node"), 0)
        node, count = torch.zeros(nodes, dtype=torch.long, device=first.device), 1
    else:
        node = batch
        count = size if size is not None else int(batch.max()) + 1 if batch.size(0) else 0
    if edges is not None:
        edge = node[edges[0]]
    else:
        rows = next((x.size(0) for x, t in tensors.values() if t.level == "edge"), 0)
        edge = node.new_zeros(rows)
    return {"node": node, "edge": edge, "graph": torch.arange(count, device=first.device)}, count


def _check_numbers(tensors: Named, batch: Tensor | None) -> None:
    if batch is not None and (batch.dim() != 1 or batch.is_floating_point()):
        raise ValueError(
            f"batch has shape {list(batch.shape)} and dtype {batch.dtype}: give the number of "
            "each node's sample, [nodes] integers."
        )
    nodes = next((len(x) for x, t in tensors.values() if t.level == "node"), 0)
    edges = next((x for x, t in tensors.values() if t.kind == "edge_index"), None)
    if edges is not None:
        check_edges(edges, nodes if batch is None else len(batch))


def _check_shape(x: Tensor, type_: TensorType, dim: int, rows: int) -> None:
    shape = f"{type_.where} has type {type_.text!r} and shape {list(x.shape)}"
    if x.dim() <= type_.axis or x.size(type_.axis) != rows:
        raise ValueError(f"{shape}, but there are {rows} {type_.level}s.")
    if not type_.rotates or dim == 0:
        return
    cartesian = type_.kind in ("point", "vector")
    last = dim if cartesian else irreps_dim(type_.kind)
    if not cartesian and dim != 3:
        raise ValueError(f"{shape}: irreps need a group in 3 dimensions.")
    if x.dim() < 2 or x.size(-1) != last or not x.is_floating_point():
        raise ValueError(f"{shape}: it must be floating point, with a last axis of {last}.")


def checked_frames(frames: Frames, given: Batch) -> Frames:
    """A user's own frames, if they fit the batch.

    Raises:
        ValueError: something else, or matrices, samples or weights that do not fit.
    """
    if not isinstance(frames, Frames):
        raise ValueError(f"your frame is a {type(frames).__name__}: return geqlib's Frames.")
    size, matrix = len(frames.sample), list(frames.matrix.shape)
    dims = {x.size(-1) for x, t in given.tensors.values() if t.kind in ("point", "vector")}
    dim = dims.pop() if len(dims) == 1 else matrix[-1]
    if frames.matrix.dim() != 3 or matrix not in ([size, dim, dim], [size, 0, 0]):
        raise ValueError(
            f"your frame has matrices {matrix} for {size} elements in {dim} dimensions."
        )
    total = frames.weight.new_zeros(given.count)
    low, high = map(int, frames.sample.aminmax()) if size else (0, -1)
    if size and (low < 0 or high >= given.count or bool((frames.sample.diff() < 0).any())):
        raise ValueError(f"your frame's samples must ascend from 0 to {given.count - 1} at most.")
    total = total.index_add(0, frames.sample, frames.weight)
    if bool(((total - 1).abs() > 1e-3).any()):
        k = int((total - 1).abs().argmax())
        raise ValueError(f"your frame's weights sum to {float(total[k]):.3g} in sample {k}, not 1.")
    return frames


@dataclass(frozen=True)
class FrameGroup:
    """A group whose frames are known: O(d), SO(d), E(d) or SE(d), S_n, or S_n and one of these."""

    text: str
    dim: int
    proper: bool
    translates: bool
    permutes: bool


def parse_frame_group(text: str) -> FrameGroup:
    """From "E(3)", "S_n x SO(2)" and the like.

    Example:
        >>> parse_frame_group("S_n x SE(3)").proper
        True
    """
    factors = [f for f in re.split(r"\s*x\s*", text) if f != "S_n"]
    rotates = re.fullmatch(r"(O|SO|E|SE)\(([1-9]\d*)\)", factors[0]) if factors else None
    permutes = "S_n" in text
    if len(factors) > 1 or (factors and rotates is None) or text.count("S_n") > 1:
        raise ValueError(
            f"group {text!r} is unknown: write 'O', 'SO', 'E' or 'SE' with (2), (3) or another "
            "dimension, 'S_n', a product such as 'S_n x E(3)', or give a function that makes "
            "frames."
        )
    if rotates is None:
        return FrameGroup(text, 0, False, False, permutes)
    name = rotates[1]
    return FrameGroup(text, int(rotates[2]), "S" in name, "E" in name, permutes)


def parse_outputs(outputs: str | Sequence[str] | Mapping[str, str]) -> dict[str | int, TensorType]:
    """Types by name, by place, or by the one place 0 of a module that returns a tensor."""
    if isinstance(outputs, str):
        return {0: parse_type("the output", outputs)}
    if isinstance(outputs, Mapping):
        return {key: parse_type(f"output {key!r}", text) for key, text in outputs.items()}
    return {k: parse_type(f"output {k}", text) for k, text in enumerate(outputs)}


def highest_irrep(types: Sequence[TensorType]) -> int:
    """Highest degree of irreps among the types, -1 if there are none."""
    kinds = [t.kind for t in types if t.rotates and t.kind not in ("point", "vector")]
    if not kinds:
        return -1
    from e3nn import o3

    return max(ir.l for kind in kinds for _, ir in o3.Irreps(kind))
