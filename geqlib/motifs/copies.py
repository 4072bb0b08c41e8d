"""Copies of cycles and paths in a batch of graphs, each once, as pairs of shorter paths.

A cycle is two paths from one of its nodes to the node opposite, and a path is two paths from its
middle, which have no further node in common. Cycles begin at their node of largest degree, so that
few paths lead through such nodes. Paths grow by one edge at a time, in all graphs at once, and how
long a list may become follows from degrees before it is made.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product

import torch
from torch import Tensor

from geqlib.graph.segments import ragged_ranges, segment_index, segment_lengths, segment_ptr
from geqlib.motifs.patterns import Pattern
from geqlib.motifs.tables import row_keys

MOST_PATHS = 2**24  # of one length, in memory
PAIRS_AT_ONCE = 2**20  # of paths
Columns = tuple[Tensor, ...]


@cache
def chain_order(pattern: Pattern) -> tuple[int, ...]:
    """The nodes along a pattern that is a path or a cycle of at least 3 nodes; () for others.

    Example:
        >>> from geqlib.motifs.patterns import as_pattern
        >>> chain_order(as_pattern("0-2,2-1")), chain_order(as_pattern("star3"))
        ((0, 2, 1), ())
    """
    around = pattern.neighbours
    degrees = [len(others) for others in around]
    if pattern.nodes < 3 or max(degrees) > 2 or len(pattern.components()) > 1:
        return ()
    order = [degrees.index(min(degrees))]
    while left := around[order[-1]] - set(order):
        order.append(min(left))
    return tuple(order)


@dataclass(frozen=True)
class PathPairs:
    """Pairs of paths that meet where they begin, and in a cycle also where they end.

    Args:
        short, long: [paths] nodes of the paths, column by column; those of the long ones sorted.
        low, count: [short paths] where their partners begin, and how many there are.
        cyclic: whether the copies are cycles.
    """

    short: Columns
    long: Columns
    low: Tensor
    count: Tensor
    cyclic: bool

    @property
    def total(self) -> int:
        return int(self.count.sum())

    def copies(self) -> Iterator[Columns]:
        """[copies] nodes along the copies, column by column, in pieces of bounded size."""
        piece = self.count.cumsum(0).div(PAIRS_AT_ONCE, rounding_mode="floor")
        first = 0
        for length in piece.unique_consecutive(return_counts=True)[1].tolist():
            yield self._copies(slice(first, first + length))
            first += length

    def _copies(self, rows: slice) -> Columns:
        count = self.count[rows]
        one = segment_index(count) + rows.start
        two = ragged_ranges(self.low[rows], count)
        # every copy is two pairs, one for each direction, that differ in these nodes
        column = 1 if self.cyclic else -1
        once = self.short[column][one] < self.long[column][two]
        one, two = one[once], two[once]
        inner = slice(1, -1) if self.cyclic else slice(1, None)
        short = [nodes[one] for nodes in self.short[inner]]
        long = [nodes[two] for nodes in self.long[inner]]
        apart = torch.ones_like(one, dtype=torch.bool)
        for a, b in product(short, long):
            apart &= a != b
        end = [self.short[-1][one]] if self.cyclic else []
        along = [*reversed(long), self.short[0][one], *short, *end]
        return tuple(nodes[apart] for nodes in along)


class PathLists:
    """Paths by their number of edges, each list from that of the paths one edge shorter.

    Args:
        edge_index: [2, E] both directions of every edge of a simple graph, sorted.
        num_nodes: N.
        cyclic: whether the paths are parts of cycles, which begin at their node of largest degree.
    """

    def __init__(self, edge_index: Tensor, num_nodes: int, cyclic: bool) -> None:
        source, self.target = edge_index
        self.num_nodes, self.cyclic = num_nodes, cyclic
        self.degree = segment_lengths(source, num_nodes)
        self.begin = segment_ptr(self.degree)[:-1]
        node = torch.arange(num_nodes, device=source.device)
        self.rank = torch.empty_like(node)
        self.rank[self.degree.argsort(descending=True, stable=True)] = node
        self.lists: list[Columns] = [(node,)]

    def pairs(self, nodes: int) -> PathPairs | None:
        """The pairs of paths that make the cycles or paths of a number of nodes.

        Args:
            nodes: of each cycle or path, at least 3.

        Returns:
            the pairs; None if paths of half the length are more than 2^24.

        Example:
            >>> square = torch.tensor([[0, 0, 1, 1, 2, 2, 3, 3], [1, 3, 0, 2, 1, 3, 0, 2]])
            >>> pairs = PathLists(square, 4, cyclic=True).pairs(4)
            >>> [column.tolist() for nodes in pairs.copies() for column in nodes]
            [[3], [0], [1], [2]]
        """
        edges = nodes if self.cyclic else nodes - 1
        short, long = self._paths(edges // 2), self._paths(edges - edges // 2)
        if short is None or long is None:
            return None
        shared = (0, -1) if self.cyclic else (0,)
        key, wanted = (
            row_keys([paths[k] for k in shared], self.num_nodes) for paths in (long, short)
        )
        key, order = key.sort(stable=True)
        low = torch.searchsorted(key, wanted)
        count = torch.searchsorted(key, wanted, right=True) - low
        return PathPairs(short, tuple(column[order] for column in long), low, count, self.cyclic)

    def _paths(self, edges: int) -> Columns | None:
        while len(self.lists) <= edges:
            paths = self.lists[-1]
            if int(self.degree[paths[-1]].sum()) > MOST_PATHS:
                return None
            self.lists.append(self._longer(paths))
        return self.lists[edges]

    def _longer(self, paths: Columns) -> Columns:
        """By one node, which is none of those before; in cycles none before the first."""
        first, last = paths[0], paths[-1]
        path = segment_index(self.degree[last])
        node = self.target[ragged_ranges(self.begin[last], self.degree[last])]
        new = self.rank[node] > self.rank[first][path] if self.cyclic else node != first[path]
        for column in paths[1:-1]:
            new &= node != column[path]
        path = path[new]
        return (*(column[path] for column in paths), node[new])
