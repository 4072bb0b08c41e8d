"""The loss of GroCo: of the views of one graph and those of others, the own ones should be closer.

Source: Shvetsova et al., "Learning by sorting: self-supervised learning with group ordering
constraints" (ICCV 2023, arXiv 2301.02009).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy

from geqlib.frames.sorting_network import odd_even_sort


def group_ordering_losses(positive: Tensor, negative: Tensor, *, steepness: float = 1.0) -> Tensor:
    """[B] losses of anchors whose similarities to their own views should exceed those to others.

    Similarities of each group are sorted, negative ones come first, and a soft sorting network
    makes P of them all (`odd_even_sort` with "cauchy"). With m_j = sum over the |positive| highest
    places i of P_ij, how much of similarity j is among the highest,

        loss = mean over j of  -log m_j  for positive ones,  -log(1 - m_j)  for negative ones.

    The published code takes the mean of this and of the same for the lowest places, which are
    equal, as the columns of P sum to 1. Within a group the order does not count, and a tie between
    neighbours of one group may make the loss jump.

    Args:
        positive: [B, V] similarities of each anchor to other views of the same graph.
        negative: [B, K] its highest similarities to other graphs.
        steepness: of the swaps; 1 as published, for similarities in [-1, 1].

    Raises:
        ValueError: no positive or negative similarities, numbers of anchors that differ.

    Example:
        >>> apart = group_ordering_losses(torch.tensor([[1.0]]), torch.tensor([[-1.0, -1.0]]))
        >>> mixed = group_ordering_losses(torch.tensor([[-1.0]]), torch.tensor([[1.0, 1.0]]))
        >>> bool(apart < mixed)
        True
    """
    shapes = tuple(positive.shape), tuple(negative.shape)
    two = positive.dim() == negative.dim() == 2
    if not two or len(positive) != len(negative) or not (positive.size(1) and negative.size(1)):
        raise ValueError(
            f"similarities have shapes {shapes[0]} and {shapes[1]}: each anchor needs at least one "
            "to its own views and one to other graphs, [anchors, views] and [anchors, others]."
        )
    highest = positive.size(1)
    similarity = torch.cat([negative.sort(1).values, positive.sort(1).values], 1)
    _, order = odd_even_sort(similarity, steepness=steepness)
    mass = order[:, -highest:].sum(1).clamp(0, 1)  # which rounding leaves
    target = torch.zeros_like(mass)
    target[:, -highest:] = 1
    # NaN stays NaN, which is reported with its epoch and batch, where torch would stop
    losses = binary_cross_entropy(mass.nan_to_num(0.5), target, reduction="none")
    return torch.where(mass.isnan(), mass, losses).mean(1)
