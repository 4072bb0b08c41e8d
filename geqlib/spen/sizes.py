"""Weights that depend on the size of an ego net."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from geqlib.graph.plan import Plan
from geqlib.spen.incidence import from_zero, once
from geqlib.spen.maps import EquivariantMaps
from geqlib.spen.plan import EgoPlan, build_plan


class SizeEmbedding(nn.Module):
    """Factors and biases for the ego nets of each size m: a small network on log m and 1/m.

    At first all factors are 1 and all biases 0.

    Args:
        maps: whose factors and biases they are.
        bias: whether there are biases.
        hidden: width.
    """

    def __init__(self, maps: EquivariantMaps, *, bias: bool = True, hidden: int = 16) -> None:
        super().__init__()
        self.widths = [maps.ego_width, sum(maps.split) if bias else 0]
        self.enter, self.leave = nn.Linear(2, hidden), nn.Linear(hidden, sum(self.widths))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        self.enter.reset_parameters()
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, size: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
        """Sizes [G] to factors [G, ego_width] and biases [G, sum(split)]."""
        return self._of_features(_features(size, dtype))

    def of_plan(self, plan: EgoPlan, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
        """The same of the sizes of a plan, whose logarithms are taken once for all layers."""
        return self._of_features(_plan_features(plan, dtype))

    def _of_features(self, features: Tensor) -> tuple[Tensor, Tensor | None]:
        gain, shift = self.leave(torch.tanh(self.enter(features))).split(self.widths, 1)
        return 1 + gain, shift if self.widths[1] else None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.widths[0]}, {self.widths[1]})"


def factors_of_layers(
    embeddings: Sequence[SizeEmbedding], plan: EgoPlan, dtype: torch.dtype
) -> list[tuple[Tensor, Tensor | None]]:
    """`SizeEmbedding.of_plan` of several layers: those of equal widths are one batch.

    Example:
        >>> from geqlib.spen.plan import ego_plan
        >>> embeddings = [SizeEmbedding(EquivariantMaps(4, 4, (1, 2), (1, 2))) for _ in range(3)]
        >>> plan = ego_plan(torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), 3)
        >>> len(factors_of_layers(embeddings, plan, torch.float32))
        3
    """
    features, results = _plan_features(plan, dtype), {}
    for widths in dict.fromkeys(tuple(e.widths) for e in embeddings):
        numbers = [k for k, e in enumerate(embeddings) if tuple(e.widths) == widths]
        same = [embeddings[k] for k in numbers]
        enter = torch.cat([e.enter.weight for e in same])
        hidden = linear(features, enter, torch.cat([e.enter.bias for e in same])).tanh()
        hidden = hidden.unflatten(1, (len(same), -1)).transpose(0, 1)
        bias = torch.stack([e.leave.bias for e in same]).unsqueeze(1)
        leave = torch.stack([e.leave.weight for e in same])
        gain, shift = torch.baddbmm(bias, hidden, leave.mT).split(list(widths), 2)
        shifts = shift.unbind() if widths[1] else [None] * len(same)
        results |= zip(numbers, zip((1 + gain).unbind(), shifts, strict=True), strict=True)
    return [results[k] for k in range(len(embeddings))]


def _plan_features(plan: EgoPlan, dtype: torch.dtype) -> Tensor:
    values = plan.__dict__.setdefault("size_features", {})
    return once(values, dtype, lambda: _features(plan.size, dtype))


def _features(size: Tensor, dtype: torch.dtype) -> Tensor:
    size = size.clamp(min=1).to(dtype)  # graphs without nodes
    return torch.stack([size.log(), 1 / size], 1)


@dataclass(frozen=True)
class EgoPart(Plan):
    """Some ego nets of a plan, as a plan of their own.

    Args:
        plan: counts the nodes, ego nets and pairs that occur in it.
        node, ego, pair: their indices in the whole plan.
        node_share, pair_share: [n, 1], [p, 1] of the ego nets that contain a node or pair, the
            share that is in this part.

    Example:
        >>> from geqlib.spen.plan import ego_plan
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

    @property
    def index(self) -> tuple[Tensor, Tensor, Tensor]:
        """Where its features of order 0, 1 and 2 are in those of the whole plan."""
        return self.ego, self.node, self.pair


def split_by_size(plan: EgoPlan, sizes: Sequence[int]) -> tuple[EgoPart, ...]:
    """One part for each of `sizes`: the ego nets that are nearest to it, the smaller one in a tie.

    Raises:
        ValueError: if sizes are not positive and ascending.

    Example:
        >>> from geqlib.spen.plan import ego_plan
        >>> plan = ego_plan(torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), 4)
        >>> [part.ego.tolist() for part in split_by_size(plan, (2, 3))]
        [[0, 2, 3], [1]]
    """
    if not sizes or min(sizes) < 1 or sorted(set(sizes)) != list(sizes):
        raise ValueError(f"sizes must be positive and ascending, got {tuple(sizes)}.")
    choices = torch.tensor(list(sizes), device=plan.node.device)
    nearest = (plan.size[:, None] - choices).abs().argmin(1)
    return tuple(_part(plan, nearest == k) for k in range(len(sizes)))


def _part(plan: EgoPlan, chosen: Tensor) -> EgoPart:
    """The part with the chosen ego nets, [G] flags."""
    ego, inside = chosen.nonzero()[:, 0], chosen[plan.ego]
    node, local = torch.unique(plan.node[inside], return_inverse=True)
    centre = None
    if plan.centre is not None:
        centre = (inside.cumsum(0) - 1)[plan.centre[ego]]
    ptr = from_zero(plan.size[ego].cumsum(0))
    own = build_plan(ptr, local, node.size(0), centre=centre, symmetric=plan.symmetric)
    nodes = plan.diagonal.size(0)
    pairs = plan.source * nodes + plan.target
    pair = torch.searchsorted(pairs, node[own.source] * nodes + node[own.target])
    node_share = own.members.T.counts().double() / plan.members.T.counts()[node]
    pair_share = own.count.double() / plan.count[pair]
    return EgoPart(own, node, ego, pair, node_share[:, None], pair_share[:, None])
