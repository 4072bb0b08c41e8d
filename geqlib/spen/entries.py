"""Entries of the matrices of all ego nets, the pairs of nodes that they are of, and incidences."""

from __future__ import annotations

import torch
from torch import Tensor

from geqlib.spen.incidence import Incidence, from_zero, pointers, take


class Entries:
    """The entries (row, column) of the matrices of all ego nets, both as members.

    Args:
        ptr: [G + 1] first member of each ego net.
        ego: [S] ego net of each member.
        count: Q, the number of entries.
    """

    def __init__(self, ptr: Tensor, ego: Tensor, count: int) -> None:
        self.length = take(ptr.diff(), ego)
        self.begin = from_zero(self.length.cumsum(0))
        self.shift = self.begin[:-1] - take(ptr, ego)
        member = torch.arange(ego.size(0), device=ego.device)
        self.row = member.repeat_interleave(self.length, output_size=count)
        self.column = torch.arange(count, device=ego.device) - take(self.shift, self.row)

    def at(self, row: Tensor, column: Tensor) -> Tensor:
        """Indices of entries."""
        return take(self.shift, row) + column


def sorted_ends(source: Tensor, target: Tensor, symmetric: bool) -> tuple[Tensor, Tensor]:
    """Both nodes of pairs, of symmetric ones in ascending order."""
    if not symmetric:
        return source, target
    return torch.minimum(source, target), torch.maximum(source, target)


class Pairs:
    """The pairs of all entries, numbered by their keys.

    Args:
        key: [Q] of the pair of each entry: source * nodes + target.
    """

    def __init__(self, key: Tensor) -> None:
        self.ordered, self.order = key.sort(stable=True)
        new = self.ordered[1:] != self.ordered[:-1]
        self.rank = from_zero(new.cumsum(0))[: key.size(0)]

    def count(self) -> Tensor:
        """P, which is no number of the host."""
        return self.rank[-1] + 1 if self.rank.size(0) else self.rank.sum()

    def numbered(self, count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The pair of each entry, sorting order, where each begins in it, keys of pairs."""
        start = pointers(self.rank, count)
        number = torch.empty_like(self.rank).scatter_(0, self.order, self.rank)
        return number, self.order, start, take(self.ordered, start[:-1])

    def of_edges(
        self, edge_index: Tensor | None, num_nodes: int, symmetric: bool
    ) -> tuple[Tensor, Tensor]:
        """[E] the pair of each edge, and whether an ego net contains it."""
        if edge_index is None:
            return self.rank[:0], self.rank.new_zeros(0, dtype=torch.bool)
        first, second = sorted_ends(edge_index[0], edge_index[1], symmetric)
        key = first * num_nodes + second
        if self.rank.size(0) == 0:
            return key, torch.zeros_like(key, dtype=torch.bool)
        place = torch.searchsorted(self.ordered, key).clamp(max=self.rank.size(0) - 1)
        return take(self.rank, place), take(self.ordered, place) == key


def owners_matrix(node: Tensor, ego: Tensor, ptr: Tensor, members: Incidence) -> Incidence:
    """[S x (N + G)] members by their nodes and ego nets."""
    nodes, count = members.start.size(0) - 1, node.size(0)
    return Incidence(
        torch.stack([node, ego + nodes], 1).flatten(),
        2 * members.ptr,
        torch.cat([members.back, members.ptr[:-1]]),
        torch.cat([members.start, ptr[1:] + count]),
    )


def lines_matrix(
    entries: Entries, pair: Tensor, mirror: Tensor, order: Tensor, start: Tensor, symmetric: bool
) -> Incidence:
    """[2S x P] or [S x P] the rows and columns of the matrices; `order` sorts entries by pair."""
    row, column, begin = entries.row, entries.column, entries.begin
    if symmetric:
        return Incidence(pair, begin, take(row, order), start)
    here = torch.arange(row.size(0), device=row.device) + take(begin, row)  # a row, then a column
    index = pair.new_empty(2 * pair.size(0)).scatter_(0, here, pair)
    index = index.scatter_(0, here + take(entries.length, row), mirror)
    ptr = from_zero(entries.length.repeat_interleave(2).cumsum(0))
    back = torch.stack([2 * take(row, order), 2 * take(column, order) + 1], 1).flatten()
    return Incidence(index, ptr, back, 2 * start)
