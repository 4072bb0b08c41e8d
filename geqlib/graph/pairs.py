"""All ordered pairs of nodes of every graph of a batch, without padding.

Features of pairs are [P, C], with P the sum of n^2 over the graphs. Graphs of one size follow each
other, so that those of n nodes are a dense block [graphs, n, n, C], which is a view: products of
matrices take one batched product for each size that occurs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from geqlib.graph.plan import Plan
from geqlib.graph.pool import graph_index
from geqlib.graph.segments import ragged_ranges, segment_index, segment_lengths, segment_ptr


@dataclass(frozen=True)
class PairPlan(Plan):
    """Where the pairs of nodes of a batch are.

    Args:
        row, column: [P] the two nodes of each pair.
        graph: [P] their graph.
        transpose: [P] the pair of the same nodes in the other order.
        first: [N] where the pairs (i, .) of node i begin.
        position: [N] of node i in its graph: (i, j) is pair first[i] + position[j].
        graphs, nodes: for each block how many graphs it has, and of how many nodes.
        num_graphs: in the batch.

    Example:
        >>> plan = pair_plan(3, torch.tensor([0, 1, 1]), 2)
        >>> plan.row.tolist(), plan.column.tolist()
        ([0, 1, 1, 2, 2], [0, 1, 2, 1, 2])
        >>> [block.shape for block in plan.blocks(torch.zeros(5, 8))]
        [torch.Size([1, 1, 1, 8]), torch.Size([1, 2, 2, 8])]
    """

    row: Tensor
    column: Tensor
    graph: Tensor
    transpose: Tensor
    first: Tensor
    position: Tensor
    graphs: tuple[int, ...]
    nodes: tuple[int, ...]
    num_graphs: int

    @property
    def diagonal(self) -> Tensor:
        """[N] the pair (i, i) of each node."""
        return self.first + self.position

    def pair(self, source: Tensor, target: Tensor) -> Tensor:
        """The numbers of pairs of nodes of one graph."""
        return self.first[source] + self.position[target]

    def blocks(self, x: Tensor) -> Iterator[Tensor]:
        """[graphs, n, n, C] of each size n, views of x [P, C]."""
        lengths = [g * n * n for g, n in zip(self.graphs, self.nodes, strict=True)]
        for part, g, n in zip(x.split(lengths), self.graphs, self.nodes, strict=True):
            yield part.view(g, n, n, x.size(-1))

    def matmul(self, a: Tensor, b: Tensor) -> Tensor:
        """[P, C] products of the matrices of each graph, channel by channel.

        Example:
            >>> plan = pair_plan(2)
            >>> a, b = torch.tensor([[1.0], [2], [3], [4]]), torch.tensor([[0.0], [1], [1], [0]])
            >>> plan.matmul(a, b).flatten().tolist()
            [2.0, 1.0, 4.0, 3.0]
        """
        pairs = zip(self.blocks(a), self.blocks(b), strict=True)
        products = [torch.einsum("gikc,gkjc->gijc", p, q).reshape(-1, a.size(1)) for p, q in pairs]
        return torch.cat(products) if products else a * b

    def softmax(self, x: Tensor) -> Tensor:
        """[P, C] softmax over the second node of each pair (i, j), channel by channel.

        Example:
            >>> pair_plan(2).softmax(torch.zeros(4, 1)).flatten().tolist()
            [0.5, 0.5, 0.5, 0.5]
        """
        parts = [block.softmax(2).flatten(0, 2) for block in self.blocks(x)]
        return torch.cat(parts) if parts else x

    def means(self, x: Tensor) -> Tensor:
        """[G, 2 C] means over the nodes of the diagonal, and over the pairs beside it.

        Graphs that have none get zeros.
        """
        same = (self.row == self.column).to(x.dtype)[:, None]
        parts = torch.cat([x * same, x * (1 - same)], 1)
        total = x.new_zeros(self.num_graphs, parts.size(1)).index_add(0, self.graph, parts)
        size = x.new_zeros(self.num_graphs).index_add(0, self.graph, same[:, 0])[:, None]
        count = torch.cat([size, size * (size - 1)], 1).clamp(min=1)
        return total / count.repeat_interleave(x.size(1), 1)


def pair_plan(
    num_nodes: int,
    batch: Tensor | None = None,
    num_graphs: int | None = None,
    *,
    device: torch.device | str = "cpu",
) -> PairPlan:
    """The pairs of a batch, on its device; one graph on `device` if `batch` is left out.

    Raises:
        ValueError: `batch` without `num_graphs`.
    """
    batch, num_graphs = graph_index(batch, num_graphs, num_nodes, torch.device(device))
    node = batch.argsort(stable=True)  # graph by graph
    size = segment_lengths(batch, num_graphs)
    start = segment_ptr(size)[:-1]
    order = size.argsort(stable=True)  # graphs by their sizes
    lengths = size[order].square()
    sizes, counts = size[size > 0].unique(return_counts=True)
    total = int(lengths.sum())
    block = segment_index(lengths, total)
    number, graph = ragged_ranges(0, lengths, total), order[block]
    n = size[graph]
    i, j = number.div(n, rounding_mode="floor"), number % n
    begin = torch.empty_like(size).index_copy(0, order, lengths.cumsum(0) - lengths)
    position = torch.empty_like(node)
    position[node] = ragged_ranges(0, size, num_nodes)
    return PairPlan(
        row=node[start[graph] + i],
        column=node[start[graph] + j],
        graph=graph,
        transpose=begin[graph] + j * n + i,
        first=begin[batch] + position * size[batch],
        position=position,
        graphs=tuple(counts.tolist()),
        nodes=tuple(sizes.tolist()),
        num_graphs=num_graphs,
    )
