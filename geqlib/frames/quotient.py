"""Minimal frames: of copies that are equal, one is computed. The quotient by the stabiliser."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from geqlib.frames.copies import DistinctCopies, FrameCopies, members
from geqlib.frames.node_orders import columns, joined_ranks, tolerant_ranks
from geqlib.symmetry.types import TensorType, Typed


def quotient(plan: FrameCopies, seen: Typed, rounding: Tensor) -> FrameCopies:
    """The plan that computes one of every set of equal copies of a sample.

    Where g^-1 x = h^-1 x, up to a relabelling if the plan orders nodes, g h^-1 is in the stabiliser
    of x; so one copy of each coset of the stabiliser is computed, and its outputs, transformed by
    all frames of the coset and averaged, are projected onto what the stabiliser fixes. The mean is
    that over all frames.

    Args:
        plan: of all copies.
        seen: name -> (g^-1 x in all copies, type).
        rounding: [B] differences of values that count as none.
    """
    source = _first_equal(plan, seen, rounding)
    chosen, graph = source.unique(return_inverse=True)
    count = len(source)
    if len(chosen) == count:
        return plan
    nodes, node_copy = members(plan.node_copy, chosen, count)
    edges, edge_copy = members(plan.edge_copy, chosen, count)
    start = torch.searchsorted(plan.node_copy, chosen)
    start = start - torch.searchsorted(node_copy, torch.arange(len(chosen), device=chosen.device))
    copies = replace(
        plan,
        matrix=plan.matrix[chosen],
        sample=plan.sample[chosen],
        weight=plan.weight[chosen],
        nodes=plan.nodes[nodes],
        node_copy=node_copy,
        edges=plan.edges[edges],
        edge_copy=edge_copy,
        edge_index=plan.edge_index[:, edges] - start[edge_copy],
        wigner=tuple(matrix[chosen] for matrix in plan.wigner),
        orbit=None,
    )
    node = members(node_copy, graph, len(chosen))[0]
    edge = members(edge_copy, graph, len(chosen))[0]
    return replace(plan, distinct=DistinctCopies(copies, node, edge, graph))


def _first_equal(plan: FrameCopies, seen: Typed, rounding: Tensor) -> Tensor:
    """[F] for each copy, the first copy of the same sample that is equal."""
    sample = plan.sample
    count, limit = len(sample), rounding[sample]
    parts = [_positioned(plan, x.detach(), type_) for x, type_ in seen.values()]
    # numpy's, as torch's are refused inside `torch.func` transforms
    generator = np.random.default_rng(0)
    group = sample
    for _ in range(2):  # random sums of equal copies are equal, those of others are not
        total = limit.new_zeros(count)
        for values, copy, position in parts:
            size = int(position.max()) + 1 if len(position) else 0
            table = torch.from_numpy(generator.random((size, values.size(1))))
            part = (values * table.to(values)[position]).sum(1) / max(values.size(1) * size, 1)
            total = total.index_add(0, copy, part)
        group = joined_ranks(group, tolerant_ranks(total, sample, limit))
    first = torch.full((count,), count, device=sample.device)
    number = torch.arange(count, device=sample.device)
    source = first.scatter_reduce(0, group, number, "amin")[group]
    wrong = torch.zeros(count, dtype=torch.bool, device=sample.device)
    for values, copy, position in parts:
        start = torch.searchsorted(copy, number)
        other = values[start[source[copy]] + position]
        far = ((values - other).abs() > limit[copy, None]).any(1)
        wrong |= torch.bincount(copy[far], minlength=count) > 0
    return torch.where(wrong, number, source)


def _positioned(plan: FrameCopies, x: Tensor, type_: TensorType) -> tuple[Tensor, Tensor, Tensor]:
    """Values [n, columns] of a tensor in all copies, the copy of each, and its position there."""
    copy = plan.of(type_.level)[1]
    if type_.kind == "edge_index":
        first = torch.searchsorted(plan.node_copy, plan.edge_copy)
        x = (x - first).T
    position = torch.arange(len(copy), device=copy.device) - torch.searchsorted(copy, copy)
    return columns(x), copy, position
