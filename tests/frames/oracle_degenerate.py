"""Frames of degenerate samples, one sample after the other in numpy: an oracle of the batched form.

As `geqlib.frames.degenerate` describes them; of `_chains` every step is a loop over one sample.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from geqlib.frames.degenerate import FLAT, gram_schmidt, orthogonal_average, sign_patterns
from geqlib.frames.vectors import Geometry

Array = np.ndarray


def degenerate_frames(
    geometry: Geometry, samples: Tensor, *, proper: bool, degree: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Frames of some samples from their vectors and from the axes of their tensors.

    Args:
        geometry: of the whole batch.
        samples: [n] numbers of the samples.
        proper: only rotations.
        degree: of the tensors that are averaged.

    Returns:
        Matrices [F, d, d], differentiable in the vectors, their samples [F] and weights [F].

    Raises:
        ValueError: tensors that the frame would leave free to rotate.
    """
    axes, owner = geometry.tensor_axes()
    vectors = torch.cat([geometry.vectors, axes, -axes])
    number = torch.cat([geometry.sample, owner, owner])
    chosen = torch.zeros(geometry.count, dtype=torch.bool, device=vectors.device)
    chosen[samples] = True
    members = chosen[number].nonzero()[:, 0]
    vectors, number = vectors[members], number[members].cpu().numpy()
    values, eps = vectors.detach().cpu().numpy(), geometry.rounding.eps.tolist()
    shortest = geometry.rounding.shortest().tolist()
    order = np.argsort(number, kind="stable")
    ends = np.searchsorted(number[order], np.arange(geometry.count + 1))
    recipes, index = [], []
    for k in samples.tolist():
        own = order[ends[k] : ends[k + 1]]
        recipe = extremal_frames(
            values[own], proper=proper, eps=eps[k], shortest=shortest[k], degree=degree
        )
        recipes.append(recipe)
        index.append(np.where(recipe.index < 0, -1, own[recipe.index] if len(own) else -1))
    counts = torch.tensor([len(recipe.weight) for recipe in recipes], device=vectors.device)
    weight = torch.from_numpy(np.concatenate([r.weight for r in recipes])).to(vectors.device)
    return _matrices(vectors, index, recipes), samples.repeat_interleave(counts), weight


@dataclass(frozen=True)
class ExtremalFrames:
    """Recipes of frames: axis k is the vector number `index`, times `sign`, or `constant`.

    Each is then orthogonalised to the axes before it.

    Args:
        index: [F, d], -1 where no vector is left.
        sign: [F, d].
        constant: [F, d, d], axes constant[:, k, :], orthogonal to all vectors.
        weight: [F], sums to 1.
    """

    index: Array
    sign: Array
    constant: Array
    weight: Array

    @property
    def rank(self) -> int:
        """How many axes the vectors give."""
        return int((self.index[0] >= 0).sum())


def extremal_frames(
    vectors: Array, *, proper: bool, eps: float, shortest: float, degree: int = 1
) -> ExtremalFrames:
    """An equivariant set of frames for any vectors, even none.

    Exchanging all frames of a set for their products with reflections of some axes keeps it
    equivariant. That is done with axes along which the vectors extend at most `FLAT` of their
    length: directions are then uncertain, but the mean over both signs depends on them only as far
    as the vectors extend.

    Args:
        vectors: [m, d] in float64.
        proper: only rotations.
        eps: rounding unit of the data; numbers that differ by less than its square root in
            proportion count as equal.
        shortest: so do differences that are at most this part of the longest vector, and lengths
            up to it have no direction.
        degree: of what is averaged; see `orthogonal_average`.
    """
    d = vectors.shape[1]
    chains, axes, lengths = _chains(vectors, d - proper, eps, shortest)
    count, rank = chains.shape
    flat = [k for k, length in enumerate(lengths) if length <= FLAT]
    signs = np.ones((2 ** len(flat), d))
    signs[:, flat] = sign_patterns(len(flat))
    others, share = orthogonal_average(d - rank, degree, spatial=d == 3, proper=proper)
    shape = (count, len(signs), len(others))
    constant = np.empty((*shape, d, d))
    constant[..., :rank, :] = (axes[:, None] * signs[:, :rank, None])[:, :, None]
    constant[..., rank:, :] = np.einsum("oij,cjk->coik", others, _complements(axes))[:, None]
    if proper:
        constant[..., -1, :] *= np.linalg.det(constant)[..., None]
    index = np.full((*shape, d), -1)
    index[..., :rank] = chains[:, None, None]
    weight = np.broadcast_to(share / (count * len(signs)), shape)
    return ExtremalFrames(
        index.reshape(-1, d),
        np.broadcast_to(signs[:, None], (*shape, d)).reshape(-1, d),
        constant.reshape(-1, d, d),
        weight.ravel(),
    )


