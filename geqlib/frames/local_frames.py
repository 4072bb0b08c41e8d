"""A learnt frame of every node, from vectors to its neighbours.

Source: Lippmann, Gerhartz, Remme and Hamprecht, "Beyond canonicalization: how tensorial messages
improve equivariant message passing" (ICLR 2025, arXiv 2405.15389), whose frames are random where
vectors vanish or are parallel. Here axes come with a certainty, which vanishes there smoothly.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch_geometric.nn.inits import reset

from geqlib.frames.frame_counts import open_counts
from geqlib.frames.transport import SpaceGroup, check_space
from geqlib.graph.checks import as_index
from geqlib.radial import LogGaussianBasis, safe_sqrt

NONE, ALL = 1e-4, 1e-2  # squared relative lengths up to which an axis is arbitrary, and certain
SOFT = 1e-6  # squared length of vectors that are half as certain


class LocalAxes(NamedTuple):
    """Frames of nodes.

    Args:
        axes: [N, 3, 3] orthonormal axes x, y and z in rows.
        certainty: [N, 3] of y alone, of y and z, and of all: between 0 where it is arbitrary and 1.
    """

    axes: Tensor
    certainty: Tensor


class LocalFrames(nn.Module):
    """A learnt frame of every node.

    Symmetry: axes of certainty above 0 turn with the points, exactly; certainties are invariant,
    and both follow relabelling. With "E(3)" reflections of the points reflect the frames.

    Source: Lippmann et al., "Beyond canonicalization: how tensorial messages improve equivariant
    message passing" (ICLR 2025, arXiv 2405.15389). With r_ij = pos_j - pos_i, learnt functions a_k
    and numbers b_kv,

        v_k = sum_j a_k(|r_ij|, x_i, x_j) r_ij + sum_v b_kv vec_iv,

    a_k a sum of the radial functions with learnt weights, which begin with random signs, so that
    v_1, v_2, ... begin with different directions. v_1 gives the axis y, v_2 z by Gram-Schmidt, and
    x = y x z, with "E(3)" on the side of v_3.

    The length of v_k without its parts along the axes before, over that of a sum of the same terms
    in random directions, says how certain an axis is: not at all below a hundredth, wholly above a
    tenth, and twice differentiable between; the certainty of several is the product. Squared terms
    count as longer by 1e-6 there, so that points that coincide up to rounding give no axis. An axis
    of certainty 0 is any that fits to the others, with derivative 0.

    Args:
        in_scalars: invariant features per node that a may depend on.
        in_vectors: vectors per node beside those to the neighbours.
        channels: hidden width of a.
        group: "E(3)" or "SE(3)".
        radial: functions of the distance; those of clouds of size 1 by default.

    Shapes:
        pos [N, 3], edge_index [2, E] source and target, x [N, in_scalars], vec [N, in_vectors, 3].

    Raises:
        ValueError: another group; x or vec that do not fit.

    Example:
        >>> frames = LocalFrames(group="SE(3)")
        >>> edge_index = (~torch.eye(4, dtype=torch.bool)).nonzero().T
        >>> axes, certainty = frames(torch.randn(4, 3), edge_index)
        >>> torch.allclose(axes @ axes.mT, torch.eye(3).expand(4, 3, 3), atol=1e-5)
        True
    """

    def __init__(
        self,
        in_scalars: int = 0,
        in_vectors: int = 0,
        *,
        channels: int = 16,
        group: SpaceGroup = "E(3)",
        radial: LogGaussianBasis | None = None,
    ) -> None:
        super().__init__()
        self.in_scalars, self.in_vectors, self.channels = in_scalars, in_vectors, channels
        self.group = check_space(group)
        self.radial = LogGaussianBasis(8, 0.03, 3.0) if radial is None else radial
        vectors, features = (3 if group == "E(3)" else 2), self.radial.count + 2 * in_scalars
        self.weigh = nn.Sequential(
            nn.Linear(features, channels),
            nn.SiLU(),
            nn.Linear(channels, vectors * self.radial.count),
        )
        self.own = nn.Linear(in_vectors, vectors, bias=False) if in_vectors else None

    def reset_parameters(self) -> None:
        reset(self.weigh)
        reset(self.own)

    def forward(
        self, pos: Tensor, edge_index: Tensor, x: Tensor | None = None, vec: Tensor | None = None
    ) -> LocalAxes:
        self._check_inputs(pos, x, vec)
        vectors, scale = self._vectors(pos, as_index(edge_index), x, vec)
        frames = orthonormal(vectors, scale)
        for counts in open_counts():
            counts.append((len(pos), int((frames.certainty[:, 2] == 0).sum())))
        return frames

    def _vectors(
        self, pos: Tensor, edge_index: Tensor, x: Tensor | None, vec: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """v [N, K, 3] and the sums [N, K] of the squares of their terms."""
        source, target = edge_index
        offset = pos.index_select(0, source) - pos.index_select(0, target)
        square = offset.square().sum(1)
        radial = self.radial(safe_sqrt(square))
        features = [radial]
        if x is not None:
            features += [x.index_select(0, target), x.index_select(0, source)]
        weight = self.weigh(torch.cat(features, 1)).unflatten(1, (-1, self.radial.count))
        weight = (weight.to(pos.dtype) * radial[:, None]).sum(2)
        terms = weight[:, :, None] * offset[:, None]
        vectors = pos.new_zeros(pos.size(0), *terms.shape[1:]).index_add(0, target, terms)
        squares = weight.square() * (square + SOFT)[:, None]
        scale = pos.new_zeros(pos.size(0), weight.size(1)).index_add(0, target, squares)
        if self.own is None or vec is None:
            return vectors, scale
        b = self.own.weight.to(pos.dtype)
        with torch.autocast(pos.device.type, enabled=False):
            vectors = vectors + torch.einsum("kv,nvi->nki", b, vec)
            return vectors, scale + (vec.square().sum(2) + SOFT) @ b.square().T

    def _check_inputs(self, pos: Tensor, x: Tensor | None, vec: Tensor | None) -> None:
        for name, value, shape in (
            ("x", x, (pos.size(0), self.in_scalars)),
            ("vec", vec, (pos.size(0), self.in_vectors, 3)),
        ):
            if (tuple(value.shape) if value is not None else (pos.size(0), 0, 3)) != shape:
                if value is None and shape[1] == 0:
                    continue
                got = "missing" if value is None else f"of shape {list(value.shape)}"
                raise ValueError(
                    f"{name} is {got}, expected {list(shape)}: change the layer's sizes or the "
                    "input."
                )

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.in_scalars}, {self.in_vectors}, "
            f"channels={self.channels}, group={self.group!r}, radial={self.radial})"
        )


def orthonormal(vectors: Tensor, scale: Tensor) -> LocalAxes:
    """Frames from vectors [N, 2 or 3, 3], by Gram-Schmidt, and their certainties.

    Args:
        vectors: v_1, v_2 and, for frames that may be left-handed, v_3.
        scale: [N, 2 or 3] squares of the lengths that they are compared with.
    """
    y, first = _axis(vectors[:, 0], scale[:, 0], torch.zeros_like(vectors[:, 0]))
    z, second = _axis(vectors[:, 1] - _along(vectors[:, 1], y), scale[:, 1], y)
    x, third = torch.linalg.cross(y, z), torch.ones_like(first)
    if vectors.size(1) == 3:
        height = (vectors[:, 2] * x).sum(1)
        x = torch.where(height < 0, -1.0, 1.0).to(x.dtype)[:, None] * x
        third = _certainty(height.square(), scale[:, 2])
    certainty = torch.stack([first, first * second, first * second * third], 1)
    return LocalAxes(torch.stack([x, y, z], 1), certainty)


def _axis(v: Tensor, scale: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
    """Unit vectors along v [N, 3], or fixed ones across those before, and their certainties."""
    square = v.square().sum(1)
    certainty = _certainty(square, scale)
    clear = (certainty > 0)[:, None]
    other = _across(before)
    v = torch.where(clear, v, other)
    v = v - _along(v, before)  # a second time, for what the first one left by rounding
    return v / v.square().sum(1, keepdim=True).sqrt(), certainty


def _certainty(square: Tensor, scale: Tensor) -> Tensor:
    """10 t^3 - 15 t^4 + 6 t^5, of which two derivatives vanish at t = 0 and t = 1."""
    share = square / torch.where(scale > 0, scale, 1.0)
    t = ((share - NONE) / (ALL - NONE)).clamp(0, 1)
    return t**3 * (10 - t * (15 - 6 * t))


def _along(v: Tensor, axis: Tensor) -> Tensor:
    return (v * axis).sum(1, keepdim=True) * axis


def _across(axis: Tensor) -> Tensor:
    """A vector across each of [N, 3]: the basis vector that is least along it."""
    least = axis.detach().abs().argmin(1)
    return (torch.arange(3, device=axis.device) == least[:, None]).to(axis.dtype)
