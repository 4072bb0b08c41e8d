"""Sums over the nodes of each graph."""

from __future__ import annotations

from torch import Tensor

from geqlib.graph.checks import as_index


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
    if num_graphs is None:
        raise ValueError("batch is given without num_graphs: pass the number of graphs too.")
    return x.new_zeros(num_graphs, *x.shape[1:]).index_add(0, as_index(batch, "batch"), x)
