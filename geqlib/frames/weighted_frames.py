"""Weighted frames: continuous in the points, also where eigenvalues of the covariance cross.

No finite set of equally weighted frames is continuous (Dym, Lawrence, Siegel, "Equivariant frames
and the impossibility of continuous canonicalization", ICML 2024, arXiv 2402.16077); weights that
vanish where a frame becomes undefined can be. With the smallest relative gap between eigenvalues,

    F(X) = a(gap) eigenvectors  +  (1 - a(gap)) sum over pairs (i, j) of w_ij frame(x_i, x_j)

where a rises smoothly from 0 at `CLOSE` to 1 at `APART`, frame(x_i, x_j) is their Gram-Schmidt
basis, and w_ij is largest for the pair of the largest |x_i| |x_i x x_j| and 0 for those that are
`WITHIN` less. All frames come with all signs. In the plane, single vectors and their lengths take
the place of pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from geqlib.frames.degenerate import degenerate_frames
from geqlib.frames.point_frames import Frames, covariance_axes, joined, signed_frames
from geqlib.frames.vectors import Geometry
from geqlib.graph.segments import ragged_ranges, segment_index, segment_lengths
from geqlib.radial import safe_sqrt

CLOSE, APART = 0.02, 0.1
WITHIN = 0.1
MOST = 256  # pairs of one sample, but for ties
PAIRS = 2**20  # of samples that are done at once


def weighted_frames(geometry: Geometry, *, proper: bool, degree: int = 1) -> Frames:
    """Frames and weights of every sample, for 2 or 3 dimensions.

    Where all vectors are on a line or vanish, there are no pairs, and the frames are those of
    `geqlib.frames.degenerate`. Means of scalars and vectors are continuous there, too; those of
    tensors of degree 2 and more are not.

    Args:
        geometry: of the batch.
        proper: rotations only.
        degree: of the tensors that are averaged.

    Returns:
        Frames in float64, differentiable together with their weights.

    Raises:
        ValueError: NaN, or tensors of degree 2 and more that the frame would leave free to rotate.
    """
    axes, gap = covariance_axes(geometry)
    rise = ((gap - CLOSE) / (APART - CLOSE)).clamp(0, 1)
    share = rise * rise * (3 - 2 * rise)
    sample = torch.arange(geometry.count, device=axes.device)
    clear = share > 0
    spectral = signed_frames(axes[clear], sample[clear], proper)
    parts = [_scaled(spectral, share[spectral.sample])]
    near = (share < 1).nonzero()[:, 0]
    if len(near):
        geometry.check_finite()
    bases, owner, weight = _near_bases(geometry, near)
    frames = signed_frames(bases, owner, proper)
    signs = len(frames.weight) // max(len(weight), 1)
    parts.append(_scaled(frames, weight.repeat_interleave(signs) * (1 - share)[frames.sample]))
    flat = torch.ones_like(clear).index_fill(0, owner, False)[near]
    if bool(flat.any()):
        rest = degenerate_frames(geometry, near[flat], proper=proper, degree=degree)
        parts.append(_scaled(Frames(*rest), (1 - share)[rest[1]]))
    return joined(*parts)


def _near_bases(geometry: Geometry, samples: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Bases [P, d, d] of vectors or pairs of them, their samples and weights, which sum to 1.

    Samples whose vectors are on a line or vanish have none. Many samples are done at once.
    """
    place = samples.new_full((geometry.count,), -1)
    place[samples] = torch.arange(len(samples), device=samples.device)
    own = place[geometry.sample]
    members = (own >= 0).nonzero()[:, 0]
    members = members[own[members].argsort(stable=True)]
    vectors, own = geometry.vectors[members], own[members]
    bases_of = _pair_bases if vectors.size(1) == 3 else _single_bases
    least = geometry.rounding.shortest()[samples]
    sizes = segment_lengths(own, len(samples)).tolist()
    parts = [(vectors.new_zeros(0, *[vectors.size(1)] * 2), samples[:0], vectors.new_zeros(0))]
    first = 0
    for start, end in _groups(sizes):
        last = first + sum(sizes[start:end])
        bases, owner, weight = bases_of(
            vectors[first:last], own[first:last] - start, least[start:end], sizes[start:end]
        )
        parts.append((bases, samples[start:end][owner], weight))
        first = last
    bases, owner, weight = (torch.cat(part) for part in zip(*parts, strict=True))
    return bases, owner, weight


