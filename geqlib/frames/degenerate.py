"""Frames where the covariance has no unique eigenvectors: from the points themselves.

The first axis points to the longest vector, the second to the one farthest from that line, and so
on. Where several are equally extreme, as on a cube, each of them starts a frame of its own. All
choices are made by invariants, so that the set of frames turns with the points, and exchanging
points leaves it as it is. Where vectors span fewer dimensions than there are, the stabiliser
rotates the others freely, and a finite set of matrices averages like that continuous group.
"""

from __future__ import annotations

from itertools import product
from math import pi

import numpy as np
import torch
from torch import Tensor

from geqlib.frames.extremal_vectors import Chains, extremal_chains
from geqlib.frames.vectors import Geometry
from geqlib.graph.segments import segment_lengths

Array = np.ndarray
FLAT = 0.01


def degenerate_frames(
    geometry: Geometry, samples: Tensor, *, proper: bool, degree: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Frames of some samples from their vectors and from the axes of their tensors.

    All of them at once, where the data is.

    Args:
        geometry: of the whole batch.
        samples: [n] numbers of the samples, ascending.
        proper: only rotations.
        degree: of the tensors that are averaged.

    Returns:
        Matrices [F, d, d], differentiable in the vectors, their samples [F] and weights [F].

    Raises:
        ValueError: NaN or infinity, or tensors that the frame would leave free to rotate.
    """
    geometry.check_finite()
    axes, owner = geometry.tensor_axes()
    # each sample begins with a vector that is 0, where chains end
    count, zeros = len(samples), geometry.vectors.new_zeros(len(samples), axes.size(1))
    vectors, owners, numbers = [zeros, geometry.vectors], [geometry.sample], torch.arange(count)
    if len(axes):
        vectors, owners = [*vectors, axes, -axes], [*owners, owner, owner]
    numbers = numbers.to(samples.device)
    place = samples.new_full((geometry.count,), -1).index_copy_(0, samples, numbers)
    own = torch.cat([numbers, *(place[part] for part in owners)])
    members = (own >= 0).nonzero()[:, 0]
    own, order = own[members].sort(stable=True)
    vectors = torch.cat(vectors)[members[order]]
    chains = extremal_chains(
        vectors.detach(),
        own,
        vectors.size(1) - proper,
        geometry.rounding.eps[samples],
        geometry.rounding.shortest()[samples],
    )
    # where all chains are long, the host need not know more
    long = chains.length.numel() > 0 and float(chains.length.amin()) > FLAT
    options = {"flat": not long, "proper": proper, "degree": degree}
    if long:
        matrix, owner, weight = _frames(vectors, chains, count, **options)
    else:
        by_rank = chains.by_rank()
        _check_fixed(geometry, samples, by_rank)
        parts = [_frames(vectors, part, count, **options) for part in by_rank]
        matrix, owner, weight = (torch.cat(part) for part in zip(*parts, strict=True))
        order = owner.argsort(stable=True)
        matrix, owner, weight = matrix[order], owner[order], weight[order]
    return matrix, samples if len(owner) == count else samples[owner], weight


def gram_schmidt(axes: Tensor) -> Tensor:
    """Orthonormal columns [..., d, d] from the vectors axes[..., k, :], in their order."""
    shape, axes = axes.shape, axes.reshape(-1, *axes.shape[-2:])
    axes = axes / axes.detach().norm(dim=-1, keepdim=True)
    first, *others = axes.unsqueeze(-1).unbind(-3)
    columns = first / first.norm(dim=-2, keepdim=True)
    for axis in others:
        for _ in range(2):  # twice is enough
            axis = torch.baddbmm(axis, columns, columns.mT @ axis, alpha=-1)
        columns = torch.cat([columns, axis / axis.norm(dim=-2, keepdim=True)], -1)
    return columns.view(shape)


def _frames(
    vectors: Tensor, chains: Chains, count: int, *, flat: bool, proper: bool, degree: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Frames, samples and weights from chains of r vectors: these, and all of the d - r others.

    Exchanging all frames of a set for their products with reflections of some axes keeps it
    equivariant. That is done with axes along which the vectors extend at most `FLAT` of their
    length: directions are then uncertain, but the mean over both signs depends on them only as far
    as the vectors extend. `flat` says whether there may be such axes; else
    every sample has a chain here.
    """
    d, rank = vectors.size(1), chains.vector.size(1)
    average = orthogonal_average(d - rank, degree, spatial=d == 3, proper=proper)
    others, share = (torch.from_numpy(part).to(vectors) for part in average)
    first, axes, sample = vectors[chains.vector], chains.axes, chains.sample
    rest = torch.einsum("oij,fjk->foik", others, _complements(axes)) if rank < d else None
    if flat:
        patterns = torch.from_numpy(sign_patterns(rank)).to(vectors)
        allowed = (patterns > 0) | (chains.length <= FLAT)[:, None]
        chain, pattern = allowed.all(2).nonzero(as_tuple=True)
        signs, sample = patterns[pattern][:, :, None], sample[chain]
        first, axes = first[chain] * signs, axes[chain] * signs
        rest = rest if rest is None else rest[chain]
    if rest is not None:
        if proper:
            hand = torch.linalg.det(torch.cat([_repeated(axes, others), rest], 2)).sign()
            rest = torch.cat([rest[:, :, :-1], rest[:, :, -1:] * hand[:, :, None, None]], 2)
        first = torch.cat([_repeated(first, others), rest], 2).flatten(0, 1)
    matrix = gram_schmidt(first)
    if not flat and len(matrix) == count:  # one frame of each sample
        return matrix, sample, share.expand(count)
    weight = share / segment_lengths(sample, count)[sample, None]
    return matrix, sample.repeat_interleave(len(others)), weight.flatten()


def _repeated(axes: Tensor, others: Tensor) -> Tensor:
    """[f, o, r, d] axes [f, r, d] beside each of the others [o, ...]."""
    return axes[:, None].expand(-1, len(others), -1, -1)


def _check_fixed(geometry: Geometry, samples: Tensor, chains: list[Chains]) -> None:
    """Axes may be left free only if every tensor is symmetric about them."""
    if not len(geometry.inertia):
        return
    tensor, owner = geometry.inertia.detach(), geometry.inertia_sample
    limit = geometry.rounding.differences() * geometry.sizes() ** 2
    changes = torch.zeros_like(owner, dtype=torch.bool)
    for part in chains[:2]:
        if part.vector.size(1):
            axis = tensor.new_zeros(geometry.count, 3)
            first = part.sample.diff(prepend=part.sample.new_full((1,), -1)) > 0
            axis[samples[part.sample[first]]] = part.axes[first, 0]
            change = torch.einsum("qi,qij,qj->q", axis[owner], tensor, axis[owner])
        else:
            own = torch.zeros(geometry.count, dtype=torch.bool, device=owner.device)
            own[samples[part.sample]] = True
            change = geometry.norms() * own[owner]
        changes |= change > limit[owner]
    if bool(changes.any()):
        raise ValueError(
            f"sample {int(owner[changes].min())} has tensors of degree 2 or more that rotate about "
            "an axis which its points and vectors leave free: give one more vector, or a frame of "
            "your own."
        )


def _complements(axes: Tensor) -> Tensor:
    """Orthonormal vectors [c, d - r, d] orthogonal to the axes [c, r, d]."""
    count, rank, d = axes.shape
    if rank == 0:
        return torch.eye(d, dtype=axes.dtype, device=axes.device).expand(count, d, d)
    return torch.linalg.qr(axes.mT, mode="complete")[0][:, :, rank:].mT


def sign_patterns(axes: int, *, even: bool = False) -> Array:
    """All combinations [n, axes] of +1 and -1, or those whose product is +1.

    Example:
        >>> sign_patterns(2, even=True).tolist()
        [[1.0, 1.0], [-1.0, -1.0]]
    """
    signs = np.array(list(product([1.0, -1.0], repeat=axes))).reshape(2**axes, axes)
    return signs[signs.prod(1) > 0] if even else signs


def orthogonal_average(
    axes: int, degree: int, *, spatial: bool, proper: bool
) -> tuple[Array, Array]:
    """Matrices and weights whose mean over a representation is that of all of SO or O(axes).

    Tensors of degree at most 1 are averaged by sign patterns, which keep no vector. In a plane,
    C_(L+1) averages all degrees up to L, and in space a product of it, Gauss-Legendre angles and
    C_(L+1).

    Args:
        axes: 0 or more.
        degree: L, highest degree of what is averaged.
        spatial: whether these axes are among those of a space of 3 dimensions, where degrees
            above 1 occur.
        proper: SO instead of O. One axis has no SO: it is fixed.

    Returns:
        [n, axes, axes] and [n], which sums to 1.
    """
    if spatial and axes == 2:
        rotations, weight = _cyclic(degree + 1), np.full(degree + 1, 1 / (degree + 1))
    elif spatial and axes == 3:
        rotations, weight = _spherical(degree)
    else:
        patterns = sign_patterns(axes, even=proper)
        matrices = patterns[:, :, None] * np.eye(axes)
        return matrices, np.full(len(patterns), 1 / len(patterns))
    if proper:
        return rotations, weight
    mirror = np.diag([1.0] * (axes - 1) + [-1.0])
    return np.concatenate([rotations, rotations @ mirror]), np.concatenate([weight, weight]) / 2


def _cyclic(count: int) -> Array:
    angle = np.arange(count) * (2 * pi / count)
    c, s = np.cos(angle), np.sin(angle)
    return np.stack([c, -s, s, c], 1).reshape(-1, 2, 2)


def _spherical(degree: int) -> tuple[Array, Array]:
    """Euler angles: sums over them are exact for products of Wigner functions up to `degree`."""
    cosine, weight = np.polynomial.legendre.leggauss(degree // 2 + 1)
    around = np.zeros((degree + 1, 3, 3))
    around[:, :2, :2], around[:, 2, 2] = _cyclic(degree + 1), 1
    sine = np.sqrt(1 - cosine**2)
    tilt = np.zeros((len(cosine), 3, 3))
    tilt[:, 0, 0] = tilt[:, 2, 2] = cosine
    tilt[:, 0, 2], tilt[:, 2, 0], tilt[:, 1, 1] = sine, -sine, 1
    rotations = np.einsum("aij,bjk,ckl->abcil", around, tilt, around).reshape(-1, 3, 3)
    share = np.broadcast_to(weight[None, :, None], (degree + 1, len(cosine), degree + 1)).ravel()
    return rotations, share / share.sum()
