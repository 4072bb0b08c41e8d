"""The partial order of nodes by which PARD generates a graph."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from geqlib.graph.pool import graph_index
from geqlib.graph.segments import segment_lengths, segment_ptr

LARGEST = 2**63 - 1


class BlockOrder(NamedTuple):
    """Blocks of nodes of a batch, in the order in which they are generated.

    Args:
        block: [N] block of each node in its graph, from 0.
        graph: [B] graph of each block; those of a graph follow each other.
        size: [B] nodes of each block.
        degree: [B] how many neighbours each node of a block has in it and in earlier blocks; 0
            where the whole graph is one block by `hops` 0.

    Example:
        >>> star = torch.tensor([[0, 0, 0, 1, 2, 3], [1, 2, 3, 0, 0, 0]])
        >>> order = partial_order(star, 4)
        >>> order.block.tolist(), order.size.tolist(), order.degree.tolist()
        ([0, 1, 1, 1], [1, 3], [0, 1])
    """

    block: Tensor
    graph: Tensor
    size: Tensor
    degree: Tensor


def partial_order(
    edge_index: Tensor,
    num_nodes: int,
    batch: Tensor | None = None,
    num_graphs: int | None = None,
    *,
    hops: int = 1,
) -> BlockOrder:
    """Blocks of nodes with the same degree, taken off a graph from its outside.

    Symmetry: equivariant under relabelling, exactly: nodes that no weight distinguishes are one
    block. Source: Zhao et al., "Pard: Permutation-invariant autoregressive diffusion for graph
    generation" (NeurIPS 2024), algorithm 1. With A the adjacency matrix of the nodes that remain,

        x_0 = 1, x_k = x_{k-1} + A x_{k-1} for k = 1..hops,

    and all nodes with the smallest (x_1, ..., x_hops), in lexicographic order, are the next block,
    which is deleted; the last block deleted is the first generated. Published code compares
    sum_k x_k n^(hops - k) in place of the tuple: from two hops on it can rank nodes otherwise, and
    put nodes of different degree into one block, where an x_k is n or more.

    Args:
        edge_index: [2, E] both directions of every edge.
        num_nodes: N.
        batch: [N] graph of each node; one graph if it is left out.
        num_graphs: G, needed with `batch`.
        hops: K; with 0 a graph is one block.

    Raises:
        ValueError: negative hops, so many that 64 bits do not hold the counts, an edge without its
            reverse, a loop, a repeated edge, or one between two graphs, `batch` without
            `num_graphs`.
    """
    if hops < 0:
        raise ValueError(f"hops must be at least 0, got {hops}.")
    batch, num_graphs = graph_index(batch, num_graphs, num_nodes, edge_index.device)
    source, target = simple_edges(edge_index, num_nodes)
    if bool((batch[source] != batch[target]).any()):
        raise ValueError("An edge joins nodes of two graphs: number nodes through the batch.")
    most = int(segment_lengths(batch, num_graphs).max()) if num_nodes else 0
    if most**hops > LARGEST:
        raise ValueError(
            f"hops is {hops}, whose walk counts in a graph of {most} nodes do not fit 64 bits: "
            "take fewer."
        )
    number, degree = _taken(source, target, batch, num_graphs, hops)
    blocks = number.new_zeros(num_graphs).scatter_reduce(0, batch, number + 1, "amax")
    block = blocks[batch] - 1 - number
    whole = segment_ptr(blocks)[batch] + block  # number of the block in the batch
    graph = torch.repeat_interleave(blocks)
    of_block = degree.new_zeros(len(graph)).scatter(0, whole, degree)
    return BlockOrder(block, graph, segment_lengths(whole, len(graph)), of_block)


def simple_edges(edge_index: Tensor, num_nodes: int) -> Tensor:
    """[2, E] the same, if it is a simple undirected graph.

    Raises:
        ValueError: an edge without its reverse, a loop, a repeated edge, a node out of range.

    Example:
        >>> simple_edges(torch.tensor([[0], [1]]), 2)
        Traceback (most recent call last):
        ...
        ValueError: Edges are not those of a simple undirected graph: give both directions of \
every edge, once each, and no loops.
    """
    edge_index = edge_index.long()
    source, target = edge_index
    if edge_index.numel() and not 0 <= int(edge_index.min()) <= int(edge_index.max()) < num_nodes:
        raise ValueError(f"An edge names a node outside 0 to {num_nodes - 1}.")
    forth, back = ((a * num_nodes + b).sort().values for a, b in (edge_index, edge_index.flip(0)))
    simple = torch.equal(forth, back) and not bool((forth[1:] == forth[:-1]).any())
    if not simple or bool((source == target).any()):
        raise ValueError(
            "Edges are not those of a simple undirected graph: give both directions of every edge, "
            "once each, and no loops."
        )
    return edge_index


def _taken(
    source: Tensor, target: Tensor, batch: Tensor, num_graphs: int, hops: int
) -> tuple[Tensor, Tensor]:
    """[N] in which round each node is deleted, and its degree then."""
    number, degree = torch.zeros_like(batch), torch.zeros_like(batch)
    if hops == 0:
        return number, degree
    remaining, step = torch.ones_like(batch, dtype=torch.bool), 0
    while bool(remaining.any()):
        alive = remaining[source] & remaining[target]
        source, target = source[alive], target[alive]
        least, x = remaining, remaining.long()
        for hop in range(hops):
            x = x.index_add(0, target, x[source])
            if hop == 0:
                current = x - 1
            inside = torch.where(least, x, LARGEST)
            smallest = inside.new_full((num_graphs,), LARGEST)
            smallest = smallest.scatter_reduce(0, batch, inside, "amin")
            least = least & (x == smallest[batch])
        number = torch.where(least, step, number)
        degree = torch.where(least, current, degree)
        remaining, step = remaining & ~least, step + 1
    return number, degree
