"""Successive extremal vectors of point sets, of all samples of a batch at once.

The first vector of a chain is the longest one, the second the one farthest from its line, and so
on, until none is left that has a direction. Where several are equally extreme, each of them goes on
with a chain of its own. All choices are made by invariants: chains turn with the vectors.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from geqlib.graph.segments import ragged_ranges, segment_index, segment_lengths


@dataclass(frozen=True)
class Chains:
    """Chains of at most r vectors each.

    Args:
        vector: [c, r] numbers of the vectors.
        axes: [c, r, d] their directions, each orthogonal to those before it; 0 after the end.
        sample: [c] of each, ascending.
        length: [c, r] how far vectors extend along each axis, in units of the longest of the
            sample; 0 after the end.
    """

    vector: Tensor
    axes: Tensor
    sample: Tensor
    length: Tensor

    def by_rank(self) -> list[Chains]:
        """Those of 0, 1, ..., r vectors, without what follows their end."""
        ranks = (self.length > 0).sum(1)
        parts = []
        for rank in range(self.length.size(1) + 1):
            own = (ranks == rank).nonzero()[:, 0]
            vector, axes, length = (x[own, :rank] for x in (self.vector, self.axes, self.length))
            parts.append(Chains(vector, axes, self.sample[own], length))
        return parts


def extremal_chains(
    vectors: Tensor, sample: Tensor, levels: int, eps: Tensor, shortest: Tensor
) -> Chains:
    """The chains of all samples, at least one of each.

    The host waits once for each level where one vector of each sample is the most extreme. Where
    several are, it waits once more, and once for each of the different axes that the most symmetric
    sample has, however many samples there are.

    Args:
        vectors: [R, d] in float64. The first one of each sample is 0: a chain that ends repeats it.
        sample: [R] of each, ascending.
        levels: the largest number of axes.
        eps: [B] rounding unit of the data; numbers that differ by less than its square root in
            proportion count as equal.
        shortest: [B] so do differences that are at most this part of the longest vector, and
            lengths up to it have no direction.
    """
    count, root = len(eps), eps.sqrt()
    unit, number = _unit(vectors, sample, count), segment_lengths(sample, count)
    first = number.cumsum(0) - number
    own = torch.arange(count, device=sample.device)  # the sample of each chain
    points: list[Tensor] = []  # at each level a vector and an axis of each chain
    axes: list[Tensor] = []
    lengths: list[Tensor] = []  # at each level one of each sample
    for level in range(levels):
        # every vector of the sample of every chain
        chain, vector, end, owner, residual = sample, None, first, sample, unit
        if len(own) > count:
            each = number[own]
            chain, vector = segment_index(each), ragged_ranges(first[own], each)
            end, owner, residual = each.cumsum(0) - each, own[chain], unit[vector]
        if level:
            residual = _orthogonal(residual, torch.stack(axes, 1)[chain])
        length = torch.linalg.vector_norm(residual, dim=1)
        longest = unit.new_zeros(count).scatter_reduce(0, owner, length, "amax")
        ended = longest <= shortest
        slack = torch.minimum(shortest / longest, longest / 2)  # short vectors' directions err
        lowest = torch.addcmul(longest, longest, root, value=-1).sub_(slack)
        extreme = length >= lowest.masked_fill_(ended, torch.inf)[owner]
        extreme.index_copy_(0, end, ended if len(own) == count else ended[own])
        pick = extreme.nonzero()[:, 0]
        if len(pick) > count:
            # ties are broken by further invariants, as far as these differ
            point = pick if vector is None else vector[pick]
            if level:
                keys = [(unit[point] * axis[chain[pick]]).sum(1) for axis in axes]
            else:
                keys = [moment[point] for moment in _moments(unit, sample, number - 1)]
            pick = pick[_extreme(keys, owner[pick], root, slack)]
        several = len(own) > count or len(pick) > count
        point = pick if vector is None else vector[pick]
        axis = normalize(residual[pick], dim=1, eps=torch.finfo(unit.dtype).tiny)
        if several:
            before = chain[pick]
            axes, points = ([x[before] for x in part] for part in (axes, points))
            own = own[before]
        axes, points = [*axes, axis], [*points, point]
        lengths.append(longest.masked_fill(ended, 0.0))
        if several:
            new = _different(torch.cat(axes, 1), own, ended, slack)
            axes, points = ([x[new] for x in part] for part in (axes, points))
            own = own[new]
    return _chains(points, axes, own, lengths, unit)


def _chains(
    points: list[Tensor], axes: list[Tensor], own: Tensor, lengths: list[Tensor], unit: Tensor
) -> Chains:
    if not axes:
        none = unit.new_zeros(len(own), 0, unit.size(1))
        return Chains(own.new_zeros(len(own), 0), none, own, none[:, :, 0])
    length = torch.stack(lengths, 1)
    length = length if len(own) == len(length) else length[own]
    return Chains(torch.stack(points, 1), torch.stack(axes, 1), own, length)


def _unit(vectors: Tensor, sample: Tensor, count: int) -> Tensor:
    """Vectors in units of the longest of their sample; in two steps, so that nothing overflows."""
    for norm in (_largest, torch.linalg.vector_norm):
        size = norm(vectors, dim=1)
        largest = vectors.new_zeros(count).scatter_reduce(0, sample, size, "amax")
        vectors = vectors / largest.clamp_(min=torch.finfo(vectors.dtype).tiny)[sample, None]
    return vectors


def _largest(vectors: Tensor, dim: int) -> Tensor:
    return vectors.abs().amax(dim)


def _orthogonal(vectors: Tensor, axes: Tensor) -> Tensor:
    """What of vectors [R, d] is orthogonal to the axes [R, r, d]."""
    rest = vectors[:, :, None]
    for _ in range(2):  # twice is enough
        rest = torch.baddbmm(rest, axes.mT, torch.bmm(axes, rest), alpha=-1)
    return rest[:, :, 0]


def _extreme(keys: list[Tensor], owner: Tensor, root: Tensor, slack: Tensor) -> Tensor:
    """Numbers of those whose first key is largest in its sample, of those the second, and so on.

    Ties are included.
    """
    among = torch.ones_like(owner, dtype=torch.bool)
    for key in keys:
        best = torch.full_like(root, -torch.inf)
        best = best.scatter_reduce(0, owner, key.masked_fill(~among, -torch.inf), "amax")
        among &= key >= (best - root * best.abs() - slack)[owner]
    return among.nonzero()[:, 0]


def _moments(unit: Tensor, sample: Tensor, number: Tensor) -> list[Tensor]:
    """Means over j of (v_i . v_j)^3 and ^4: they distinguish most vectors of equal length."""
    square = (unit[:, :, None] * unit[:, None]).flatten(1)
    number, moments = number.clamp(min=1)[:, None], []
    for other in (unit, square):
        power = (square[:, :, None] * other[:, None]).flatten(1)
        mean = power.new_zeros(len(number), power.size(1)).index_add(0, sample, power) / number
        moments.append((mean[sample] * power).sum(1))
    return moments


def _different(axes: Tensor, own: Tensor, ended: Tensor, slack: Tensor) -> Tensor:
    """Numbers of one chain for each set of equal axes: coincident vectors give equal ones.

    Args:
        axes: [c, r d] of each chain, and own: [c] its sample.
        ended: [B] samples whose chains stay as they are.
        slack: [B] within which axes are equal.
    """
    number, limit, none = torch.arange(len(own), device=own.device), slack[own, None], len(own)
    different = ended[own]
    left = ~different
    while bool(left.any()):
        first = own.new_full((len(slack),), none)
        first = first.scatter_reduce(0, own, number.masked_fill(~left, none), "amin")[own]
        new = number == first
        distance = (axes - axes[first.clamp(max=none - 1)]).abs()
        equal = (distance <= limit).all(1)
        different, left = different | new, left & ~equal & ~new
    return different.nonzero()[:, 0]
