"""Batches that do not fit into the memory of a device are evaluated in halves."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

Outputs = dict[str, Tensor]
OF_GRAPHS = ("cell", "charge", "multiplicity", "level")
OF_EDGES = ("cell_shift",)


def in_halves(evaluate: Callable[..., Outputs], fields: Mapping[str, Any]) -> Outputs:
    """Outputs of a batch; where it does not fit into memory, of its halves, one after the other.

    Args:
        evaluate: takes `fields` by name, and returns tensors of the graphs or the atoms.
        fields: arguments of a potential for several graphs, with `batch` and `num_graphs`; atoms
            are in the order of the graphs.

    Raises:
        RuntimeError: if a single graph does not fit: on a GPU, torch.OutOfMemoryError.

    Example:
        >>> def one(pos, batch, num_graphs, edge_index):
        ...     if num_graphs > 1:
        ...         raise torch.OutOfMemoryError
        ...     return {"mean": pos.mean(0, keepdim=True)}
        >>> pos, batch = torch.tensor([[0.0], [2.0], [5.0]]), torch.tensor([0, 0, 1])
        >>> fields = {"edge_index": torch.empty(2, 0).long(), "num_graphs": 2}
        >>> with warnings.catch_warnings(action="ignore"):
        ...     in_halves(one, {"pos": pos, "batch": batch, **fields})["mean"]
        tensor([[1.],
                [5.]])
    """
    try:
        return evaluate(**fields)
    except RuntimeError as error:
        if fields["num_graphs"] < 2 or not _is_out_of_memory(error):
            raise
    # outside of the handler, which keeps the tensors of the attempt
    warnings.warn(
        "Batches do not fit into the memory of the device and are split: a smaller eval_batch_size "
        "or batch_size saves the attempts.",
        stacklevel=1,  # one place, so that it is shown once
    )
    parts = [in_halves(evaluate, half) for half in halves(fields)]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _is_out_of_memory(error: RuntimeError) -> bool:
    """Whether memory was missing; on a CPU, only the message says so."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def halves(fields: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The first and the second half of the graphs of a batch, without its plan."""
    middle = fields["num_graphs"] // 2
    atom = fields["batch"] < middle
    edge = atom[fields["edge_index"][1]]
    graph = torch.arange(fields["num_graphs"], device=atom.device) < middle
    return _part(fields, graph, atom, edge), _part(fields, ~graph, ~atom, ~edge)


def _part(fields: Mapping[str, Any], graph: Tensor, atom: Tensor, edge: Tensor) -> dict[str, Any]:
    """The graphs, atoms and edges of these masks, numbered anew."""
    part: dict[str, Any] = {"num_graphs": int(graph.sum())}
    for name, value in fields.items():
        if name in ("num_graphs", "plan") or value is None:
            continue
        if name == "edge_index":
            part[name] = _numbers(atom)[value[:, edge]]
        elif name == "reverse":
            part[name] = _numbers(edge)[value[edge]]
        elif name == "batch":
            part[name] = _numbers(graph)[value[atom]]
        else:
            part[name] = value[graph if name in OF_GRAPHS else edge if name in OF_EDGES else atom]
    return part


def _numbers(mask: Tensor) -> Tensor:
    """The new number of each element that is kept."""
    return mask.long().cumsum(0) - 1
