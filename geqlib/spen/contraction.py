"""What linear maps of ego nets need of the features, each at the level that it lives on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from geqlib.spen.ego_nets import EgoPlan

Features = Mapping[int, Tensor]


class Contraction(NamedTuple):
    """Parts of the features of a batch.

    Args:
        slot: [S, ...] means over rows and over columns; with centres also the centre's row and
            column.
        mean: [N, ...] means of `slot` over the ego nets that hold a node.
        node: [N, ...] diagonal and order 1.
        ego: [G, ...] means of order 2, order 0, means of the diagonal and of order 1; with centres
            also the centre's own diagonal and order 1, and the means of its row and column.
    """

    slot: Tensor | None
    mean: Tensor | None
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
    if centre and (plan.centre is None or plan.spokes is None):
        raise ValueError("centre=True needs ego nets with centres: make the plan by ego_plan.")
    slots, nodes = [], []
    if 2 in x:
        rows, diagonal = plan.places.mean_and_rows(x[2], plan.diagonal)
        slots.append(rows.view(shape))
        nodes.append(diagonal)
    if 2 in x and centre and plan.spokes is not None:
        slots.append((plan.spokes @ x[2]).view(shape))
    if 1 in x:
        nodes.append(x[1])
    slot, node = _joined(slots), _joined(nodes)
    mean, common, spokes = _means(slot, plan, shape[1])
    egos = [part[:, :channels] for part in common]  # rows and columns have one mean
    if 0 in x:
        egos.append(x[0])
    if node is not None:
        egos.append(plan.nets.mean(node))
    if node is not None and centre and plan.centre is not None:
        egos.append(node.index_select(0, plan.node.index_select(0, plan.centre)))
    return Contraction(slot, mean, node, torch.cat([*egos, *spokes], 1))


def _means(
    slot: Tensor | None, plan: EgoPlan, width: int
) -> tuple[Tensor | None, Sequence[Tensor], Sequence[Tensor]]:
    """Over the ego nets of a node; over an ego net; the same of the centre's row and column."""
    if slot is None:
        return None, [], []
    mean, ego = plan.parents.T.mean(slot).tensor_split([plan.diagonal.size(0)])
    common, *spokes = ego.split(width, 1)
    return mean, [common], spokes


def _joined(parts: Sequence[Tensor]) -> Tensor | None:
    if len(parts) > 1:
        return torch.cat(list(parts), 1)
    return parts[0] if parts else None
