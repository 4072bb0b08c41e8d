"""Many graphs of different sizes as a few arrays, and batches of them by indexing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torch_geometric.data import Batch

ROWS = ("node", "edge", "graph")


class GraphArrays(Dataset):
    """Graphs in memory; indexing with a list makes a whole batch at once.

    Args:
        nodes, edges: [G] how many each graph has.
        edge_index: [2, all edges], counted from 0 in each graph.
        rows: kind of rows ("node", "edge" or "graph") -> name -> array whose first axis runs over
            all of these rows, graph by graph. Batches hold them by these names.
        constants: what every batch holds beside them.

    Example:
        >>> pair = np.array([[0, 1], [1, 0]])
        >>> graphs = GraphArrays([2, 1, 2], [2, 0, 2], np.hstack([pair, pair]), {"graph": {}})
        >>> graphs.__getitems__([1, 2]).edge_index.tolist()
        [[1, 2], [2, 1]]
    """

    def __init__(
        self,
        nodes: Any,
        edges: Any,
        edge_index: np.ndarray,
        rows: Mapping[str, Mapping[str, np.ndarray]],
        **constants: Any,
    ) -> None:
        self.count = {"node": torch.as_tensor(nodes), "edge": torch.as_tensor(edges)}
        self.count["graph"] = torch.ones_like(self.count["node"])
        self.start = {kind: count.cumsum(0) - count for kind, count in self.count.items()}
        self.edge_index = torch.as_tensor(edge_index)
        self.rows = {
            kind: {name: _tensor(array) for name, array in rows.get(kind, {}).items()}
            for kind in ROWS
        }
        self.constants = constants

    def __len__(self) -> int:
        return len(self.count["graph"])

    def __getitem__(self, index: int) -> Batch:
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        chosen = torch.as_tensor(indices, dtype=torch.long)
        counts = {kind: self.count[kind][chosen] for kind in ROWS}
        places = {kind: _places(self.start[kind][chosen], counts[kind]) for kind in ROWS}
        ptr = torch.cat([counts["node"].new_zeros(1), counts["node"].cumsum(0)])
        shift = ptr[:-1].repeat_interleave(counts["edge"])
        return Batch(
            edge_index=self.edge_index[:, places["edge"]] + shift,
            batch=torch.arange(len(chosen)).repeat_interleave(counts["node"]),
            ptr=ptr,
            **{
                name: array[places[kind]]
                for kind, arrays in self.rows.items()
                for name, array in arrays.items()
            },
            **self.constants,
        )

    def subset(self, indices: Any, **constants: Any) -> GraphArrays:
        """Some of the graphs, in that order."""
        part: Any = self.__getitems__(indices)
        chosen = torch.as_tensor(indices, dtype=torch.long)
        edges = self.count["edge"][chosen]
        local = part.edge_index - part.ptr[:-1].repeat_interleave(edges)
        rows = {kind: {name: part[name] for name in names} for kind, names in self.rows.items()}
        return GraphArrays(self.count["node"][chosen], edges, local, rows, **constants)

    def degrees(self) -> list[int]:
        """How many nodes have 0, 1, 2, ... edges that lead to them."""
        whole: Any = self.__getitems__(range(len(self)))
        counts = torch.bincount(whole.edge_index[1], minlength=len(whole.batch))
        return torch.bincount(counts).tolist()


def joined(
    graphs: Sequence[Mapping[str, np.ndarray]], kinds: Mapping[str, str]
) -> dict[str, np.ndarray]:
    """Arrays "nodes", "edges", "edge_index" and the named ones of graphs one after the other.

    Args:
        graphs: each has "edge_index" [2, E] and the named arrays, one of which is of nodes.
        kinds: name -> kind of rows.
    """
    of_nodes = next(name for name, kind in kinds.items() if kind == "node")
    found = {
        "nodes": np.array([len(graph[of_nodes]) for graph in graphs]),
        "edges": np.array([graph["edge_index"].shape[1] for graph in graphs]),
        "edge_index": np.concatenate([graph["edge_index"] for graph in graphs], axis=1),
    }
    return found | {name: np.concatenate([graph[name] for graph in graphs]) for name in kinds}


def graph_arrays(
    arrays: Mapping[str, np.ndarray], kinds: Mapping[str, str], **constants: Any
) -> GraphArrays:
    """The dataset of arrays that `joined` made."""
    rows = {kind: {n: arrays[n] for n, k in kinds.items() if k == kind} for kind in ROWS}
    return GraphArrays(arrays["nodes"], arrays["edges"], arrays["edge_index"], rows, **constants)


def _tensor(array: Any) -> Tensor:
    made = torch.as_tensor(array)
    return made.to(torch.get_default_dtype()) if made.is_floating_point() else made


def _places(start: Tensor, count: Tensor) -> Tensor:
    """start[0], start[0] + 1, ..., start[0] + count[0] - 1, start[1], ..."""
    shift = start - (count.cumsum(0) - count)
    return torch.arange(int(count.sum())) + shift.repeat_interleave(count)
