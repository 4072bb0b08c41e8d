"""Frames that are axes with all signs, kept as such: what is linear is computed once per axis.

A frame of O(d) is 2^d matrices [s_1 a_1, ..., s_d a_d], and a linear map of what they see,

    sum_k s_k W_k (a_k . v),

needs the d products W_k (a_k . v) only: the signs combine them. The same goes for the linear map
after a mean over frames, because it can follow the mean.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from geqlib.frames.copies import copied_edges, members
from geqlib.frames.degenerate import degenerate_frames
from geqlib.frames.point_frames import covariance_axes, right_handed
from geqlib.frames.vectors import Geometry


@dataclass(frozen=True)
class SignFrames:
    """Axes of every sample, all signs, and a copy of each node for each set of axes.

    Args:
        axes: [A, d, d] in columns; several sets for samples that are symmetric.
        weight: [A], sums to 1 in every sample.
        signs: [S, d].
        nodes: [M] node of each copied node, and node_axes: [M] its set of axes.
        edges: [L] edge of each copied edge, and ends: [2, L] the copied nodes.
        several: whether any sample has more than one set of axes; else copies are the nodes, and
            `weight`, `nodes` and `edges` are not used.
        count: number of nodes.
        cast: axes of nodes, by the type of number that they were wanted in.
    """

    axes: Tensor
    weight: Tensor
    signs: Tensor
    nodes: Tensor
    node_axes: Tensor
    edges: Tensor
    ends: Tensor
    several: bool
    count: int
    cast: dict[torch.dtype, Tensor] = field(default_factory=dict)

    def components(self, v: Tensor) -> Tensor:
        """[d, M, V] components of vectors [d, N, V] along the axes of each copied node."""
        seen = v.index_select(1, self.nodes) if self.several else v
        return (self._node_axes(v) * seen).sum(1)

    def copied(self, x: Tensor) -> Tensor:
        """[M, ...] from [N, ...]: what all frames see alike."""
        return x.index_select(0, self.nodes) if self.several else x

    def copied_edges(self, x: Tensor) -> Tensor:
        """[L, ...] from [E, ...]."""
        return x.index_select(0, self.edges) if self.several else x

    def signed(self, y: Tensor, shared: Tensor) -> Tensor:
        """[S, ...] sum_k s_k y_k in the frame of each sign pattern s, plus what is shared.

        Args:
            y: [d, ...] along each axis.
            shared: what all frames see alike; broadcasts with y[0].
        """
        signs, alike = self.signs.to(y.dtype), shared.expand_as(y[:1]).flatten(1)
        return torch.addmm(alike, signs, y.flatten(1)).view(len(signs), *y.shape[1:])

    def scalars(self, h: Tensor) -> Tensor:
        """[N, C] mean over all frames of h [S, M, C]."""
        return self._mean(h.mean(0), 0)

    def along(self, h: Tensor) -> Tensor:
        """[d, M, C] mean over the signs of h [S, M, C] times the sign of each axis."""
        share = self.signs.T.to(h.dtype) / len(self.signs)
        # what all frames see alike has no sign: rounding must not make a vector of it, as the
        # frames of the next layer would follow it, with derivatives of 1 / its length
        h = h - h[:1].detach()
        return (share @ h.flatten(1)).view(len(share), *h.shape[1:])

    def vectors(self, u: Tensor) -> Tensor:
        """[d, N, V] vectors from their components u [d, M, V]: means over the sets of axes."""
        return self._mean((self._node_axes(u).transpose(0, 1) * u).sum(1), 1)

    def _node_axes(self, like: Tensor) -> Tensor:
        """[d, d, M, 1], axes first; for products and sums, which autocast leaves alone."""
        if like.dtype not in self.cast:
            axes = self.axes.permute(2, 1, 0).to(like.dtype)
            self.cast[like.dtype] = axes.index_select(2, self.node_axes)[..., None]
        return self.cast[like.dtype]

    def _mean(self, x: Tensor, dim: int) -> Tensor:
        """Over the sets of axes of each node, of x with copied nodes along `dim`."""
        if not self.several:
            return x
        share = self.weight[self.node_axes].to(x.dtype)[:, None] * x
        shape = [*x.shape[:dim], self.count, x.size(-1)]
        return x.new_zeros(shape).index_add(dim, self.nodes, share)


def sign_frames(
    geometry: Geometry, sample: Tensor, edge_index: Tensor, signs: Tensor, *, proper: bool
) -> SignFrames:
    """Frames of a batch: eigenvectors, or axes from points where eigenvalues are repeated.

    Args:
        geometry: of the batch.
        sample: [N] of each node.
        edge_index: [2, E].
        signs: [S, d] of the axes: those of a product of 1, if `proper`.
        proper: rotations only, half of them.

    Raises:
        ValueError: NaN.
    """
    axes, gap = covariance_axes(geometry)
    rest = (~(gap > geometry.rounding.gap_tolerance)).nonzero()[:, 0]  # NaN is among the rest
    owner, weight = sample[:0], axes[:0, 0, 0]
    several = False
    if len(rest):
        parts = degenerate_frames(geometry, rest, proper=proper, degree=1)
        several = len(parts[1]) != len(rest)
        if several:
            axes, owner, weight = _joined(axes, rest, parts)
        else:
            axes = axes.index_copy(0, rest, parts[0])
    axes = right_handed(axes) if proper else axes
    if not several:
        return SignFrames(axes, weight, signs, owner, sample, owner, edge_index, False, len(sample))
    nodes, node_axes = members(sample, owner, geometry.count)
    edges, edge_axes = members(sample[edge_index[0]], owner, geometry.count)
    ends = copied_edges(edge_index[:, edges], edge_axes, nodes, node_axes, len(sample))
    return SignFrames(axes, weight, signs, nodes, node_axes, edges, ends, several, len(sample))


def _joined(
    axes: Tensor, samples: Tensor, parts: tuple[Tensor, Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Axes [B, d, d] of all samples but some, and frames of these: matrices, samples, weights."""
    own = axes.new_ones(len(axes), dtype=torch.bool).index_fill_(0, samples, False)
    own = own.nonzero()[:, 0]
    clear = axes[own], own, axes.new_ones(len(own))
    axes, owner, weight = (torch.cat(pair) for pair in zip(clear, parts, strict=True))
    order = owner.argsort(stable=True)
    return axes[order], owner[order], weight[order]


class AxisLinear(nn.Module):
    """A linear map of its own along each axis: y[k] = x[k] W_k.

    Symmetry: none by itself; within a mean over frames, that of the frames.

    Args:
        dim: number of axes.
        in_channels, out_channels: along each.

    Shapes:
        [dim, M, in_channels] to [dim, M, out_channels].

    Example:
        >>> AxisLinear(3, 2, 5)(torch.randn(3, 4, 2)).shape
        torch.Size([3, 4, 5])
    """

    def __init__(self, dim: int, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(dim, in_channels, out_channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform, as `torch.nn.Linear` on all components together."""
        dim, size, _ = self.weight.shape
        bound = 1 / math.sqrt(max(dim * size, 1))
        nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        return torch.bmm(x, self.weight)

    def __repr__(self) -> str:
        dim, size, out = self.weight.shape
        return f"{type(self).__name__}({dim}, {size}, {out})"
