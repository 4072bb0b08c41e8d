"""Complete subgraphs, each found once: from every node towards those of larger degree."""

from __future__ import annotations

import torch
from torch import Tensor

from geqlib.graph.segments import segment_lengths
from geqlib.motifs.tables import Table, sum_of_products


def clique_counts(edge_index: Tensor, num_nodes: int, largest: int) -> list[Tensor]:
    """[N] complete subgraphs of 2, 3, ..., `largest` nodes that begin at each node.

    Nodes are ordered by degree, and a clique begins at its first node, so that the sum over the
    nodes of a graph is the number of its cliques, and lists stay as short as cliques are few.

    Args:
        edge_index: [2, E] both directions of every edge of a simple graph.
        num_nodes: N.
        largest: at least 2.

    Example:
        >>> full = (1 - torch.eye(5)).nonzero().T
        >>> [int(counts.sum()) for counts in clique_counts(full, 5, 5)]
        [10, 10, 5, 1]
    """
    degree = segment_lengths(edge_index[0], num_nodes)
    rank = torch.empty_like(degree)
    rank[degree.argsort(stable=True)] = torch.arange(num_nodes, device=rank.device)
    source, target = edge_index[:, rank[edge_index[0]] < rank[edge_index[1]]]
    one = torch.ones(len(source), dtype=torch.float64, device=source.device)
    edges = cliques = Table((0, 1), (source, target), one, num_nodes)
    counts = [segment_lengths(source, num_nodes)]
    for size in range(2, largest):
        towards = [edges.of((node, size)) for node in range(size)]
        cliques = sum_of_products([cliques, *towards], range(size + 1))
        counts.append(segment_lengths(cliques.nodes[0], num_nodes))
    return counts
