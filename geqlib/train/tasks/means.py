"""Means of losses over a batch, in which padding does not count."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def mean_over(level: str, values: Tensor, batch: Any) -> Tensor:
    """The mean of values [entries, ...] over nodes, graphs or pairs of nodes.

    Args:
        level: "node", "graph" or "pair".
        values: one entry for each, finite for padding, too.
        batch: with `real_nodes`, `real_graphs` and `real_pairs` if it is padded
            (`geqlib.graph.padding`).

    Example:
        >>> from torch_geometric.data import Batch
        >>> batch = Batch(real_graphs=torch.tensor([True, True, False]))
        >>> mean_over("graph", torch.tensor([1.0, 2.0, 30.0]), batch)
        tensor(1.5000)
    """
    real = getattr(batch, f"real_{level}s", None)
    if real is None:
        return values.mean(0)
    mask = real.view(-1, *[1] * (values.dim() - 1))
    return torch.where(mask, values, 0.0).sum(0) / real.sum()