def _groups(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Ranges of samples which have at most `PAIRS` pairs of vectors together, or are one."""
    start, pairs = 0, 0
    for k, size in enumerate(sizes):
        if k > start and pairs + size**2 > PAIRS:
            yield start, k
            start, pairs = k, 0
        pairs += size**2
    if sizes:
        yield start, len(sizes)


def _pair_bases(
    vectors: Tensor, own: Tensor, least: Tensor, sizes: list[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Of long pairs of large area, in space."""
    unit = _unit(vectors, own, len(least))
    number = segment_lengths(own, len(least))
    start, each = number.cumsum(0) - number, number[own]
    total = sum(size**2 for size in sizes)
    i, j = segment_index(each, total), ragged_ranges(start[own], each, total)
    length = safe_sqrt(unit.square().sum(-1))
    area = safe_sqrt(torch.linalg.cross(unit[i], unit[j]).square().sum(-1))
    # the length makes the first axis lie along the line where all vectors are on one
    pair, weight = _near_largest(length[i] * area, own[i], least, [size**2 for size in sizes])
    first, second = unit[i[pair]], unit[j[pair]]
    one = normalize(first, dim=-1, eps=0.0)
    two = second - (second * one).sum(-1, keepdim=True) * one
    two = normalize(two - (two * one).sum(-1, keepdim=True) * one, dim=-1, eps=0.0)
    return torch.stack([one, two, torch.linalg.cross(one, two)], -1), own[i[pair]], weight


def _single_bases(
    vectors: Tensor, own: Tensor, least: Tensor, sizes: list[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Of long vectors, in the plane."""
    unit = _unit(vectors, own, len(least))
    long, weight = _near_largest(safe_sqrt(unit.square().sum(-1)), own, least, sizes)
    one = normalize(unit[long], dim=-1, eps=0.0)
    return torch.stack([one, torch.stack([-one[:, 1], one[:, 0]], -1)], -1), own[long], weight


def _unit(vectors: Tensor, own: Tensor, count: int) -> Tensor:
    """Vectors in units of the largest entry of their sample."""
    size = vectors.new_zeros(count)
    size = size.scatter_reduce(0, own, vectors.detach().abs().amax(1), "amax")
    return vectors / torch.where(size > 0, size, 1.0)[own, None]


def _near_largest(
    key: Tensor, own: Tensor, least: Tensor, sizes: list[int]
) -> tuple[Tensor, Tensor]:
    """Indices and weights of the keys near the largest of their sample.

    None where that is 0, but for rounding.

    Args:
        key: [n], at least 0.
        own: [n] the sample of each, ascending.
        least: [B].
        sizes: of the samples.
    """
    best = key.new_zeros(len(least)).scatter_reduce(0, own, key, "amax")
    large = best > least
    best = torch.where(large, best, 1.0)
    floor = (1 - WITHIN) * best
    if max(sizes) > MOST:  # an order statistic is continuous, too
        order = key.detach().argsort(descending=True)
        order = order[own[order].argsort(stable=True)]
        number = segment_lengths(own, len(least))
        place = number.cumsum(0) - number + (MOST - 1)
        limit = torch.maximum(floor, key[order[place.clamp(max=len(order) - 1)]])
        limit = torch.minimum(limit, (1 - 1e-3) * best)
        floor = torch.where(number > MOST, limit, floor)
    excess = (key - floor[own]).clamp(min=0) / best[own]
    near = (large[own] & (excess.detach() > 0)).nonzero()[:, 0]
    weight, own = excess[near] ** 2, own[near]
    total = torch.ones_like(best).index_fill(0, own, 0.0).index_add(0, own, weight)
    return near, weight / total[own]


def _scaled(frames: Frames, factor: Tensor) -> Frames:
    return Frames(frames.matrix, frames.sample, frames.weight * factor)
