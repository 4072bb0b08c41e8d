"""Frames of point sets: finitely many orthogonal matrices that turn with the points.

Source: Puny et al., "Frame averaging for invariant and equivariant network design" (ICLR 2022,
arXiv 2110.03336), section 3.1: where the covariance sum_i x_i x_i^T has different eigenvalues, its
eigenvectors with all signs, 2^d of them, or the 2^(d-1) rotations among these. Elsewhere frames
come from the points themselves (`geqlib.frames.extremal`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from geqlib.frames.degenerate import degenerate_frames
from geqlib.frames.eigen3 import symmetric_eigen
from geqlib.frames.stabilisers import sign_patterns
from geqlib.frames.vectors import Vectors, spectral_tolerance


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


def point_frames(vectors: Vectors, *, proper: bool, degree: int = 1) -> Frames:
    """An equivariant frame of every sample.

    Args:
        vectors: of the batch.
        proper: rotations only, for SO(d) and SE(d); else O(d) and E(d).
        degree: of the tensors that are averaged, where points are on a line or coincide.

    Returns:
        Frames in float64 without shifts. Eigenvectors, and axes from points, are differentiable.

    Raises:
        ValueError: NaN, or tensors of degree 2 and more that the frame would leave free to turn.

    Example:
        >>> from geqlib.frames.vectors import vectors_of
        >>> square = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
        >>> vectors = vectors_of(square, torch.zeros(4, dtype=torch.long), 1)
        >>> point_frames(vectors, proper=True).matrix.shape
        torch.Size([4, 2, 2])
    """
    axes, gap = spectral_axes(vectors)
    simple = gap > spectral_tolerance(vectors.eps)
    sample = torch.arange(vectors.count, device=axes.device)
    if bool(simple.all()):
        return spectral_frames(axes, sample, proper)
    clear = spectral_frames(axes[simple], sample[simple], proper)
    rest = degenerate_frames(vectors, sample[~simple], proper=proper, degree=degree)
    return joined(clear, Frames(*rest))


def spectral_axes(
    vectors: Vectors, squares: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """Eigenvectors [B, d, d] in columns, by descending eigenvalue, and the smallest gap [B].

    Gaps are relative to the largest eigenvalue; 0 for samples whose covariance is 0.

    Args:
        vectors: of the batch.
        squares: sums [Q, d, d] of v v^T over parts of the vectors v, and [Q] the sample of each
            part, where they are known; else they are made.

    Raises:
        ValueError: NaN.
    """
    size = vectors.sizes()
    if squares is None:
        unit, owner = vectors.rows / size[vectors.sample, None], vectors.sample
        outer = unit[:, :, None] * unit[:, None]
    else:
        outer, owner = squares[0] / (size * size)[squares[1], None, None], squares[1]
    d = outer.size(-1)
    total = outer.new_zeros(vectors.count, d * d).index_add(0, owner, outer.flatten(1))
    if len(vectors.twists):
        turned = vectors.twists / size[vectors.twist_sample, None, None] ** 2
        total = total.index_add(0, vectors.twist_sample, -turned.flatten(1))
    if not bool(total.isfinite().all()):
        vectors.check_finite()
        total = torch.where(total.isfinite(), total, 0.0)  # numbers whose squares are too large
    tolerance = float(spectral_tolerance(vectors.eps.amin())) if vectors.count else 0.0
    values, axes = symmetric_eigen(total.view(-1, d, d), tolerance=tolerance)
    top = values.abs().amax(1)
    gaps = (values[:, :-1] - values[:, 1:]).amin(1) if d > 1 else top
    return axes, torch.where(top > 0, gaps / torch.where(top > 0, top, 1.0), 0.0)


def spectral_frames(axes: Tensor, sample: Tensor, proper: bool) -> Frames:
    """Axes [B, d, d] with all signs; only those of determinant 1 if `proper`."""
    d = axes.size(-1)
    signs = torch.from_numpy(sign_patterns(d, even=proper)).to(axes)
    if proper:
        last = torch.linalg.det(axes.detach()).sign()
        axes = torch.cat([axes[..., :-1], axes[..., -1:] * last[:, None, None]], -1)
    matrix = axes[:, None] * signs[:, None, :]
    weight = matrix.new_full((len(axes) * len(signs),), 1 / len(signs))
    return Frames(matrix.flatten(0, 1), sample.repeat_interleave(len(signs)), weight)


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
