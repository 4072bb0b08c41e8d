"""Graphs with the equivariant polynomials that PPGN++ reads, which are computed once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torch_geometric.data import Batch

from geqlib.data.packed import PackedGraphs
from geqlib.motifs.network import check_degree, listed_plan, ppgn_plan

AT_ONCE = 64  # graphs whose polynomials are computed together


class PolynomialGraphs(Dataset):
    """Graphs with the plans of `PPGNpp`; indexing with a list gives a batch.

    Batches contain what those of the graphs contain, and `plan`. The polynomials take 4 bytes for
    each pair of nodes of a graph and each of at most 12 of them.

    Args:
        graphs: without plans.
        degree: of the polynomials.

    Raises:
        ValueError: another degree; by its number, a graph that is directed, or has loops or
            parallel edges.
    """

    def __init__(self, graphs: PackedGraphs, degree: int) -> None:
        check_degree(degree)
        self.graphs, self.degree = graphs, degree
        self.values: list[Tensor] = []
        for start in range(0, len(graphs), AT_ONCE):
            self._compute(range(start, min(start + AT_ONCE, len(graphs))))

    def __len__(self) -> int:
        return len(self.graphs)

    def __getitem__(self, index: int) -> Batch:
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        batch: Any = self.graphs.__getitems__(indices)
        values = [self.values[k] for k in indices]
        batch.plan = listed_plan(values, self.degree, len(batch.batch), batch.batch, len(values))
        return batch

    def _compute(self, numbers: Sequence[int]) -> None:
        """The polynomials of some graphs, together or, where there is an error, one by one."""
        batch = self.graphs.__getitems__(numbers)
        ptr, edge_index, of_node = batch["ptr"], batch["edge_index"], batch["batch"]
        nodes, count = int(ptr[-1]), len(numbers)
        try:
            plan = ppgn_plan(edge_index, nodes, of_node, count, degree=self.degree)
        except ValueError as error:
            if count == 1:
                text = f"Polynomials of graph {numbers[0]} are not computed. {error}"
                raise ValueError(text) from error
            for k in numbers:
                self._compute([k])
            return
        values = plan.polynomials.to(torch.get_default_dtype())
        for first, size in zip(ptr[:-1].tolist(), ptr.diff().tolist(), strict=True):
            begin = int(plan.pairs.first[first]) if size else 0
            self.values.append(values[begin : begin + size * size].clone())
