"""Graphs with their plans, of which those of ego nets are searched here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torch_geometric.data import Batch

from geqlib.data.graphs.polynomials import PolynomialGraphs
from geqlib.data.packed import PackedGraphs
from geqlib.spen.ego_nets import Neighbourhood, ego_nets
from geqlib.spen.incidence import from_zero, shifted
from geqlib.spen.plan import EgoPlan, listed_plan

AT_ONCE = 256  # graphs whose ego nets are searched together


def with_plans(
    graphs: PackedGraphs,
    neighbourhood: Neighbourhood | None,
    degree: int | None = None,
    *,
    symmetric: bool = False,
    shared: bool = True,
) -> PackedGraphs | PlannedGraphs | PolynomialGraphs:
    """Graphs whose batches hold `plan`: of ego nets, of polynomials, or of neither.

    Args:
        graphs: without plans.
        neighbourhood: of the ego nets of SPEN, or None.
        degree: of the polynomials of PPGNpp, or None.
        symmetric, shared: see `geqlib.graph.ego_plan`.

    Raises:
        ValueError: both; an ego net that is too large; a graph without polynomials.
    """
    if neighbourhood is not None and degree is not None:
        raise ValueError(
            f"hops is {neighbourhood.hops} and degree {degree}: a plan is of ego nets (hops, for "
            "SPEN) or of polynomials (degree, for PPGNpp), so leave out one."
        )
    if degree is not None:
        return PolynomialGraphs(graphs, degree)
    if neighbourhood is None:
        return graphs
    return PlannedGraphs(graphs, neighbourhood, symmetric=symmetric, shared=shared)


class PlannedGraphs(Dataset):
    """Graphs with their ego nets, which are searched once; indexing with a list gives a batch.

    Batches contain what those of the graphs contain, and `plan`.

    Args:
        graphs: without ego nets.
        neighbourhood: which nodes belong to an ego net.
        symmetric, shared: see `geqlib.graph.ego_plan`.

    Raises:
        ValueError: if an ego net is too large.
    """

    def __init__(
        self,
        graphs: PackedGraphs,
        neighbourhood: Neighbourhood,
        *,
        symmetric: bool = False,
        shared: bool = True,
    ) -> None:
        self.graphs, self.neighbourhood = graphs, neighbourhood
        self.symmetric, self.shared = symmetric, shared
        self.sizes: list[Tensor] = []
        self.nodes: list[Tensor] = []
        for start in range(0, len(graphs), AT_ONCE):
            self._search(range(start, min(start + AT_ONCE, len(graphs))))

    def __len__(self) -> int:
        return len(self.graphs)

    def __getitem__(self, index: int) -> Batch:
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        batch: Any = self.graphs.__getitems__(indices)
        batch.plan = self._plan(indices, batch)
        return batch

    def _search(self, numbers: Sequence[int]) -> None:
        """Sizes of the ego nets of each graph, and their nodes, counted in the graph."""
        batch = self.graphs.__getitems__(numbers)
        first, edge_index = batch["ptr"], batch["edge_index"]
        try:
            ptr, node = ego_nets(edge_index, int(first[-1]), self.neighbourhood)
        except ValueError:
            if len(numbers) == 1:
                raise
            for k in numbers:  # one by one they may fit, or the error names the graph's own node
                self._search([k])
            return
        members = ptr[first]
        node = node - first[:-1].repeat_interleave(members.diff())
        self.sizes += [part.clone() for part in ptr.diff().tensor_split(first[1:-1])]
        self.nodes += [part.clone() for part in node.tensor_split(members[1:-1])]

    def _plan(self, indices: Sequence[int], batch: Batch) -> EgoPlan:
        sizes = torch.cat([self.sizes[k] for k in indices])
        return listed_plan(
            from_zero(sizes.cumsum(0)),
            shifted([self.nodes[k] for k in indices], batch["ptr"].diff().tolist()),
            batch["edge_index"],
            len(sizes),
            hops=self.neighbourhood.hops,
            symmetric=self.symmetric,
            shared=self.shared,
        )
