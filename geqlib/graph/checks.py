"""Checks of graphs and batches, once before training or prediction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

HEAVIEST = 118
_unread = ContextVar("unread", default=False)


@contextmanager
def values_unread() -> Iterator[None]:
    """A context in which layers do not look at values to check them: batches were checked before.

    For looking at values the host waits, and what is recorded cannot.

    Example:
        >>> with values_unread():
        ...     values_readable()
        False
    """
    token = _unread.set(True)
    try:
        yield
    finally:
        _unread.reset(token)


def values_readable() -> bool:
    """Whether a layer may look at values: not in compiled code, nor inside of `values_unread`."""
    return not (torch.compiler.is_compiling() or _unread.get())


def as_index(index: Tensor, name: str = "edge_index") -> Tensor:
    """An index in 64 bits, which scatter and gather need, from integers of any size.

    Every function that takes an index converts it where it enters; nothing is copied if it has 64
    bits already.

    Args:
        index: such as `edge_index` or `batch`.
        name: what the error calls it.

    Raises:
        ValueError: if it does not hold integers.

    Example:
        >>> as_index(torch.tensor([0, 1], dtype=torch.int32)).dtype
        torch.int64
    """
    if index.dtype == torch.bool or index.is_floating_point() or index.is_complex():
        raise ValueError(f"{name} has dtype {index.dtype}: convert it with .long().")
    return index.long()


def as_edges(edge_index: Tensor) -> Tensor:
    """[2, E] edges in 64 bits: `as_index` of what has that shape.

    Raises:
        ValueError: for another shape or type.

    Example:
        >>> as_edges(torch.tensor([[0], [1]], dtype=torch.int32)).dtype
        torch.int64
    """
    if edge_index.dim() != 2 or edge_index.size(0) != 2:
        raise ValueError(
            f"edge_index has shape {tuple(edge_index.shape)}: expected [2, edges], sources above "
            "targets."
        )
    return as_index(edge_index)


def check_devices(layer: torch.device, **tensors: Tensor | None) -> None:
    """Refuse tensors that are not where a layer is: torch would read one of them as if it were.

    Raises:
        ValueError: naming the tensor and both devices.

    Example:
        >>> check_devices(torch.device("cpu"), x=torch.zeros(2, device="meta"))
        Traceback (most recent call last):
        ...
        ValueError: x is on meta, but the layer on cpu: move both to one device, with .to(...).
    """
    for name, tensor in tensors.items():
        if tensor is not None and tensor.device != layer:
            raise ValueError(
                f"{name} is on {tensor.device}, but the layer on {layer}: move both to one device, "
                "with .to(...)."
            )


def check_graph(data: Any) -> None:
    """Raise a ValueError that names what is wrong with a graph or batch, and where.

    Looks at those of `pos`, `edge_index`, `edge_attr`, `batch`, atomic numbers `z`, cells `cell`,
    `cell_shift` and the floating-point tensors of nodes that are present: shapes, finite
    numbers, edges, graph and atomic numbers in range.

    Args:
        data: anything with tensors as attributes, such as a `torch_geometric.data.Data`.

    Example:
        >>> from torch_geometric.data import Data
        >>> check_graph(Data(pos=torch.zeros(2, 3), edge_index=torch.tensor([[0], [5]])))
        Traceback (most recent call last):
        ...
        ValueError: edge 0 is 0 -> 5, but there are only nodes 0 to 1: count nodes from 0.
    """
    pos = getattr(data, "pos", None)
    if pos is None:
        raise ValueError("The graph has no positions: give it `pos`, [nodes, 2 or 3].")
    if pos.dim() != 2 or pos.size(1) not in (2, 3):
        raise ValueError(f"pos has shape {tuple(pos.shape)}: expected [nodes, 2 or 3].")
    if not pos.is_floating_point():
        raise ValueError(f"pos has dtype {pos.dtype}: convert it with .float().")
    batch = _graph_numbers(getattr(data, "batch", None), pos.size(0))
    for name in ("pos", "vec", "x", "y", "y_node", "y_graph", "normal", "edge_attr"):
        value = getattr(data, name, None)
        if isinstance(value, Tensor) and value.is_floating_point():
            _check_finite(name, value, batch)
    _check_atoms(getattr(data, "z", None), pos.size(0))
    _check_cells(getattr(data, "cell", None), batch)
    edge_index = getattr(data, "edge_index", None)
    if edge_index is not None:
        check_edges(edge_index, pos.size(0))
        for name in ("edge_attr", "cell_shift", "reverse"):
            _check_rows(name, getattr(data, name, None), edge_index.size(1))


def check_numbers(z: Tensor) -> None:
    """Refuse atomic numbers without an entry in tables of 0 to 118, where values may be read.

    Only on a CPU: elsewhere the host would wait.

    Args:
        z: [N] atomic numbers.

    Raises:
        ValueError: naming the first such atom.

    Example:
        >>> check_numbers(torch.tensor([1, 119]))
        Traceback (most recent call last):
        ...
        ValueError: atom 1 has the atomic number 119: they go from 1 to 118, and 0 is no element.
    """
    if z.device.type != "cpu" or not values_readable() or not z.numel():
        return
    outside = (z < 0) | (z > HEAVIEST)
    if bool(outside.any()):
        refuse_number(outside, z)


def refuse_number(outside: Tensor, z: Tensor) -> None:
    """Raise the error of `check_numbers` for the first atom that is outside."""
    atom = int(outside.nonzero()[0])
    raise ValueError(
        f"atom {atom} has the atomic number {int(z[atom])}: they go from 1 to {HEAVIEST}, and 0 is "
        "no element."
    )


def check_atoms(pos: Tensor, x: Tensor, in_scalars: int) -> None:
    """Refuse positions that are not [atoms, 3], and features that are not [atoms, in_scalars].

    Raises:
        ValueError: with the shape, and the one expected.

    Example:
        >>> check_atoms(torch.zeros(2, 3), torch.zeros(2, 5), in_scalars=4)
        Traceback (most recent call last):
        ...
        ValueError: x has shape (2, 5), expected [2, 4]: that many features of each atom.
    """
    if pos.dim() != 2 or pos.size(1) != 3:
        raise ValueError(f"pos has shape {tuple(pos.shape)}, expected [atoms, 3].")
    if x.shape != (pos.size(0), in_scalars):
        raise ValueError(
            f"x has shape {tuple(x.shape)}, expected [{pos.size(0)}, {in_scalars}]: "
            "that many features of each atom."
        )


def _graph_numbers(batch: Tensor | None, nodes: int) -> Tensor | None:
    if batch is None:
        return None
    if batch.shape != (nodes,):
        raise ValueError(
            f"batch has shape {tuple(batch.shape)}, but there are {nodes} nodes: it numbers the "
            "graph of every node."
        )
    return batch


def _check_finite(name: str, value: Tensor, batch: Tensor | None) -> None:
    bad = ~torch.isfinite(value)
    if not bad.any():
        return
    row = int(bad.flatten(1).any(1).nonzero()[0] if value.dim() > 1 else bad.nonzero()[0])
    graph = ""
    if batch is not None and name != "edge_attr" and len(value) == len(batch):
        graph = f" (graph {int(batch[row])} of the batch)"
    raise ValueError(f"{name} is NaN or infinite at row {row}{graph}: correct or drop that graph.")


def _check_atoms(z: Tensor | None, nodes: int) -> None:
    if z is None:
        return
    if z.shape != (nodes,) or z.dtype != torch.long:
        raise ValueError(
            f"z has shape {tuple(z.shape)} and dtype {z.dtype}: expected one atomic number per "
            f"node, [{nodes}], as .long()."
        )
    bad = (z < 1) | (z > HEAVIEST)
    if bad.any():
        row = int(bad.nonzero()[0])
        raise ValueError(
            f"z is {int(z[row])} at row {row}: atomic numbers go from 1 to {HEAVIEST}."
        )


def _check_cells(cell: Tensor | None, batch: Tensor | None) -> None:
    if cell is None:
        return
    graphs = 1 if batch is None else int(batch.max()) + 1 if batch.numel() else 0
    if cell.dim() != 3 or cell.shape[1:] != (3, 3) or cell.size(0) < graphs:
        raise ValueError(
            f"cell has shape {tuple(cell.shape)}: expected [graphs, 3, 3], cell vectors in rows."
        )
    _check_finite("cell", cell, None)


def _check_rows(name: str, value: Tensor | None, edges: int) -> None:
    if isinstance(value, Tensor) and value.size(0) != edges:
        raise ValueError(f"{name} has {value.size(0)} rows, but there are {edges} edges.")


def check_edges(edge_index: Tensor, nodes: int) -> None:
    edge_index = as_edges(edge_index)
    bad = ((edge_index < 0) | (edge_index >= nodes)).any(0)
    if bad.any():
        edge = int(bad.nonzero()[0])
        source, target = edge_index[:, edge].tolist()
        raise ValueError(
            f"edge {edge} is {source} -> {target}, but there are only nodes 0 to {nodes - 1}: "
            "count nodes from 0."
        )


def check_device(device: str | torch.device | None, option: str = "The device") -> None:
    """Refuse a device that this machine does not have.

    Args:
        device: by name.
        option: what the message calls it, such as "--device".

    Raises:
        ValueError: naming the device, and what torch says of it.

    Example:
        >>> check_device("cpu")
    """
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise ValueError(
            f"{option} {device} cannot be used here ({reason}): take cpu, or leave it out."
        ) from error
