"""Copies that show the same need to be computed once: the quotient of a frame by the stabiliser."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from geqlib.frames.copies import FrameCopies, ragged
from geqlib.frames.frame_types import Named
from geqlib.frames.orders import columns, joined_ranks, tolerant_ranks
from geqlib.symmetry.types import TensorType


def quotient(plan: FrameCopies, tensors: Named, rounding: Tensor) -> FrameCopies:
    """The plan that computes one of every set of equal copies of a sample.

    Where g and h show the same, g^-1 x = h^-1 x up to a relabelling if the plan orders nodes, g
    h^-1 is in the stabiliser of x; so one copy of each coset of the stabiliser is computed, and
    its outputs, turned by all frames of the coset and averaged, are projected onto what the
    stabiliser fixes. The mean is that over all frames.

    Args:
        plan: of all copies.
        tensors: name -> (tensor, type) of the batch.
        rounding: [B] differences of values that are none.
    """
    source = _equal_copies(plan, tensors, rounding)
    kept, place = source.unique(return_inverse=True)
    if len(kept) == len(source):
        return plan
    chosen, copies = {}, len(source)
    for rows, copy in (("node", plan.node_copy), ("edge", plan.edge_copy)):
        chosen[rows] = ragged(copy, kept, copies)
    start = torch.searchsorted(plan.node_copy, torch.arange(copies, device=kept.device))
    again = torch.searchsorted(chosen["node"][1], torch.arange(len(kept), device=kept.device))
    moved = start[kept] - again
    edges, edge_copy = chosen["edge"]
    shown = replace(
        plan,
        matrix=plan.matrix[kept],
        sample=plan.sample[kept],
        weight=plan.weight[kept],
        nodes=plan.nodes[chosen["node"][0]],
        node_copy=chosen["node"][1],
        edges=plan.edges[edges],
        edge_copy=edge_copy,
        edge_index=plan.edge_index[:, edges] - moved[edge_copy],
        wigner=tuple(matrix[kept] for matrix in plan.wigner),
        parity=plan.parity[kept],
        orbit=None,
    )
    same = {"graph": place}
    for rows, copy in (("node", shown.node_copy), ("edge", shown.edge_copy)):
        same[rows] = ragged(copy, place, len(kept))[0]
    return replace(plan, shown=shown, same=same)


def _equal_copies(plan: FrameCopies, tensors: Named, rounding: Tensor) -> Tensor:
    """[F] the first copy of the same sample that shows the same."""
    sample = plan.sample
    copies, limit = len(sample), rounding[sample]
    seen = [_rows(plan, x.detach(), type_) for x, type_ in tensors.values()]
    generator = torch.Generator().manual_seed(0)
    group = sample
    for _ in range(2):  # random sums of equal copies are equal, those of others are not
        total = limit.new_zeros(copies)
        for values, copy, place in seen:
            width = int(place.max()) + 1 if len(place) else 0
            table = torch.rand(width, values.size(1), generator=generator, dtype=torch.float64)
            part = (values * table.to(values)[place]).sum(1) / max(values.size(1) * width, 1)
            total = total.index_add(0, copy, part)
        group = joined_ranks(group, tolerant_ranks(total, sample, limit))
    first = torch.full((copies,), copies, device=sample.device)
    number = torch.arange(copies, device=sample.device)
    source = first.scatter_reduce(0, group, number, "amin")[group]
    wrong = torch.zeros(copies, dtype=torch.bool, device=sample.device)
    for values, copy, place in seen:
        start = torch.searchsorted(copy, number)
        other = values[start[source[copy]] + place]
        far = ((values - other).abs() > limit[copy, None]).any(1)
        wrong |= torch.bincount(copy[far], minlength=copies) > 0
    return torch.where(wrong, number, source)


def _rows(plan: FrameCopies, x: Tensor, type_: TensorType) -> tuple[Tensor, Tensor, Tensor]:
    """What copies show of a tensor [rows, columns], the copy of each row, and its place there."""
    if type_.kind == "edge_index":
        start = torch.searchsorted(plan.node_copy, torch.arange(len(plan.sample), device=x.device))
        values, copy = (plan.edge_index - start[plan.edge_copy]).T, plan.edge_copy
    else:
        values, copy = plan.show(x, type_), plan.of(type_.level)[1]
    first = torch.searchsorted(copy, copy)
    place = torch.arange(len(copy), device=copy.device) - first
    return columns(values), copy, place
