"""Frames of those samples of a batch whose covariance has no unique eigenvectors."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from geqlib.frames.extremal import ExtremalFrames, extremal_frames
from geqlib.frames.vectors import Vectors


def degenerate_frames(
    vectors: Vectors, samples: Tensor, *, proper: bool, degree: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Frames of some samples from their vectors and from the axes of their tensors.

    Args:
        vectors: of the whole batch.
        samples: [n] numbers of the samples.
        proper, degree: see `extremal_frames`.

    Returns:
        Matrices [F, d, d], differentiable in the vectors, their samples [F] and weights [F].

    Raises:
        ValueError: tensors that the frame would leave free to turn.
    """
    axes, owner = vectors.tensor_axes()
    rows, number = torch.cat([vectors.rows, axes, -axes]), torch.cat([vectors.sample, owner, owner])
    asked = torch.zeros(vectors.count, dtype=torch.bool, device=rows.device)
    asked[samples] = True
    theirs = asked[number].nonzero()[:, 0]
    rows, number = rows[theirs], number[theirs].cpu().numpy()
    plain, eps = rows.detach().cpu().numpy(), vectors.eps.tolist()
    order = np.argsort(number, kind="stable")
    ends = np.searchsorted(number[order], np.arange(vectors.count + 1))
    recipes, index = [], []
    for k in samples.tolist():
        mine = order[ends[k] : ends[k + 1]]
        recipe = extremal_frames(plain[mine], proper=proper, eps=eps[k], degree=degree)
        _check_fixed(vectors, k, recipe)
        recipes.append(recipe)
        index.append(np.where(recipe.index < 0, -1, mine[recipe.index] if len(mine) else -1))
    counts = torch.tensor([len(recipe.weight) for recipe in recipes], device=rows.device)
    weight = torch.from_numpy(np.concatenate([r.weight for r in recipes])).to(rows.device)
    return _matrices(rows, index, recipes), samples.repeat_interleave(counts), weight


def gram_schmidt(axes: Tensor) -> Tensor:
    """Orthonormal columns [..., d, d] from rows [..., d, d], in their order."""
    found: list[Tensor] = []
    for row in axes.unbind(-2):
        row = row / row.detach().norm(dim=-1, keepdim=True)
        for other in (*found, *found):  # twice is enough
            row = row - (row * other).sum(-1, keepdim=True) * other
        found.append(row / row.norm(dim=-1, keepdim=True))
    return torch.stack(found, -1)


def _matrices(rows: Tensor, index: list[np.ndarray], recipes: list[ExtremalFrames]) -> Tensor:
    number = torch.from_numpy(np.concatenate(index)).to(rows.device)
    axes = torch.from_numpy(np.concatenate([r.constant for r in recipes])).to(rows)
    if len(rows):
        sign = torch.from_numpy(np.concatenate([r.sign for r in recipes])).to(rows)
        moved = rows[number.clamp(min=0)] * sign[..., None]
        axes = torch.where((number >= 0)[..., None], moved, axes)
    return gram_schmidt(axes)


def _check_fixed(vectors: Vectors, sample: int, recipe: ExtremalFrames) -> None:
    """Axes may be left free only if every tensor is symmetric about them."""
    if recipe.rank > 1 or not len(vectors.twists):
        return
    own = vectors.twist_sample == sample
    axis = torch.from_numpy(recipe.constant[0, 0]).to(vectors.rows)
    turned = axis @ vectors.twists[own].detach() @ axis if recipe.rank else vectors.lengths()[own]
    scale = vectors.sizes()[sample] ** 2
    if bool((turned > 64 * vectors.eps[sample] * scale).any()):
        raise ValueError(
            f"sample {sample} has tensors of degree 2 or more that turn about an axis which its "
            "points and vectors leave free: give one more vector, or a frame of your own."
        )
