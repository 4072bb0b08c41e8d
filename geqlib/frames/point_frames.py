"""Frames of point sets: finitely many orthogonal matrices that turn with the points.

Source: Puny et al., "Frame averaging for invariant and equivariant network design" (ICLR 2022,
arXiv 2110.03336), section 3.1. With the centre t and the covariance of points and vectors,

    t = mean x_i,     C = sum_i (x_i - t) (x_i - t)^T = V diag(lambda) V^T,
    F(X) = {([s_1 v_1, ..., s_d v_d], t) : s_k = +1 or -1},

2^d elements where all eigenvalues are different, or the 2^(d-1) rotations among these. Elsewhere
frames come from the points themselves (`geqlib.frames.degenerate`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from geqlib.frames.batches import Batch
from geqlib.frames.degenerate import degenerate_frames, sign_patterns
from geqlib.frames.eigen3 import symmetric_eigen
from geqlib.frames.frame_counts import open_counts
from geqlib.frames.vectors import Geometry


@dataclass(frozen=True)
class Frames:
    """Elements (R, t) of a group and their weights, some for each sample of a batch.

    Args:
        matrix: [F, d, d] orthogonal matrices R: a point x has the coordinates R^T (x - t).
            d may be 0, for groups of permutations alone.
        sample: [F] the sample of each, ascending.
        weight: [F], sums to 1 in every sample.
        shift: [B, d], t of each sample; None for groups without translations.
        nodes: nodes of the samples of all frames, one frame after the other, in the order in which
            each frame sees them; None for the order of the batch.
    """

    matrix: Tensor
    sample: Tensor
    weight: Tensor
    shift: Tensor | None = None
    nodes: Tensor | None = None


def point_frames(geometry: Geometry, *, proper: bool, degree: int = 1) -> Frames:
    """An equivariant frame of every sample.

    Args:
        geometry: of the batch.
        proper: rotations only, for SO(d) and SE(d); else O(d) and E(d).
        degree: of the tensors that are averaged, where points are on a line or coincide.

    Returns:
        Frames in float64 without shifts. Eigenvectors, and axes from points, are differentiable.

    Raises:
        ValueError: NaN, or tensors of degree 2 and more that the frame would leave free to rotate.
    """
    axes, gap = covariance_axes(geometry)
    simple = gap > geometry.rounding.gap_tolerance
    sample = torch.arange(geometry.count, device=axes.device)
    if bool(simple.all()):
        return signed_frames(axes, sample, proper)
    clear = signed_frames(axes[simple], sample[simple], proper)
    rest = degenerate_frames(geometry, sample[~simple], proper=proper, degree=degree)
    return joined(clear, Frames(*rest))


def covariance_axes(geometry: Geometry) -> tuple[Tensor, Tensor]:
    """Eigenvectors [B, d, d] of the covariance in columns, by descending eigenvalue, and gaps [B].

    The gap is the smallest difference of eigenvalues, relative to the largest of them; 0 for
    samples whose covariance is 0, rounding alone or not finite.
    """
    vectors, d = geometry.vectors, geometry.vectors.size(-1)
    outer = (vectors[:, :, None] * vectors[:, None]).flatten(1)
    covariance = outer.new_zeros(geometry.count, d * d).index_add(0, geometry.sample, outer)
    if len(geometry.inertia):
        flat = geometry.inertia.flatten(1)
        covariance = covariance.index_add(0, geometry.inertia_sample, flat, alpha=-1)
    covariance = covariance.where(covariance.isfinite().all(1, keepdim=True), 0.0)
    rounding, numbers = geometry.rounding, torch.finfo(covariance.dtype)
    matrix = covariance.view(-1, d, d)
    values, axes = symmetric_eigen(matrix, tolerance=rounding.spectral_tolerance)
    top = values.abs().amax(1)
    gaps = (values[:, :-1] - values[:, 1:]).amin(1) if d > 1 else top
    # below this, squares have lost digits
    gap = gaps / top.clamp(min=numbers.tiny / numbers.eps)
    gap = gap.masked_fill(rounding.blurred, 0.0)
    for counts in open_counts():
        counts.append((geometry.count, int((gap <= rounding.gap_tolerance).sum())))
    return axes, gap


def signed_frames(axes: Tensor, sample: Tensor, proper: bool) -> Frames:
    """Axes [B, d, d] with all signs; only those of determinant 1 if `proper`."""
    signs = torch.from_numpy(sign_patterns(axes.size(-1), even=proper)).to(axes)
    axes = right_handed(axes) if proper else axes
    matrix = axes[:, None] * signs[:, None, :]
    weight = matrix.new_full((len(axes) * len(signs),), 1 / len(signs))
    return Frames(matrix.flatten(0, 1), sample.repeat_interleave(len(signs)), weight)


def right_handed(axes: Tensor) -> Tensor:
    """Axes [B, d, d] in columns, the last of them with the sign that makes the determinant 1."""
    sign = torch.linalg.det(axes.detach()).sign()
    return torch.cat([axes[..., :-1], axes[..., -1:] * sign[:, None, None]], -1)


def joined(*parts: Frames) -> Frames:
    """Several parts of a batch's frames as one, in the order of the samples."""
    sample = torch.cat([part.sample for part in parts])
    order = sample.argsort(stable=True)
    matrix, weight = (torch.cat([getattr(p, n) for p in parts]) for n in ("matrix", "weight"))
    return Frames(matrix[order], sample[order], weight[order], parts[0].shift)


