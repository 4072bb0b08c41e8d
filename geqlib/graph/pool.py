"""Graphs of nodes, and sums over the nodes of each graph."""

from __future__ import annotations

import torch
from torch import Tensor

from geqlib.graph.checks import as_index


def graph_index(
    batch: Tensor | None, num_graphs: int | None, num_nodes: int, device: torch.device
) -> tuple[Tensor, int]:
    """The graph of each node [N], and the number of graphs: one graph if `batch` is None.

    Raises:
        ValueError: `batch` without `num_graphs`.

    Example:
        >>> graph_index(None, None, 2, torch.device("cpu"))
        (tensor([0, 0]), 1)
    """
    if batch is None:
        return torch.zeros(num_nodes, dtype=torch.long, device=device), 1
    if num_graphs is None:
        raise ValueError("batch is given without num_graphs: pass the number of graphs too.")
    return as_index(batch, "batch"), num_graphs


def sum_pool(x: Tensor, batch: Tensor | None, num_graphs: int | None) -> Tensor:
    """Sum features of nodes graph by graph; graphs without nodes get zeros.

    Args:
        x: [N, ...].
        batch: [N] graph of each node; None if all belong to one graph.
        num_graphs: number of graphs; needed with `batch`, because empty graphs leave no trace
            in it.

    Returns:
        [num_graphs, ...].

    Example:
        >>> import torch
        >>> sum_pool(torch.ones(3, 1), torch.tensor([0, 0, 2]), 4).flatten().tolist()
        [2.0, 0.0, 1.0, 0.0]
    """
    if batch is None and num_graphs not in (None, 1):
        raise ValueError(f"num_graphs is {num_graphs}, but batch is missing: pass it too.")
    if batch is None:
        return x.sum(0, keepdim=True)
    batch, num_graphs = graph_index(batch, num_graphs, x.size(0), x.device)
    return x.new_zeros(num_graphs, *x.shape[1:]).index_add(0, batch, x)


def beside_pooled(pooled: Tensor, motifs: Tensor | None, channels: int) -> Tensor:
    """What a network pooled of the nodes of each graph, with features of the whole graph beside it.

    Args:
        pooled: [G, C].
        motifs: [G, channels] such as counts of cliques, or None.
        channels: that the network takes; 0 for none.

    Returns:
        [G, C + channels].

    Raises:
        ValueError: features that are missing, not expected or of another shape.

    Example:
        >>> beside_pooled(torch.zeros(2, 3), torch.ones(2, 1), 1).shape
        torch.Size([2, 4])
    """
    if motifs is None and not channels:
        return pooled
    shape = None if motifs is None else tuple(motifs.shape)
    if motifs is None or shape != (pooled.size(0), channels):
        raise ValueError(
            f"motifs {'is missing' if shape is None else f'has shape {shape}'}, expected "
            f"({pooled.size(0)}, {channels}): give every graph that many features, or set "
            "graph_dim of the model to how many there are."
        )
    return torch.cat([pooled, motifs.to(pooled.dtype)], 1)
