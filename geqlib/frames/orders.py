"""Canonical orders of the nodes of every copy: frames of S_n, exact where values are equal."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from geqlib.frames.canonical_labelling import canonical_labelling
from geqlib.frames.copies import FrameCopies
from geqlib.frames.frame_types import Named


def ordered(plan: FrameCopies, tensors: Named, rounding: Tensor) -> FrameCopies:
    """The plan with the nodes of each copy in an order that no relabelling of the batch changes.

    Nodes are sorted by all that the copy shows of them. If nodes with equal values remain, and the
    graph has edges, their order is a canonical labelling of the coloured graph, and nodes that its
    automorphisms exchange form classes.

    Args:
        plan: in the order of the batch.
        tensors: name -> (tensor, type) of the batch.
        rounding: [B] differences of values that are none.

    Raises:
        ValueError: NaN, or a canonical labelling that takes too long.
    """
    colour = node_colours(plan, tensors, rounding)
    has_edges = any(type_.kind == "edge_index" for _, type_ in tensors.values())
    orbit, order = colour, colour.argsort(stable=True)
    if has_edges and len(colour.unique()) < len(colour):
        order, orbit = _labelled(plan, colour, _edge_colours(plan, tensors, rounding))
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order), device=order.device)
    ends = place[plan.edge_index]
    arranged = (ends[0] * len(place) + ends[1]).argsort(stable=True)
    return replace(
        plan,
        nodes=plan.nodes[order],
        orbit=orbit[order],
        edges=plan.edges[arranged],
        edge_copy=plan.edge_copy[arranged],
        edge_index=ends[:, arranged],
    )


def node_colours(plan: FrameCopies, tensors: Named, rounding: Tensor) -> Tensor:
    """[M] numbers by which nodes sort: by copy, then by the columns of all tensors of nodes."""
    return _colours(plan, tensors, rounding, "node", plan.node_copy)


def _edge_colours(plan: FrameCopies, tensors: Named, rounding: Tensor) -> Tensor:
    """[L] ranks of the edges' values among those of their copy."""
    found = _colours(plan, tensors, rounding, "edge", plan.edge_copy)
    return found - _first(found, plan.edge_copy, len(plan.sample))[plan.edge_copy]


def _colours(
    plan: FrameCopies, tensors: Named, rounding: Tensor, rows: str, copy: Tensor
) -> Tensor:
    colour, limit = copy, rounding[plan.sample[copy]]
    for x, type_ in tensors.values():
        if type_.level != rows or type_.kind in ("batch", "edge_index"):
            continue
        values = columns(plan.show(x.detach(), type_))
        if bool(values.isnan().any()):
            raise ValueError(f"{type_.where} has NaN, which has no place in an order: mend it.")
        for column in values.unbind(1):
            colour = joined_ranks(colour, tolerant_ranks(column, copy, limit))
    return colour


def tolerant_ranks(values: Tensor, group: Tensor, limit: Tensor) -> Tensor:
    """Ranks [n] by group and value; neighbours in that order whose gap is within `limit` share one.

    Example:
        >>> x, zero = torch.tensor([0.3, 0.1, 0.3 + 1e-9, 0.2]).double(), torch.zeros(4).long()
        >>> tolerant_ranks(x, zero, torch.full((4,), 1e-6)).tolist()
        [2, 0, 2, 1]
    """
    order = values.argsort(stable=True)
    order = order[group[order].argsort(stable=True)]
    value, member = values[order], group[order]
    new = (value.diff() > limit[order][1:]) | (member.diff() != 0)
    ranks = torch.empty_like(order)
    ranks[order] = torch.cat([order.new_zeros(min(len(order), 1)), new.long().cumsum(0)])
    return ranks


def joined_ranks(first: Tensor, second: Tensor) -> Tensor:
    """Ranks by the first key, then by the second."""
    pairs = first * (len(second) + 1) + second
    return pairs.unique(return_inverse=True)[1]


def _labelled(plan: FrameCopies, colour: Tensor, edge_colour: Tensor) -> tuple[Tensor, Tensor]:
    """Order and classes [M] from canonical labellings, where colours are not enough."""
    copies = len(plan.sample)
    device, colours = colour.device, colour.cpu().numpy()
    edges, kinds = plan.edge_index.cpu().numpy(), edge_colour.cpu().numpy()
    nodes = _ends(plan.node_copy, copies)
    lines = _ends(plan.edge_copy, copies)
    order, orbit = np.empty(len(colours), np.int64), np.empty(len(colours), np.int64)
    for k in range(copies):
        a, b = nodes[k], nodes[k + 1]
        mine = slice(lines[k], lines[k + 1])
        own = colours[a:b]
        if len(np.unique(own)) == b - a:
            order[a:b], orbit[a:b] = own.argsort() + a, np.arange(a, b)
            continue
        found = canonical_labelling(edges[:, mine] - a, b - a, own - own.min(), kinds[mine])
        order[a:b], orbit[a:b] = found.order + a, found.orbit + a
    return torch.from_numpy(order).to(device), torch.from_numpy(orbit).to(device)


def _ends(copy: Tensor, copies: int) -> np.ndarray:
    return np.searchsorted(copy.cpu().numpy(), np.arange(copies + 1))


def columns(x: Tensor) -> Tensor:
    """[rows, ...] as [rows, columns], in float64."""
    return (x.flatten(1) if x.dim() > 1 else x[:, None]).double()


def _first(values: Tensor, group: Tensor, groups: int) -> Tensor:
    """[groups] smallest value of each."""
    low = values.new_zeros(groups)
    return low.scatter_reduce(0, group, values, "amin", include_self=False)
