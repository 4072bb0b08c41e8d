"""Random parts of sets."""

from __future__ import annotations

import torch
from torch import Tensor

from geqlib.monoid.tree import check_index


def random_groups(index: Tensor, num_sets: int) -> tuple[Tensor, Tensor]:
    """Cut every set into random groups: from one group of all to groups of one element each.

    The elements of a set are put in random order, and each begins a new group with a probability
    that is drawn for the set. Randomness is that of torch's global generator.

    Args:
        index: [N] the set of each element, in any order.
        num_sets: number of sets.

    Returns:
        [N] the group of each element, and [groups] the set of each group.

    Raises:
        ValueError: index of a wrong shape or type, or out of range.

    Example:
        >>> group, owner = random_groups(torch.tensor([2, 0, 2, 2]), 3)
        >>> owner[group].tolist(), int(owner.numel()) in (2, 3, 4)
        ([2, 0, 2, 2], True)
    """
    check_index(index, num_sets)
    mixed = torch.randperm(len(index), device=index.device)
    order = mixed[torch.argsort(index[mixed], stable=True)]
    owner = index[order]
    begins = torch.rand(len(index), device=index.device)
    begins = begins < torch.rand(num_sets, device=index.device)[owner]
    begins[1:] |= owner.diff() != 0
    begins[:1] = True
    group = torch.empty_like(index)
    group[order] = begins.long().cumsum(0).to(index.dtype) - 1
    return group, owner[begins]
