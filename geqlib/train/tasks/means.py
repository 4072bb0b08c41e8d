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


def labelled_means(values: Tensor, labelled: Tensor, graph: Tensor, num_graphs: int) -> Tensor:
    """[num_graphs] means over what has a label in each graph; 0 where nothing has.

    Args:
        values: [entries, ...].
        labelled: of the same shape, whether it counts.
        graph: [entries] to which graph each belongs.
        num_graphs: how many there are.

    Example:
        >>> values, labelled = torch.tensor([1.0, 3.0, 9.0]), torch.tensor([True, True, False])
        >>> labelled_means(values, labelled, torch.tensor([0, 0, 1]), 2)
        tensor([2., 0.])
    """
    own = torch.where(labelled, values, 0.0)
    total, count = (x.unsqueeze(-1).flatten(1).sum(1).to(values.dtype) for x in (own, labelled))
    sums = (part.new_zeros(num_graphs).index_add(0, graph, part) for part in (total, count))
    numerator, denominator = sums
    return numerator / denominator.clamp(min=1)
