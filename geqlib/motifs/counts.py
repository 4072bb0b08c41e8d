"""Counts of motifs, in whole graphs, around nodes and between pairs of nodes.

Copies of cycles and paths are listed where they are few, as in molecules; other counts are sums of
counts of homomorphisms. Either way they are counted in the core that the copies lie in.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import lcm

import torch
from torch import Tensor

from geqlib.motifs.basis import Basis, Kind, check_kind, hom_basis
from geqlib.motifs.copies import PathPairs, chain_order
from geqlib.motifs.copy_counts import count_copies
from geqlib.motifs.elimination import best_rooted, parts_with_roots
from geqlib.motifs.homomorphisms import Counter, check_roots
from geqlib.motifs.patterns import Pattern
from geqlib.motifs.tables import row_keys, row_nodes

LARGEST_SUM = 2.0**62  # in int64
FEW_PAIRS = 2**18  # pairs of paths, which take less time than to find out what sums would cost
ROWS_PER_PAIR = 8  # of a sum take the time of one pair of paths, as measured on random graphs


def count_motifs(
    counter: Counter, pattern: Pattern, kind: Kind = "sub"
) -> Tensor | tuple[Tensor, Tensor]:
    """How often a motif occurs in each graph, around each node or between each pair of nodes.

    A copy is counted at the nodes of its roots. Two roots of a copy are two different nodes; those
    of a homomorphism may be one.

    Args:
        counter: of the batch, which caches what motifs have in common.
        pattern: with 0, 1 or 2 roots.
        kind: homomorphisms ("hom"), subgraphs ("sub") or induced subgraphs ("induced").

    Returns:
        integers: [G] without roots, [N] with one root, and with two [2, P] pairs of nodes and [P],
        where pairs that are not listed have 0.

    Raises:
        ValueError: more roots, a cost that is too large, sums that are not exact.

    Example:
        >>> from geqlib.motifs.graphs import simple_graphs
        >>> from geqlib.motifs.patterns import as_pattern
        >>> square = torch.tensor([[0, 1, 1, 2, 2, 3, 3, 0], [1, 0, 2, 1, 3, 2, 0, 3]])
        >>> counter = Counter(simple_graphs(square, 4))
        >>> count_motifs(counter, as_pattern("P3")).tolist()
        [4]
    """
    check_kind(kind)
    check_roots(pattern)
    if kind != "hom":
        counter = counter.core(min(map(len, pattern.neighbours)))
        pairs = _path_pairs(counter, pattern, kind)
        if pairs is not None:
            return count_copies(pairs, pattern, counter.graphs, kind == "induced")
    return _basis_sum(counter, pattern, kind)


def _basis_sum(counter: Counter, pattern: Pattern, kind: Kind) -> Tensor | tuple[Tensor, Tensor]:
    """As a sum of counts of homomorphisms."""
    basis = hom_basis(pattern, kind)
    for form in basis:
        counter.check_cost(form)
    if len(pattern.roots) == 0:
        return _combined(basis, [counter.of_graphs(form) for form in basis])
    if len(pattern.roots) == 1:
        return _combined(basis, [counter.of_nodes(form) for form in basis])
    pairs, values = zip(*(counter.of_pairs(form) for form in basis), strict=True)
    columns = [value[:, None] for value in values]
    pair, columns = common_pairs(pairs, columns, counter.graphs.num_nodes)
    count = _combined(basis, columns.T.unbind())
    if kind != "hom":  # two roots of one copy are two nodes
        count = count.masked_fill(pair[0] == pair[1], 0)
    return pair[:, count != 0], count[count != 0]


def _path_pairs(counter: Counter, pattern: Pattern, kind: Kind) -> PathPairs | None:
    """The pairs of paths that make the copies of a cycle or path, where listing them is faster."""
    if pattern.labels or not chain_order(pattern):
        return None
    cyclic = pattern.degree == pattern.nodes
    pairs = counter.path_lists(cyclic).pairs(pattern.nodes)
    if pairs is None or pairs.total <= FEW_PAIRS:
        return pairs
    if kind == "induced":  # whose sums have very many terms
        return pairs if pairs.total <= counter.most_steps else None
    parts = [part for form in hom_basis(pattern, kind) for part in parts_with_roots(form)]
    cost = sum(counter.cost(best_rooted(part)) for part in parts)
    return pairs if pairs.total * ROWS_PER_PAIR <= cost else None


def common_pairs(
    pairs: Sequence[Tensor], values: Sequence[Tensor], nodes: int
) -> tuple[Tensor, Tensor]:
    """Values at pairs of nodes, from several lists of pairs, as columns of one list.

    Args:
        pairs: lists [2, p] of different pairs.
        values: [p, channels] of each list.
        nodes: number of nodes.

    Returns:
        [2, P] all pairs, sorted, and [P, channels of all lists] values, 0 where a list lacks the
        pair.

    Example:
        >>> one, two = torch.tensor([[0], [1]]), torch.tensor([[0, 1], [1, 2]])
        >>> common_pairs([one, two], [torch.tensor([[5]]), torch.tensor([[6], [7]])], 3)[1].tolist()
        [[5, 6], [0, 7]]
    """
    keys = [row_keys([pair[0], pair[1]], nodes) for pair in pairs]
    every = torch.cat(keys).unique()
    columns = [
        value.new_zeros(len(every), value.size(1)).index_add(
            0, torch.searchsorted(every, key), value
        )
        for key, value in zip(keys, values, strict=True)
    ]
    return torch.stack(row_nodes(every, 2, nodes)), torch.cat(columns, 1)


def _combined(basis: Basis, values: Sequence[Tensor]) -> Tensor:
    """The sum of coefficients times values, in integers."""
    shared = lcm(*(coefficient.denominator for coefficient in basis.values()))
    factors = [int(coefficient * shared) for coefficient in basis.values()]
    pairs = list(zip(factors, values, strict=True))
    size = sum((abs(factor) * value.double() for factor, value in pairs), torch.zeros(()))
    if size.numel() and bool(size.max() >= LARGEST_SUM):
        raise ValueError(
            "The terms of a motif's count are 2^62 or more, and their sum would not be exact: "
            "count a smaller motif, or in sparser graphs."
        )
    total = sum((factor * value for factor, value in pairs), torch.zeros_like(values[0]))
    return total.div(shared, rounding_mode="floor")
