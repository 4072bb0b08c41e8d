"""Frames that are axes with all signs, kept as such: what is linear is computed once per axis.

A frame of O(d) is 2^d matrices [s_1 a_1, ..., s_d a_d], and a linear map of what they see,

    sum_k s_k W_k (a_k . v),

needs the d products W_k (a_k . v) only: the signs combine them. The same goes for the linear map
after a mean over frames, because it can follow the mean.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from geqlib.frames.copies import copied_edges, members
from geqlib.frames.degenerate import degenerate_frames, sign_patterns
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
        several: whether any sample has more than one set of axes; else copies are the nodes.
        count: number of nodes.
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
        axes = self.axes.permute(2, 1, 0).to(like.dtype)
        return axes.index_select(2, self.node_axes)[..., None]

    def _mean(self, x: Tensor, dim: int) -> Tensor:
        """Over the sets of axes of each node, of x with copied nodes along `dim`."""
        if not self.several:
            return x
        share = self.weight[self.node_axes].to(x.dtype)[:, None] * x
        shape = [*x.shape[:dim], self.count, x.size(-1)]
        return x.new_zeros(shape).index_add(dim, self.nodes, share)


def sign_frames(
    geometry: Geometry, sample: Tensor, edge_index: Tensor, *, proper: bool
) -> SignFrames:
    """Frames of a batch: eigenvectors, or axes from points where eigenvalues are repeated.

    Args:
        geometry: of the batch.
        sample: [N] of each node.
        edge_index: [2, E].
        proper: rotations only, half of them.

    Raises:
        ValueError: NaN.
    """
    axes, gap = covariance_axes(geometry)
    clear = gap > geometry.gap_tolerance()
    owner = torch.arange(geometry.count, device=axes.device)
    weight = axes.new_ones(geometry.count)
    if not bool(clear.all()):
        rest = degenerate_frames(geometry, owner[~clear], proper=proper, degree=1)
        parts = (axes[clear], owner[clear], weight[clear]), rest
        axes, owner, weight = (torch.cat(pair) for pair in zip(*parts, strict=True))
        order = owner.argsort(stable=True)
        axes, owner, weight = axes[order], owner[order], weight[order]
    axes = right_handed(axes) if proper else axes
    signs = torch.from_numpy(sign_patterns(axes.size(-1), even=proper)).to(axes)
    several = len(owner) != geometry.count
    if several:
        nodes, node_axes = members(sample, owner, geometry.count)
        edges, edge_axes = members(sample[edge_index[0]], owner, geometry.count)
        ends = copied_edges(edge_index[:, edges], edge_axes, nodes, node_axes, len(sample))
    else:
        nodes, node_axes = torch.arange(len(sample), device=sample.device), sample
        edges, ends = torch.arange(edge_index.size(1), device=sample.device), edge_index
    return SignFrames(axes, weight, signs, nodes, node_axes, edges, ends, several, len(sample))


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
