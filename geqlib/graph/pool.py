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
