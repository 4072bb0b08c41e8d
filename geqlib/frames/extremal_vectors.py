"""Successive extremal vectors of point sets, of all samples of a batch at once.

The first vector of a chain is the longest one, the second the one farthest from its line, and so
on, until none is left that has a direction. Where several are equally extreme, each of them goes on
with a chain of its own. All choices are made by invariants: chains turn with the vectors.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from geqlib.graph.segments import ragged_ranges, segment_index, segment_lengths


@dataclass(frozen=True)
class Chains:
    """Chains of r vectors each.

    Args:
        vector: [c, r] numbers of the vectors.
        axes: [c, r, d] their directions, each orthogonal to those before it.
        sample: [c] of each, ascending.
        length: [c, r] how far vectors extend along each axis, in units of the longest of the
            sample.
    """

    vector: Tensor
    axes: Tensor
    sample: Tensor
    length: Tensor

    def of(self, chosen: Tensor) -> Chains:
        """Those with these numbers, or where the mask is true."""
        return Chains(
            self.vector[chosen], self.axes[chosen], self.sample[chosen], self.length[chosen]
        )


def extremal_chains(
    vectors: Tensor, sample: Tensor, levels: int, eps: Tensor, shortest: Tensor
) -> list[Chains]:
    """For r = 0, ..., levels, the chains of the samples whose vectors give r axes.

    The host waits some times for each level and once for each of the different axes that the most
    symmetric sample has, however many samples there are.

    Args:
        vectors: [R, d] in float64.
        sample: [R] of each, ascending.
        levels: the largest number of axes.
        eps: [B] rounding unit of the data; numbers that differ by less than its square root in
            proportion count as equal.
        shortest: [B] so do differences that are at most this part of the longest vector, and
            lengths up to it have no direction.
    """
    count = len(eps)
    unit = _unit(vectors, sample, count)
    own = segment_lengths(sample, count)
    start = own.cumsum(0) - own
    chains = Chains(
        sample.new_zeros(count, 0),
        unit.new_zeros(count, 0, unit.size(1)),
        torch.arange(count, device=sample.device),
        unit.new_zeros(count, 0),
    )
    least = unit.new_ones(count)  # of the lengths
    finished = []
    for _ in range(levels):
        # every vector of the sample of every chain
        number = own[chains.sample]
        chain, vector = segment_index(number), ragged_ranges(start[chains.sample], number)
        owner = chains.sample[chain]
        residual = _orthogonal(unit[vector], chains.axes[chain])
        length = residual.norm(dim=1)
        longest = unit.new_zeros(count).scatter_reduce(0, owner, length, "amax")
        goes_on = longest > shortest
        finished.append(chains.of(~goes_on[chains.sample]))
        least = torch.minimum(least, longest)
        slack = torch.minimum(shortest / least, longest / 2)  # short vectors' directions err
        if chains.axes.size(1):
            keys = [(unit[vector] * axis).sum(1) for axis in chains.axes[chain].unbind(1)]
        else:
            keys = [moment[vector] for moment in _moments(unit, sample, count)]
        extreme = _extreme([length, *keys], owner, goes_on[owner], eps, slack).nonzero()[:, 0]
        chain, vector = chain[extreme], vector[extreme]
        axis = residual[extreme] / length[extreme, None]
        owner = owner[extreme]
        longer = Chains(
            torch.cat([chains.vector[chain], vector[:, None]], 1),
            torch.cat([chains.axes[chain], axis[:, None]], 1),
            owner,
            torch.cat([chains.length[chain], longest[owner, None]], 1),
        )
        chains = longer.of(_different(longer, slack))
    return [*finished, chains]


def _unit(vectors: Tensor, sample: Tensor, count: int) -> Tensor:
    """Vectors in units of the longest of their sample; in two steps, so that nothing overflows."""
    for order in (torch.inf, 2):
        size = torch.linalg.vector_norm(vectors, order, dim=1)
        largest = vectors.new_zeros(count).scatter_reduce(0, sample, size, "amax")
        vectors = vectors / torch.where(largest > 0, largest, 1.0)[sample, None]
    return vectors


def _orthogonal(vectors: Tensor, axes: Tensor) -> Tensor:
    """What of vectors [R, d] is orthogonal to the axes [R, r, d]."""
    for axis in (*axes.unbind(1), *axes.unbind(1)):  # twice is enough
        vectors = vectors - (vectors * axis).sum(1, keepdim=True) * axis
    return vectors


def _extreme(
    keys: list[Tensor], owner: Tensor, among: Tensor, eps: Tensor, slack: Tensor
) -> Tensor:
    """[R] where the first key is largest in its sample, of those the second, and so on.

    Ties are included.
    """
    for key in keys:
        lowest = torch.full_like(eps, -torch.inf)
        best = lowest.scatter_reduce(0, owner, key.where(among, -torch.inf), "amax")
        among = among & (key >= (best - eps.sqrt() * best.abs() - slack)[owner])
    return among


def _moments(unit: Tensor, sample: Tensor, count: int) -> list[Tensor]:
    """Means over j of (v_i . v_j)^3 and ^4: they distinguish most vectors of equal length."""
    square = (unit[:, :, None] * unit[:, None]).flatten(1)
    number = segment_lengths(sample, count).clamp(min=1)[:, None]
    moments = []
    for other in (unit, square):
        power = (square[:, :, None] * other[:, None]).flatten(1)
        mean = power.new_zeros(count, power.size(1)).index_add(0, sample, power) / number
        moments.append((mean[sample] * power).sum(1))
    return moments


def _different(chains: Chains, slack: Tensor) -> Tensor:
    """[c] one chain for each set of equal axes: coincident vectors give equal ones."""
    axes, number = chains.axes.flatten(1), torch.arange(len(chains.sample), device=slack.device)
    none = len(number)
    different = torch.zeros_like(number, dtype=torch.bool)
    left = ~different
    while bool(left.any()):
        first = number.new_full((len(slack),), none)
        first = first.scatter_reduce(0, chains.sample, number.where(left, none), "amin")
        first = first[chains.sample]
        new = number == first
        distance = (axes - axes[first.clamp(max=none - 1)]).abs()
        equal = (distance <= slack[chains.sample, None]).all(1)
        different, left = different | new, left & ~equal & ~new
    return different
