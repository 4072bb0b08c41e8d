"""Cores of graphs: what remains when nodes of small degree are removed again and again."""

from __future__ import annotations

from torch import Tensor

from geqlib.graph.segments import segment_lengths

MOST_ROUNDS = 64  # a long path would take one for every node


def core_edges(edge_index: Tensor, num_nodes: int, degree: int) -> Tensor:
    """[2, edges] the edges between nodes that have at least that many neighbours of this kind.

    A subgraph whose nodes have at least `degree` neighbours in it lies in this core. Long paths
    that end there are not removed entirely, as the number of rounds is bounded.

    Args:
        edge_index: [2, E] both directions of every edge.
        num_nodes: N.
        degree: smallest number of neighbours.

    Example:
        >>> import torch
        >>> paw = torch.tensor([[0, 0, 1, 1, 2, 2, 2, 3], [1, 2, 0, 2, 0, 1, 3, 2]])
        >>> core_edges(paw, 4, 2).tolist()
        [[0, 0, 1, 1, 2, 2], [1, 2, 0, 2, 0, 1]]
    """
    for _ in range(MOST_ROUNDS):
        enough = segment_lengths(edge_index[0], num_nodes) >= degree
        inside = enough[edge_index[0]] & enough[edge_index[1]]
        if bool(inside.all()):
            break
        edge_index = edge_index[:, inside]
    return edge_index
