"""Many graphs of different sizes in a few arrays: the container behind every data set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torch_geometric.data import Batch, Data

from geqlib.graph.segments import ragged_ranges, segment_index, segment_ptr

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Field:
    """What the entries of an array belong to.

    Args:
        per: "graph", "node", "edge" or any other kind of element, such as "triangle": the array
            has one entry per element, graph by graph.
        index: kind of element whose numbers the entries are, counted from 0 within each graph;
            a batch counts them on. None for other values.
        dim: axis along which the entries follow each other.
        dtype: in which floating-point values are held; None for torch's default type.
    """

    per: str
    index: str | None = None
    dim: int = 0
    dtype: torch.dtype | None = None


EDGE_INDEX = Field("edge", index="node", dim=1)
Fields = Mapping[str, str | Field]


class PackedGraphs(Dataset):
    """Graphs of different sizes in a few arrays; a batch is made by indexing them once.

    `graphs[k]` is a `torch_geometric.data.Data`; `graphs.__getitems__([3, 1])`, which torch's
    `DataLoader` calls, is a `torch_geometric.data.Batch` with `batch` and `ptr`, as
    `Batch.from_data_list` would collate it. The array of all graphs is an attribute: `graphs.y`.

    Args:
        arrays: how many elements of each kind each graph has, [G] integers under the plural name
            of the kind ("nodes", "edges", "triangles"), and the arrays by the names that they have
            in batches. This is also what a file holds (`geqlib.files.atomic.cached_arrays`).
        fields: name of each array that batches hold -> its `Field`, or the kind of element alone.
            Where there are "edges", `edge_index` [2, all edges] is one of the arrays.
        transform: applied to each item and each batch, such as a search for neighbours.
        constants: further attributes of all items and batches.

    Integers may be stored in any type (uint8, int32); items and batches have them as int64.

    Raises:
        ValueError: an array that is missing or has another number of entries than there are
            elements, or an index out of range.

    Example:
        >>> graphs = PackedGraphs(
        ...     {
        ...         "nodes": [2, 1, 2],
        ...         "edges": [2, 0, 2],
        ...         "edge_index": [[0, 1, 0, 1], [1, 0, 1, 0]],
        ...         "x": [1.0, 2.0, 3.0, 4.0, 5.0],
        ...         "y": [0, 1, 0],
        ...     },
        ...     {"x": "node", "y": "graph"},
        ... )
        >>> graphs[2].edge_index.tolist()
        [[0, 1], [1, 0]]
        >>> batch = graphs.__getitems__([1, 2])
        >>> batch.edge_index.tolist(), batch.ptr.tolist(), batch.x.tolist()
        ([[1, 2], [2, 1]], [0, 1, 3], [3.0, 4.0, 5.0])
    """

    def __init__(
        self,
        arrays: Mapping[str, Any],
        fields: Fields,
        *,
        transform: Callable[[Any], Any] | None = None,
        constants: Mapping[str, Any] | None = None,
    ) -> None:
        self.transform, self.constants = transform, dict(constants or {})
        edges = {"edge_index": EDGE_INDEX} if "edges" in arrays else {}
        declared = _declared({**edges, **fields})
        kinds = {"node"} | {kind for f in declared.values() for kind in (f.per, f.index) if kind}
        for name in (*(f"{kind}s" for kind in kinds - {"graph"}), *declared):
            if name not in arrays:
                raise ValueError(f"There is no array {name!r}: give all that `fields` names.")
        self.counts = {k: torch.as_tensor(arrays[f"{k}s"]).long() for k in kinds - {"graph"}}
        self.counts["graph"] = torch.ones_like(self.counts["node"])
        self._count()
        self.arrays = {name: _tensor(arrays[name], field) for name, field in declared.items()}
        self.fields = {
            name: replace(f, dtype=self.arrays[name].dtype)
            if self.arrays[name].is_floating_point()
            else f
            for name, f in declared.items()
        }
        for name in self.fields:
            self._check(name)

    def __len__(self) -> int:
        return len(self.counts["node"])

    def __getitem__(self, number: int) -> Data:
        values = self._values(self._chosen([number]))
        if not any(field.per == "node" for field in self.fields.values()):
            values["num_nodes"] = int(self.counts["node"][number])
        return self._transformed(Data(**values, **self.constants))

    def __getitems__(self, numbers: Sequence[int]) -> Batch:
        chosen = self._chosen(numbers)
        nodes = self.counts["node"][chosen]
        total, nodes = int(nodes.sum()), nodes.to(self.device, non_blocking=True)
        values = self._values(chosen)
        values["batch"] = segment_index(nodes, total)
        values["ptr"] = segment_ptr(nodes)
        return self._transformed(Batch(**values, **self.constants))

    def __getattr__(self, name: str) -> Any:
        arrays = self.__dict__.get("arrays", {})
        if name not in arrays:
            raise AttributeError(f"{type(self).__name__} has no array {name!r}.")
        return arrays[name]

    @property
    def ptr(self) -> Tensor:
        """[G + 1] where the nodes of each graph start and end."""
        return segment_ptr(self.counts["node"])

    @property
    def batch(self) -> Tensor:
        """[N] graph of each node."""
        return segment_index(self.counts["node"])

    @property
    def num_graphs(self) -> int:
        """As of a batch."""
        return len(self)

    @property
    def device(self) -> torch.device:
        """Where the arrays are, and the batches that are cut from them."""
        return next((x.device for x in self.arrays.values()), torch.device("cpu"))

    @property
    def nbytes(self) -> int:
        """Of memory that the arrays take."""
        return sum(x.nbytes for x in self.arrays.values())

    def to(self, device: str | torch.device) -> PackedGraphs:
        """The same graphs with their arrays on a device, where batches are then made.

        Only the numbers of the graphs of a batch, and how many elements each has, are copied to it
        for a batch; the host does not wait. The transform sees tensors of that device.

        Example:
            >>> graphs = PackedGraphs({"nodes": [2, 1], "x": [1.0, 2.0, 3.0]}, {"x": "node"})
            >>> graphs.to("cpu").__getitems__([1]).x
            tensor([3.])
        """
        moved = copy(self)
        moved.arrays = {name: array.to(device) for name, array in self.arrays.items()}
        return moved

    def subset(self, numbers: Any) -> PackedGraphs:
        """Some of the graphs, in that order."""
        chosen = self._chosen(numbers)
        part = copy(self)
        part.arrays = self._selected(chosen)
        part.counts = {kind: count[chosen] for kind, count in self.counts.items()}
        part._count()
        return part

    def to_arrays(self) -> Arrays:
        """Counts and arrays as numpy's, of which the constructor makes the same graphs again."""
        counts = {f"{kind}s": count for kind, count in self.counts.items() if kind != "graph"}
        return {name: tensor.numpy() for name, tensor in {**counts, **self.arrays}.items()}

    def degrees(self) -> list[int]:
        """How many nodes have 0, 1, 2, ... incoming edges."""
        start = self.starts["node"].repeat_interleave(self.counts["edge"])
        target = self.arrays["edge_index"][1] + start
        nodes = int(self.counts["node"].sum())
        return torch.bincount(torch.bincount(target, minlength=nodes)).tolist()

    def _count(self) -> None:
        self.starts = {kind: count.cumsum(0) - count for kind, count in self.counts.items()}
        # of kinds of which each graph has the same number
        self.equal_counts = {
            kind: int(count[0])
            for kind, count in self.counts.items()
            if kind != "graph" and len(count) and bool((count == count[0]).all())
        }

    def _chosen(self, numbers: Any) -> Tensor:
        chosen = torch.as_tensor(numbers, dtype=torch.long)
        return torch.where(chosen < 0, chosen + len(self), chosen)

    def _values(self, chosen: Tensor) -> dict[str, Any]:
        """The arrays of the chosen graphs, with indices counted on over them."""
        values: dict[str, Any] = self._selected(chosen)
        for name, field in self.fields.items():
            value = values[name]
            if field.index is not None:
                count, own = self.counts[field.index][chosen], self.counts[field.per][chosen]
                total = int(own.sum())
                shift = (count.cumsum(0) - count).to(self.device, non_blocking=True)
                own = own.to(self.device, non_blocking=True)
                shift = shift.repeat_interleave(own, output_size=total)
                shape = [-1 if dim == field.dim else 1 for dim in range(value.dim())]
                value = value + shift.view(shape)
            whole = value.is_floating_point() or value.dtype == torch.bool
            values[name] = value if whole else value.long()
        return values

    def _selected(self, chosen: Tensor) -> dict[str, Tensor]:
        """The arrays of the chosen graphs, as they are stored."""
        device = self.device
        entries, values = {"graph": chosen.to(device, non_blocking=True)}, {}
        for name, field in self.fields.items():
            array, size = self.arrays[name], self.equal_counts.get(field.per)
            if size is not None and field.dim == 0:  # whole blocks, several times as fast
                blocks = array.view(len(self), size, *array.shape[1:])
                values[name] = blocks.index_select(0, entries["graph"]).flatten(0, 1)
                continue
            if field.per not in entries:
                start, count = self.starts[field.per][chosen], self.counts[field.per][chosen]
                total = int(count.sum())
                start, count = (x.to(device, non_blocking=True) for x in (start, count))
                entries[field.per] = ragged_ranges(start, count, total)
            values[name] = array.index_select(field.dim, entries[field.per])
        return values

    def _transformed(self, graphs: Any) -> Any:
        return graphs if self.transform is None else self.transform(graphs)

    def _check(self, name: str) -> None:
        array, field = self.arrays[name], self.fields[name]
        entries, count = array.size(field.dim), self.counts[field.per]
        if entries != int(count.sum()):
            raise ValueError(
                f"{name} has {entries} entries along axis {field.dim}, but the graphs have "
                f"{int(count.sum())} {field.per}s."
            )
        if field.index is None or not entries:
            return
        values = array.transpose(0, field.dim).reshape(entries, -1)
        most = self.counts[field.index].repeat_interleave(count)[:, None]
        wrong = ((values < 0) | (values >= most)).any(1).nonzero()
        if len(wrong):
            graph = int(segment_index(count)[wrong[0]])
            raise ValueError(
                f"{name} has {values[wrong[0, 0]].tolist()} in graph {graph}, which has "
                f"{int(most[wrong[0, 0]])} {field.index}s: count them from 0 in each graph."
            )


