"""Weighted frames, one sample after the other: an oracle of the batched form."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from geqlib.frames.degenerate import degenerate_frames
from geqlib.frames.point_frames import Frames, covariance_axes, joined, signed_frames
from geqlib.frames.vectors import Geometry
from geqlib.frames.weighted_frames import APART, CLOSE, MOST, WITHIN
from geqlib.radial import safe_sqrt


def weighted_frames(geometry: Geometry, *, proper: bool, degree: int = 1) -> Frames:
    axes, gap = covariance_axes(geometry)
    rise = ((gap - CLOSE) / (APART - CLOSE)).clamp(0, 1)
    share = rise * rise * (3 - 2 * rise)
    sample = torch.arange(geometry.count, device=axes.device)
    clear = share > 0
    spectral = signed_frames(axes[clear], sample[clear], proper)
    parts = [_scaled(spectral, share[spectral.sample])]
    bases_of = _pair_bases if geometry.vectors.size(1) == 3 else _single_bases
    shortest = geometry.rounding.shortest()
    order = geometry.sample.argsort(stable=True)
    ends = torch.searchsorted(geometry.sample[order], torch.arange(geometry.count + 1).to(order))
    for k in torch.nonzero(share < 1)[:, 0].tolist():
        alone = sample[k : k + 1]
        bases, weight = bases_of(geometry.vectors[order[ends[k] : ends[k + 1]]], shortest[k])
        if len(weight):
            frames = signed_frames(bases, alone.expand(len(bases)), proper)
            frames = _scaled(frames, weight.repeat_interleave(len(frames.weight) // len(weight)))
        else:
            frames = Frames(*degenerate_frames(geometry, alone, proper=proper, degree=degree))
        parts.append(_scaled(frames, 1 - share[k]))
    return joined(*parts)


def _pair_bases(vectors: Tensor, least: Tensor) -> tuple[Tensor, Tensor]:
    """Bases [P, 3, 3] of long pairs of large area, and their weights, which sum to 1."""
    unit = _unit(vectors)
    i, j = torch.triu_indices(len(unit), len(unit), 1, device=unit.device)
    i, j = torch.cat([i, j]), torch.cat([j, i])
    length = safe_sqrt(unit.square().sum(-1))
    area = safe_sqrt(torch.linalg.cross(unit[i], unit[j]).square().sum(-1))
    # the length makes the first axis lie along the line where all vectors are on one
    pair, weight = _near_largest(length[i] * area, least)
    first, second = unit[i[pair]], unit[j[pair]]
    one = normalize(first, dim=-1, eps=0.0)
    two = second - (second * one).sum(-1, keepdim=True) * one
    two = normalize(two - (two * one).sum(-1, keepdim=True) * one, dim=-1, eps=0.0)
    return torch.stack([one, two, torch.linalg.cross(one, two)], -1), weight


def _single_bases(vectors: Tensor, least: Tensor) -> tuple[Tensor, Tensor]:
    """The same in the plane, of long vectors."""
    unit = _unit(vectors)
    long, weight = _near_largest(safe_sqrt(unit.square().sum(-1)), least)
    one = normalize(unit[long], dim=-1, eps=0.0)
    return torch.stack([one, torch.stack([-one[:, 1], one[:, 0]], -1)], -1), weight


def _unit(vectors: Tensor) -> Tensor:
    """Vectors in units of their largest entry."""
    size = vectors.detach().abs().amax() if len(vectors) else vectors.new_ones(())
    return vectors / torch.where(size > 0, size, 1.0)


def _near_largest(key: Tensor, least: Tensor) -> tuple[Tensor, Tensor]:
    """Indices and weights of the keys near the largest; none if that is 0, but for rounding."""
    if not len(key) or not bool(key.max() > least):
        return torch.zeros(0, dtype=torch.long, device=key.device), key[:0]
    best = key.max()
    floor = (1 - WITHIN) * best
    if len(key) > MOST:  # an order statistic is continuous, too
        floor = torch.maximum(floor, key.topk(MOST).values[-1])
        floor = torch.minimum(floor, (1 - 1e-3) * best)
    excess = (key - floor).clamp(min=0) / best
    near = excess.detach().nonzero()[:, 0]
    weight = excess[near] ** 2
    return near, weight / weight.sum()


def _scaled(frames: Frames, factor: Tensor) -> Frames:
    return Frames(frames.matrix, frames.sample, frames.weight * factor)
