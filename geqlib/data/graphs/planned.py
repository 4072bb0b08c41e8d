"""Graphs that come with their ego nets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch.utils.data import Dataset
from torch_geometric.data import Batch

from geqlib.data.packed import PackedGraphs
from geqlib.spen.ego_nets import EgoPlan, listed_plan
from geqlib.spen.reach import Reach, ego_nets

AT_ONCE = 256  # graphs whose ego nets are found together


class PlannedGraphs(Dataset):
    """Graphs with their ego nets, which are found once; indexing with a list makes a batch.

    Batches have what those of the graphs have, and `plan`.

    Args:
        graphs: without ego nets.
        reach: how far ego nets go.
        symmetric, shared: see `geqlib.graph.ego_plan`.

    Raises:
        ValueError: if an ego net is too large.
    """

    def __init__(
        self, graphs: PackedGraphs, reach: Reach, *, symmetric: bool = False, shared: bool = True
    ) -> None:
        self.graphs, self.reach = graphs, reach
        self.symmetric, self.shared = symmetric, shared
        self.sizes: list[np.ndarray] = []
        self.nodes: list[np.ndarray] = []
        for start in range(0, len(graphs), AT_ONCE):
            self._find(range(start, min(start + AT_ONCE, len(graphs))))

    def __len__(self) -> int:
        return len(self.graphs)

    def __getitem__(self, index: int) -> Batch:
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        batch: Any = self.graphs.__getitems__(indices)
        batch.plan = self._plan(indices, batch)
        return batch

    def _find(self, numbers: Sequence[int]) -> None:
        """Sizes of the ego nets of each graph, and their nodes, counted in the graph."""
        batch = self.graphs.__getitems__(numbers)
        first, edges = batch["ptr"].numpy(), batch["edge_index"].numpy()
        try:
            ptr, node = ego_nets(edges, int(first[-1]), self.reach)
        except ValueError:
            if len(numbers) == 1:
                raise
            for k in numbers:  # what does not fit at once may fit one by one, or is named so
                self._find([k])
            return
        slots = np.diff(ptr[first])
        self.sizes += np.split(np.diff(ptr), first[1:-1])
        self.nodes += np.split(node - np.repeat(first[:-1], slots), slots.cumsum()[:-1])

    def _plan(self, indices: Sequence[int], batch: Batch) -> EgoPlan:
        nodes = [self.nodes[k] for k in indices]
        shift = np.repeat(batch["ptr"][:-1].numpy(), [len(part) for part in nodes])
        sizes = np.concatenate([self.sizes[k] for k in indices])
        return listed_plan(
            np.concatenate([[0], sizes.cumsum()]),
            np.concatenate(nodes) + shift,
            batch["edge_index"],
            len(sizes),
            hops=self.reach.hops,
            symmetric=self.symmetric,
            shared=self.shared,
        )
