"""Complete subgraphs, each listed once: from every node towards those of larger degree."""

from __future__ import annotations

import torch
from torch import Tensor

from geqlib.graph.segments import segment_lengths
from geqlib.motifs.bounds import ADVICE, MOST_STEPS
from geqlib.motifs.tables import Table, sum_of_products


def clique_counts(
    edge_index: Tensor,
    num_nodes: int,
    largest: int,
    most_steps: float = MOST_STEPS,
    advice: str = ADVICE,
) -> list[Tensor]:
    """[N] complete subgraphs of 2, 3, ..., `largest` nodes that begin at each node.

    Nodes are ordered by degree, and a clique begins at its first node, so that the sum over the
    nodes of a graph is the number of its cliques, and lists stay as short as cliques are few.

    Args:
        edge_index: [2, E] both directions of every edge of a simple graph.
        num_nodes: N.
        largest: at least 2.
        most_steps: rows that the joins for all sizes may have; how many there are follows from
            degrees and from the cliques one node smaller, before they are made.
        advice: what to do where they are more, as the end of an error's sentence.

    Returns:
        `largest` - 1 tensors [N].

    Raises:
        ValueError: more rows than `most_steps`.

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
    later, steps = segment_lengths(source, num_nodes), 0
    for size in range(2, largest):
        steps += int(later[cliques.nodes[0]].sum())
        if steps > most_steps:
            raise ValueError(
                f"Complete graphs of {size + 1} nodes may need up to {steps:.1e} steps on these "
                f"graphs, and {most_steps:.1e} are allowed: {advice}."
            )
        towards = [edges.over((node, size)) for node in range(size)]
        cliques = sum_of_products([cliques, *towards], range(size + 1))
        counts.append(segment_lengths(cliques.nodes[0], num_nodes))
    return counts
