"""Sparse functions of a few nodes, and sums of products of them, by joins as in a data base.

A table lists the assignments of nodes to its variables for which a function is not zero, and its
values there. A sum over one variable of a product of tables is one join after the other, from the
widest table on; where joined rows would be too many at once, the first table is cut in halves.
Values are whole numbers in float64, which adds and multiplies them exactly below 2^53.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from geqlib.graph.segments import ragged_ranges
from geqlib.motifs.bounds import MOST_ROWS

EXACT = 2**53  # below which float64 holds all whole numbers
ROWS_AT_ONCE = 2**22  # of a join; more are made piece by piece
LARGEST_KEY = 2**62  # a row of nodes is numbered by an integer below


@dataclass(frozen=True)
class Table:
    """A function of nodes that is zero except for some assignments.

    Args:
        variables: numbers of the variables.
        nodes: [rows] of each variable, its node.
        value: [rows] whole numbers, float64.
        num_nodes: nodes that there are.
    """

    variables: tuple[int, ...]
    nodes: tuple[Tensor, ...]
    value: Tensor
    num_nodes: int

    def __len__(self) -> int:
        return len(self.value)

    def over(self, variables: Sequence[int]) -> Table:
        """The same function of other variables."""
        return Table(tuple(variables), self.nodes, self.value, self.num_nodes)

    def column(self, variable: int) -> Tensor:
        """[rows] the nodes of one variable."""
        return self.nodes[self.variables.index(variable)]

    def rows(self, index: Tensor | slice) -> Table:
        """Some of the rows."""
        nodes = tuple(column[index] for column in self.nodes)
        return Table(self.variables, nodes, self.value[index], self.num_nodes)

    def dense(self) -> Tensor:
        """[N] a function of one variable as a vector."""
        return self.value.new_zeros(self.num_nodes).index_add(0, self.nodes[0], self.value)


@dataclass(frozen=True)
class _Sorted:
    """A table sorted by the variables that it shares with those joined before."""

    table: Table
    shared: tuple[int, ...]
    key: Tensor

    def matches(self, table: Table) -> tuple[Tensor, Tensor]:
        """Where the matching rows of each row begin, and how many there are."""
        key = row_keys([table.column(v) for v in self.shared], table.num_nodes)
        low = torch.searchsorted(self.key, key)
        return low, torch.searchsorted(self.key, key, right=True) - low


def sum_of_products(tables: Sequence[Table], free: Sequence[int]) -> Table:
    """The product of tables, summed over all variables but the free ones.

    Args:
        tables: connected by common variables.
        free: variables of the result, in order.

    Returns:
        Each row once: in lexicographic order, except where a product of more than two variables
        is not summed at all.

    Raises:
        ValueError: a sum that is not below 2^53, or more than 10^8 rows.

    Example:
        >>> ends = (torch.tensor([0, 1]), torch.tensor([1, 0]))  # of an edge, in both directions
        >>> edge = Table((0, 1), ends, torch.ones(2, dtype=torch.float64), 2)
        >>> walks = sum_of_products([edge, edge.over((1, 2))], (0, 2))  # of two steps
        >>> [column.tolist() for column in walks.nodes], walks.value.tolist()
        ([[0, 1], [0, 1]], [1.0, 1.0])
    """
    first, *others = _join_order(tables)
    return _joined(first, _sorted_tables(first, others), tuple(free))


def row_keys(columns: Sequence[Tensor], num_nodes: int) -> Tensor:
    """[rows] one integer for each row of nodes, in lexicographic order.

    Args:
        columns: [rows] each.
        num_nodes: nodes that there are.

    Raises:
        ValueError: more rows of nodes than there are integers of 64 bits.

    Example:
        >>> row_keys([torch.tensor([2]), torch.tensor([4])], 5)
        tensor([14])
    """
    if num_nodes ** len(columns) > LARGEST_KEY:
        raise ValueError(
            f"Rows of {len(columns)} nodes out of {num_nodes} cannot be numbered in 64 bits: count "
            "on fewer graphs at once."
        )
    key = columns[0]
    for column in columns[1:]:
        key = key * num_nodes + column
    return key


def _join_order(tables: Sequence[Table]) -> list[Table]:
    """The widest table first, then those that only filter, then those whose new variable makes most
    others filters, the smallest of them first."""
    left = sorted(tables, key=lambda t: (-len(t.variables), len(t)))
    order, bound = [left[0]], set(left[0].variables)
    left = left[1:]
    while left:
        touching = [t for t in left if bound & set(t.variables)]
        new = min(touching, key=lambda t: _rank(t, bound, left))
        left.remove(new)
        order.append(new)
        bound |= set(new.variables)
    return order


def _rank(table: Table, bound: set[int], left: Sequence[Table]) -> tuple[int, int, int]:
    """New variables, how many of the tables that are left would filter after it (negated), size."""
    after = bound | set(table.variables)
    filters = sum(after.issuperset(other.variables) for other in left)
    return len(after) - len(bound), -filters, len(table)


def _sorted_tables(first: Table, others: Sequence[Table]) -> list[_Sorted]:
    bound, steps = set(first.variables), []
    for table in others:
        shared = tuple(v for v in table.variables if v in bound)
        key = row_keys([table.column(v) for v in shared], table.num_nodes)
        if bool((key.diff() < 0).any()):
            key, order = key.sort()
            table = table.rows(order)
        steps.append(_Sorted(table, shared, key))
        bound |= set(table.variables)
    return steps


def _joined(table: Table, others: Sequence[_Sorted], free: tuple[int, ...]) -> Table:
    if not others:
        return _summed(table, free)
    other, *rest = others
    low, count = other.matches(table)
    total = int(count.sum())
    if total > ROWS_AT_ONCE and len(table) > 1:
        half = len(table) // 2
        halves = [table.rows(slice(half)), table.rows(slice(half, None))]
        return _summed(_stacked([_joined(part, others, free) for part in halves]), free)
    row = torch.arange(len(table), device=low.device).repeat_interleave(count, output_size=total)
    match = ragged_ranges(low, count, total)
    new = [v for v in other.table.variables if v not in table.variables]
    nodes = [column[row] for column in table.nodes]
    nodes += [other.table.column(v)[match] for v in new]
    value = table.value[row] * other.table.value[match]
    variables = (*table.variables, *new)
    return _joined(Table(variables, tuple(nodes), value, table.num_nodes), rest, free)


def _stacked(parts: Sequence[Table]) -> Table:
    if sum(map(len, parts)) > MOST_ROWS:
        raise ValueError(
            f"A count has more than {MOST_ROWS:.0e} rows of {len(parts[0].variables)} nodes in "
            "memory: count around single nodes, or on smaller graphs or fewer at once."
        )
    nodes = tuple(torch.cat(columns) for columns in zip(*(p.nodes for p in parts), strict=True))
    value = torch.cat([part.value for part in parts])
    return Table(parts[0].variables, nodes, value, parts[0].num_nodes)


def _summed(table: Table, free: tuple[int, ...]) -> Table:
    """Summed over all variables but the free ones."""
    columns = [table.column(v) for v in free]
    if len(free) == len(table.variables) > 2:  # rows are different, and may be too long for a key
        nodes, value = tuple(columns), table.value
    elif len(free) == 1:
        total = table.value.new_zeros(table.num_nodes).index_add(0, columns[0], table.value)
        nodes = (total.nonzero().flatten(),)
        value = total[nodes[0]]
    else:
        key = row_keys(columns, table.num_nodes)
        key, inverse = key.unique(return_inverse=True)
        value = table.value.new_zeros(len(key)).index_add(0, inverse, table.value)
        nodes = row_nodes(key, len(free), table.num_nodes)
    if len(value) and bool(value.max() >= EXACT):
        raise ValueError(
            "A count is 2^53 or more, and would not be exact: count a smaller pattern, or on "
            "sparser graphs."
        )
    return Table(free, nodes, value, table.num_nodes)


def row_nodes(key: Tensor, count: int, num_nodes: int) -> tuple[Tensor, ...]:
    """The columns [rows] that have these keys [rows], the inverse of `row_keys`.

    Example:
        >>> row_nodes(row_keys([torch.tensor([2]), torch.tensor([4])], 5), 2, 5)
        (tensor([2]), tensor([4]))
    """
    num_nodes = max(num_nodes, 1)
    columns: list[Tensor] = []
    for _ in range(count - 1):
        columns.append(key % num_nodes)
        key = key.div(num_nodes, rounding_mode="floor")
    return (key, *reversed(columns))