class GraphArrays(PackedGraphs):
    """`PackedGraphs` with the arguments of geqlib's first edition, for data modules of users.

    Args:
        nodes, edges: [G] how many each graph has.
        edge_index: [2, all edges], counted from 0 in each graph.
        rows: "node", "edge" or "graph" -> name -> array.
        constants: further attributes of all batches.
    """

    def __init__(
        self,
        nodes: Any,
        edges: Any,
        edge_index: Any,
        rows: Mapping[str, Mapping[str, Any]],
        **constants: Any,
    ) -> None:
        arrays = {"nodes": nodes, "edges": edges, "edge_index": edge_index}
        fields = {name: kind for kind, named in rows.items() for name in named}
        named = {name: array for part in rows.values() for name, array in part.items()}
        super().__init__({**arrays, **named}, fields, constants=constants)


def joined(graphs: Iterable[Mapping[str, np.ndarray]], fields: Fields) -> Arrays:
    """Arrays for `PackedGraphs` from single graphs.

    Args:
        graphs: at least one; each has "edge_index" [2, E], if there are edges, and the arrays of
            `fields`, one of them per node.
        fields: as of `PackedGraphs`; kinds of elements other than node, edge and graph are counted
            by the first of their arrays.
    """
    listed = list(graphs)
    edges = {"edge_index": EDGE_INDEX} if "edge_index" in listed[0] else {}
    declared = _declared({**edges, **fields})
    first: dict[str, str] = {}
    for name, field in declared.items():
        first.setdefault(field.per, name)
    arrays = {
        f"{kind}s": np.array([graph[name].shape[declared[name].dim] for graph in listed])
        for kind, name in first.items()
        if kind != "graph"
    }
    return arrays | {
        name: np.concatenate([graph[name] for graph in listed], axis=field.dim)
        for name, field in declared.items()
    }


def _declared(fields: Fields) -> dict[str, Field]:
    return {name: Field(f) if isinstance(f, str) else f for name, f in fields.items()}


def _tensor(array: Any, field: Field) -> Tensor:
    tensor = torch.as_tensor(array).contiguous()  # indexing is many times as fast
    if tensor.is_floating_point():
        return tensor.to(field.dtype or torch.get_default_dtype())
    # of which torch knows little more than the names
    return tensor.long() if tensor.dtype in (torch.uint16, torch.uint32, torch.uint64) else tensor
