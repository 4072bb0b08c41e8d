"""The maps between orders 1 and 2 on symmetric tensors, with all features in one tensor."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import pad

from geqlib.kernels.ego_maps import EgoGathers, EgoWeights, Gather, ego_maps
from geqlib.spen.incidence import from_zero, once, take
from geqlib.spen.maps import EquivariantMaps, contract
from geqlib.spen.plan import EgoPlan


def stackable(maps: EquivariantMaps) -> bool:
    """Whether `stacked_maps` knows such maps."""
    orders = set(maps.in_orders), set(maps.out_orders)
    return maps.symmetric and not maps.centre and orders in (({2}, {1, 2}), ({1, 2}, {1, 2}))


def stacked_maps(
    maps: EquivariantMaps,
    h: Tensor,
    plan: EgoPlan,
    gain: Tensor,
    shift: Tensor,
    gathers: EgoGathers,
) -> tuple[Tensor, Tensor]:
    """`EquivariantMaps` of features of pairs and nodes in one tensor, with few operations.

    Args:
        maps: for which `stackable` holds.
        h: [P + N, C] of pairs, then of nodes: zeros if maps read order 2 alone.
        plan: of the ego nets.
        gain, shift: see `EquivariantMaps.forward`.
        gathers: `ego_gathers(plan, h.dtype)`.

    Returns:
        [P + N, D], and what `contract` gives of each node, mean and node, [N, 3 C].
    """
    sizes = list(plan.lengths[:0:-1])
    names = EgoWeights._fields

    def plain(h: Tensor, gain: Tensor, shift: Tensor, *weights: Tensor) -> tuple[Tensor, Tensor]:
        pairs, nodes = h.split(sizes)
        x = {2: pairs, 1: nodes} if 1 in maps.in_orders else {2: pairs}
        contraction = contract(x, plan, maps.in_channels, centre=False)
        values = dict(zip(names, weights, strict=True))
        y = functional_call(maps, values, (x, plan, gain, shift), {"contraction": contraction})
        of_nodes = torch.cat([t for t in (contraction.mean, contraction.node) if t is not None], 1)
        missing = 3 * maps.in_channels - of_nodes.size(1)
        return torch.cat([y[2], y[1]]), pad(of_nodes, (0, missing))

    weights = EgoWeights(*(getattr(maps, name) for name in names))
    return ego_maps(h, gain, shift, weights, gathers, plain)


def ego_gathers(plan: EgoPlan, dtype: torch.dtype) -> EgoGathers:
    """The sparse matrices of the maps on a symmetric plan, computed once for it."""
    values = plan.__dict__.setdefault("gathers", {})
    return once(values, dtype, lambda: _gathers(plan, dtype))


def _gathers(plan: EgoPlan, dtype: torch.dtype) -> EgoGathers:
    _, nodes, pairs = plan.lengths
    lines, members, device = plan.lines, plan.node.size(0), plan.node.device
    entries = lines.index.size(0)
    low = torch.cat([plan.diagonal, torch.arange(pairs, pairs + nodes, device=device)])
    # the lines of members, and what belongs to the nodes already
    index = torch.cat([lines.index, low])
    ends = torch.arange(entries + 1, entries + 2 * nodes + 1, device=device)
    ptr = torch.cat([lines.ptr, ends])
    start = torch.cat([lines.start, lines.start[-1:].expand(nodes)])
    ones = torch.ones(2 * nodes, dtype=dtype, device=device)
    mean, mean_t = lines.weights_of_mean(dtype, 1.0)
    share, share_t = lines.T.weights_of_mean(dtype, 2.0)
    shares = _Shares(
        plan.members.T.counts().to(dtype).reciprocal(), plan.size.to(dtype).reciprocal()
    )
    average, broadcast_t = _to_owners(plan, shares)
    broadcast, average_t = _from_owners(plan, shares)
    return EgoGathers(
        pairs=pairs,
        nodes=nodes,
        members=members,
        low=low,
        restrict=Gather(index, ptr, torch.cat([mean, ones])),
        restrict_t=Gather(lines.back, start, mean_t),
        average=average,
        average_t=average_t,
        broadcast=broadcast,
        broadcast_t=broadcast_t,
        collect=Gather(lines.back, start, share),
        collect_t=Gather(index, ptr, torch.cat([share_t, ones])),
    )


class _Shares(NamedTuple):
    """1 / ego nets of each node, [N], and 1 / nodes of each ego net, [G]."""

    of_node: Tensor
    of_ego: Tensor


def _to_owners(plan: EgoPlan, shares: _Shares) -> tuple[Gather, Gather]:
    """Means over members and over nodes, and the transpose of the sums of `_from_owners`.

    Three rows of each node: its members, its diagonal entry, itself. Three of each ego net: its
    members, the diagonal entries of its nodes, its nodes.
    """
    nodes, members, device = plan.diagonal.size(0), plan.node.size(0), plan.node.device
    start, back, member = plan.members.start, plan.members.back, plan.members.ptr[:-1]
    number, of_entry = torch.arange(nodes, device=device), take(plan.node, back)
    # where each entry stands, row by row
    single = torch.add(start[1:], number, alpha=2)
    behind = torch.arange(members + 2 * nodes, 2 * members + 2 * nodes, device=device)
    begin = torch.add(behind, take(plan.nets.ptr, plan.ego), alpha=2)
    size = take(plan.size, plan.ego)
    place = [torch.add(member, of_entry, alpha=2), single, single + 1]
    place = torch.cat([*place, begin, begin + size, torch.add(begin, size, alpha=2)])
    both = torch.arange(members, members + 2 * nodes, device=device)
    diagonal = plan.node + members
    source = torch.cat([back, both, member, diagonal, diagonal + nodes])
    one = torch.ones_like(number)
    lengths = torch.stack([plan.members.T.counts(), one, one], 1).flatten()
    ptr = from_zero(torch.cat([lengths, plan.size.repeat_interleave(3)]).cumsum(0))
    of_node, part = take(shares.of_node, plan.node), take(shares.of_ego, plan.ego)
    ones = shares.of_node.new_ones(members + 2 * nodes)
    mean = [take(shares.of_node, of_entry), ones[: 2 * nodes], part, part, part]
    sums = [ones, ones[:members], of_node, of_node]
    index, *weights = (_placed(v, place) for v in (source, torch.cat(mean), torch.cat(sums)))
    first, second = (Gather(index, ptr, weight) for weight in weights)
    return first, second


def _from_owners(plan: EgoPlan, shares: _Shares) -> tuple[Gather, Gather]:
    """Sums over the node and the ego net of each member, means over the ego nets of each node; and
    the transpose of the means of `_to_owners`."""
    nodes, members, device = plan.diagonal.size(0), plan.node.size(0), plan.node.device
    start, back, ego = plan.members.start, plan.members.back, plan.nets.back
    number, of_entry = torch.arange(nodes, device=device), take(plan.node, back)
    # of a node its own row, then those of its ego nets
    place = torch.cat([start[:-1] + number, of_entry + torch.arange(1, members + 1, device=device)])
    own = torch.arange(1, 3 * nodes + 1, 3, device=device)
    own = _placed(torch.cat([own, 3 * ego + (3 * nodes + 1)]), place)
    index = torch.cat([3 * plan.owners.index, own, own + 1])
    ends = start[1:] + number + (2 * members + 1)
    ptr = torch.cat([2 * plan.members.ptr, ends, ends + own.size(0)])
    ones = shares.of_node.new_ones(max(nodes, 2 * members))
    means = [take(shares.of_node, of_entry), take(shares.of_ego, ego)]
    sums, means_t = (_placed(torch.cat([ones[:nodes], mean]), place) for mean in means)
    of_members = torch.stack([take(shares.of_node, plan.node), take(shares.of_ego, plan.ego)], 1)
    weights = [ones[: 2 * members], sums, sums], [of_members.flatten(), means_t, means_t]
    first, second = (Gather(index, ptr, torch.cat(parts)) for parts in weights)
    return first, second


def _placed(values: Tensor, place: Tensor) -> Tensor:
    return torch.empty_like(values).scatter_(0, place, values)