def _matrices(vectors: Tensor, index: list[Array], recipes: list[ExtremalFrames]) -> Tensor:
    number = torch.from_numpy(np.concatenate(index)).to(vectors.device)
    axes = torch.from_numpy(np.concatenate([r.constant for r in recipes])).to(vectors)
    if len(vectors):
        sign = torch.from_numpy(np.concatenate([r.sign for r in recipes])).to(vectors)
        signed = vectors[number.clamp(min=0)] * sign[..., None]
        axes = torch.where((number >= 0)[..., None], signed, axes)
    return gram_schmidt(axes)


def _chains(
    vectors: Array, levels: int, eps: float, shortest: float
) -> tuple[Array, Array, list[float]]:
    """Numbers [c, r] of successive extremal vectors, axes [c, r, d], and r relative lengths."""
    m, d = vectors.shape
    size = np.abs(vectors).max(initial=0.0)
    unit = vectors / size if size > 0 else vectors
    radius = np.linalg.norm(unit, axis=1).max(initial=0.0)
    unit = unit / radius if radius > 0 else unit
    chains, axes = np.zeros((1, 0), np.int64), np.zeros((1, 0, d))
    residual, lengths = unit[None], []
    while chains.shape[1] < levels and m:
        length = np.linalg.norm(residual, axis=2)
        if length.max() <= shortest:
            break
        lengths.append(float(length.max()))
        # short vectors have uncertain directions
        slack = min(shortest / min(lengths), lengths[-1] / 2)
        keys = [np.einsum("md,cd->cm", unit, axis) for axis in axes.swapaxes(0, 1)]
        longest = _extreme([length, *keys], eps, slack)
        if not keys and longest.sum() > 1:
            longest = _extreme([length, *_moments(unit)], eps, slack)
        chain, point = np.nonzero(longest)
        new = residual[chain, point] / length[chain, point, None]
        axes = np.concatenate([axes[chain], new[:, None]], 1)
        chains = np.concatenate([chains[chain], point[:, None]], 1)
        chains, axes = _different(chains, axes, slack)
        residual = np.broadcast_to(unit, (len(axes), m, d))
        for axis in (*axes.swapaxes(0, 1), *axes.swapaxes(0, 1)):  # twice is enough
            residual = residual - np.einsum("cmd,cd->cm", residual, axis)[..., None] * axis[:, None]
    return chains, axes, lengths


def _extreme(keys: list[Array], eps: float, slack: float) -> Array:
    """Where [c, m] the first key is largest, among those the second, and so on; ties included."""
    largest = np.ones(keys[0].shape, bool)
    for key in keys:
        best = key[largest].max()
        largest &= key >= best - np.sqrt(eps) * abs(best) - slack
    return largest


def _moments(unit: Array) -> list[Array]:
    """Sums over j of (v_i . v_j)^3 and ^4: they distinguish most vectors of equal length."""
    third = np.einsum("ia,ib,ic->abc", unit, unit, unit) / len(unit)
    fourth = np.einsum("ia,ib,ic,id->abcd", unit, unit, unit, unit) / len(unit)
    three = np.einsum("abc,ia,ib,ic->i", third, unit, unit, unit)
    four = np.einsum("abcd,ia,ib,ic,id->i", fourth, unit, unit, unit, unit)
    return [three[None], four[None]]


def _different(chains: Array, axes: Array, slack: float) -> tuple[Array, Array]:
    """One chain for each set of equal axes: coincident vectors give equal ones."""
    flat = axes.reshape(len(axes), -1)
    new = np.ones(len(flat), bool)
    for k in range(1, len(flat)):
        new[k] = not (np.abs(flat[:k][new[:k]] - flat[k]) <= slack).all(1).any()
    return chains[new], axes[new]


def _complements(axes: Array) -> Array:
    """Orthonormal vectors [c, d - r, d] orthogonal to the axes [c, r, d]."""
    if axes.shape[1] == 0:
        return np.broadcast_to(np.eye(axes.shape[2]), (len(axes), *[axes.shape[2]] * 2))
    whole = np.linalg.qr(axes.swapaxes(1, 2), mode="complete")[0]
    return whole[:, :, axes.shape[1] :].swapaxes(1, 2)
