"""What linear maps of ego nets need of the features, each at the level that it lives on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from geqlib.graph.ego import EgoPlan

Features = Mapping[int, Tensor]


class Contraction(NamedTuple):
    """Parts of the features of a batch.

    Args:
        slot: [S, ...] means over rows and over columns; with centres also the centre's row and
            column.
        node: [N, ...] diagonal and order 1.
        ego: [G, ...] means of order 2, order 0, means of the diagonal and of order 1; with centres
            also the centre's own diagonal and order 1, and the means of its row and column.
    """

    slot: Tensor | None
    node: Tensor | None
    ego: Tensor


def contract(x: Features, plan: EgoPlan, channels: int, *, centre: bool) -> Contraction:
    """All contractions of features of orders 0, 1 and 2 on ego nets.

    Args:
        x: order -> [G, C], [N, C] or [P, C].
        plan: of the ego nets.
        channels: C.
        centre: whether the centre is told from the other nodes.
    """
    shape = (plan.node.size(0), channels if plan.symmetric else 2 * channels)
    slots, nodes, egos = [], [], []
    if 2 in x:
        slots.append(plan.places.mean(x[2]).view(shape))
        nodes.append(x[2].index_select(0, plan.diagonal))
        egos.append(plan.slots.mean(slots[0])[:, :channels])  # rows and columns have one mean
    if 1 in x:
        nodes.append(x[1])
    if 0 in x:
        egos.append(x[0])
    node = torch.cat(nodes, 1) if nodes else None
    if node is not None:
        egos.append(plan.nets.mean(node))
    if centre:
        _contract_centre(x, plan, shape, node, slots, egos)
    slot = torch.cat(slots, 1) if slots else None
    return Contraction(slot, node, torch.cat(egos, 1))


def _contract_centre(
    x: Features, plan: EgoPlan, shape: Any, node: Tensor | None, slots: list, egos: list
) -> None:
    if plan.centre is None or plan.spokes is None:
        raise ValueError("centre=True needs ego nets with centres: make the plan by ego_plan.")
    if node is not None:
        egos.append(node.index_select(0, plan.node.index_select(0, plan.centre)))
    if 2 in x:
        slots.append((plan.spokes @ x[2]).view(shape))
        egos.append(plan.slots.mean(slots[-1]))
