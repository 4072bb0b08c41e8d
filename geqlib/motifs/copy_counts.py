"""Counts of the copies of cycles and paths: in whole graphs, around nodes, between pairs."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import torch
from torch import Tensor

from geqlib.graph.segments import segment_lengths
from geqlib.motifs.copies import Columns, PathPairs, chain_order
from geqlib.motifs.graphs import Graphs
from geqlib.motifs.patterns import Pattern, root_images
from geqlib.motifs.tables import row_keys, row_nodes


def count_copies(
    pairs: PathPairs, pattern: Pattern, graphs: Graphs, induced: bool
) -> Tensor | tuple[Tensor, Tensor]:
    """How many copies of a cycle or path there are, from a list of them.

    Args:
        pairs: of paths, which joined are the copies.
        pattern: the cycle or path with 0, 1 or 2 roots, and without labels.
        graphs: in which the copies lie.
        induced: whether copies with further edges between their nodes are left out.

    Returns:
        [G] for each graph without roots, [N] for each node with one root, [2, P] pairs of nodes and
        [P] with two.

    Example:
        >>> from geqlib.motifs.graphs import simple_graphs
        >>> from geqlib.motifs.homomorphisms import Counter
        >>> from geqlib.motifs.patterns import as_pattern
        >>> square = torch.tensor([[0, 1, 1, 2, 2, 3, 3, 0], [1, 0, 2, 1, 3, 2, 0, 3]])
        >>> counter = Counter(simple_graphs(square, 4))
        >>> pairs = counter.path_lists(cyclic=True).pairs(4)
        >>> count_copies(pairs, as_pattern("C4"), counter.graphs, induced=True).tolist()
        [1]
    """
    number = {node: k for k, node in enumerate(chain_order(pattern))}
    positions = {tuple(number[node] for node in roots) for roots in root_images(pattern)}
    copies = pairs.copies()
    if induced:
        copies = (_without_chords(nodes, graphs, pairs.cyclic) for nodes in copies)
    if len(pattern.roots) == 2:
        return _in_pairs(copies, positions, graphs)
    size = graphs.num_nodes if pattern.roots else graphs.num_graphs
    total = graphs.batch.new_zeros(size)
    for nodes in copies:
        if pattern.roots:
            at = torch.cat([nodes[position] for (position,) in positions])
        else:
            at = graphs.batch[nodes[0]]
        total += segment_lengths(at, size)
    return total


def _in_pairs(
    copies: Iterator[Columns], positions: set[tuple[int, ...]], graphs: Graphs
) -> tuple[Tensor, Tensor]:
    keys, counts = [graphs.batch.new_zeros(0)], [graphs.batch.new_zeros(0)]
    for nodes in copies:
        at = [row_keys([nodes[a], nodes[b]], graphs.num_nodes) for a, b in positions]
        key, count = torch.cat(at).unique(return_counts=True)
        keys.append(key)
        counts.append(count)
    key, inverse = torch.cat(keys).unique(return_inverse=True)
    count = torch.zeros_like(key).index_add(0, inverse, torch.cat(counts))
    return torch.stack(row_nodes(key, 2, graphs.num_nodes)), count


def _without_chords(nodes: Columns, graphs: Graphs, cyclic: bool) -> Columns:
    edge = row_keys(list(graphs.edge_index), graphs.num_nodes)
    free = torch.ones_like(nodes[0], dtype=torch.bool)
    for a, b in combinations(range(len(nodes)), 2):
        if b - a > 1 and not (cyclic and b - a == len(nodes) - 1):
            key = row_keys([nodes[a], nodes[b]], graphs.num_nodes)
            row = torch.searchsorted(edge, key).clamp(max=len(edge) - 1)
            free &= edge[row] != key
    return tuple(column[free] for column in nodes)
