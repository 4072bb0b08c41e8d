"""A plan taken apart by the sizes of its ego nets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from geqlib.spen.ego_index import ego_index
from geqlib.spen.ego_nets import EgoPlan

NO_EDGES = np.zeros((2, 0), np.int64)


@dataclass(frozen=True)
class EgoPart:
    """Some ego nets of a plan, as a plan of their own.

    Args:
        plan: counts the nodes, ego nets and pairs that occur in it.
        node, ego, pair: their numbers in the whole plan.
        node_share, pair_share: [n, 1], [p, 1] of the ego nets that hold a node or pair, how large a
            share is in this part.

    Example:
        >>> from geqlib.graph import ego_plan
        >>> plan = ego_plan(torch.tensor([[0, 1], [1, 0]]), 3)
        >>> small, large = split_by_size(plan, (1, 2))
        >>> small.node.tolist(), large.node.tolist()
        ([2], [0, 1])
    """

    plan: EgoPlan
    node: Tensor
    ego: Tensor
    pair: Tensor
    node_share: Tensor
    pair_share: Tensor


def split_by_size(plan: EgoPlan, sizes: Sequence[int]) -> tuple[EgoPart, ...]:
    """One part for each of `sizes`: the ego nets that are nearest to it, the smaller one in a tie.

    Example:
        >>> from geqlib.graph import ego_plan
        >>> plan = ego_plan(torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), 4)
        >>> [part.ego.tolist() for part in split_by_size(plan, (2, 3))]
        [[0, 2, 3], [1]]
    """
    kept = np.asarray(sizes)
    if len(kept) == 0 or kept.min() < 1 or (np.diff(kept) <= 0).any():
        raise ValueError(f"sizes must be positive and rising, got {tuple(sizes)}.")
    size = plan.size.cpu().numpy()
    nearest = np.abs(size[:, None] - kept).argmin(1)
    return tuple(_part(plan, nearest == k, size) for k in range(len(kept)))


def _part(plan: EgoPlan, chosen: np.ndarray, size: np.ndarray) -> EgoPart:
    nodes, device = len(plan.diagonal), plan.node.device
    ego = np.flatnonzero(chosen)
    slot = chosen[plan.ego.cpu().numpy()]
    known, node = np.unique(plan.node.cpu().numpy()[slot], return_inverse=True)
    ptr = np.concatenate([[0], size[ego].cumsum()])
    centre = None
    if plan.centre is not None:
        centre = np.searchsorted(known, plan.node[plan.centre].cpu().numpy()[ego])
    index = ego_index(ptr, node, len(known), NO_EDGES, centre, symmetric=plan.symmetric)
    own = EgoPlan(**index)
    keys = (plan.source * nodes + plan.target).cpu().numpy()
    ends = known[own.source.numpy()], known[own.target.numpy()]
    pair = np.searchsorted(keys, ends[0] * nodes + ends[1])
    numbers = [torch.from_numpy(x).to(device) for x in (known, ego, pair)]
    own = own.to(device)
    held, holders = own.members.T.counts(), plan.members.T.counts()
    shares = held.double() / holders[numbers[0]], own.count.double() / plan.count[numbers[2]]
    return EgoPart(own, *numbers, *(share[:, None] for share in shares))