def drawn(frames: Frames, count: int, samples: int) -> Frames:
    """For each of `count` samples, `samples` of its frames drawn by their weights, unbiased."""
    ends = frames.weight.cumsum(0)
    start = torch.arange(count, device=ends.device)[:, None]
    chosen = torch.searchsorted(ends, start + torch.rand(count, samples).to(ends)).flatten()
    first = torch.searchsorted(frames.sample, start.flatten())
    last = torch.searchsorted(frames.sample, start.flatten(), right=True) - 1
    # rounding of the cumulative sum must not lead into the next sample
    chosen = chosen.clamp(first.repeat_interleave(samples), last.repeat_interleave(samples))
    weight = frames.weight.new_full((len(chosen),), 1 / samples)
    return replace(
        frames, matrix=frames.matrix[chosen], sample=frames.sample[chosen], weight=weight
    )


def check_frames(frames: Frames, batch: Batch) -> Frames:
    """A user's own frames, if they fit the batch.

    Raises:
        ValueError: something else, or matrices, samples or weights that do not fit.
    """
    if not isinstance(frames, Frames):
        raise ValueError(f"your frame is a {type(frames).__name__}: return geqlib's Frames.")
    size, matrix = len(frames.sample), list(frames.matrix.shape)
    dims = {x.size(-1) for x, t in batch.tensors.values() if t.cartesian}
    dim = dims.pop() if len(dims) == 1 else matrix[-1]
    if frames.matrix.dim() != 3 or matrix not in ([size, dim, dim], [size, 0, 0]):
        raise ValueError(
            f"your frame has matrices {matrix} for {size} elements in {dim} dimensions."
        )
    total = frames.weight.new_zeros(batch.count)
    low, high = map(int, frames.sample.aminmax()) if size else (0, -1)
    if size and (low < 0 or high >= batch.count or bool((frames.sample.diff() < 0).any())):
        raise ValueError(f"your frame's samples must ascend from 0 to {batch.count - 1} at most.")
    total = total.index_add(0, frames.sample, frames.weight)
    if bool(((total - 1).abs() > 1e-3).any()):
        k = int((total - 1).abs().argmax())
        raise ValueError(f"your frame's weights sum to {float(total[k]):.3g} in sample {k}, not 1.")
    return frames
