"""Frames that are axes with all signs, kept as such: what is linear is computed once an axis.

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

from geqlib.frames.copies import ragged
from geqlib.frames.degenerate import degenerate_frames
from geqlib.frames.point_frames import spectral_axes
from geqlib.frames.stabilisers import sign_patterns
from geqlib.frames.vectors import Vectors, spectral_tolerance


@dataclass(frozen=True)
class SignFrames:
    """Axes of every sample, all signs, and the rows that they see: a node once a set of axes.

    Args:
        axes: [A, d, d] in columns; several sets for samples that are symmetric.
        weight: [A], sums to 1 in every sample.
        signs: [S, d].
        nodes: [M] node of each row, and node_axes: [M] its set of axes.
        edges: [L] edge of each edge between rows, and ends: [2, L] these rows.
        several: whether rows are not just the nodes.
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
        """[d, M, V] of vectors [d, N, V], along the axes of each row."""
        seen = v.index_select(1, self.nodes) if self.several else v
        return (self._row_axes(v) * seen).sum(1)

    def rows(self, x: Tensor) -> Tensor:
        """What all frames see alike: [M, ...] from [N, ...]."""
        return x.index_select(0, self.nodes) if self.several else x

    def edge_rows(self, x: Tensor) -> Tensor:
        return x.index_select(0, self.edges) if self.several else x

    def combined(self, like: Tensor) -> Tensor:
        """[S, d + 1] the signs of each frame, and 1 for what all frames see alike."""
        ones = self.signs.new_ones(len(self.signs), 1)
        return torch.cat([self.signs, ones], 1).to(like.dtype)

    def spread(self, y: Tensor, shared: Tensor) -> Tensor:
        """[S, M, C] sums over axes of y [d, M, C] with the signs of each frame, and shared [C] or
        [M, C] in all of them."""
        seen = torch.cat([y, shared.expand_as(y[:1])]).flatten(1)
        return (self.combined(y) @ seen).view(len(self.signs), *y.shape[1:])

    def scalars(self, h: Tensor) -> Tensor:
        """[N, C] mean over all frames of h [S, M, C]."""
        return self._mean(h.mean(0), 0)

    def along(self, h: Tensor) -> Tensor:
        """[d, M, C] mean over the signs of h [S, M, C] times the sign of each axis."""
        share = self.signs.T.to(h.dtype) / len(self.signs)
        return (share @ h.flatten(1)).view(len(share), *h.shape[1:])

    def vectors(self, u: Tensor) -> Tensor:
        """[d, N, V] from components u [d, M, V]: turned back, mean over the sets of axes."""
        return self._mean((self._row_axes(u).transpose(0, 1) * u).sum(1), 1)

    def _row_axes(self, like: Tensor) -> Tensor:
        """[d, d, M, 1], axes first; for products and sums, which autocast leaves alone."""
        axes = self.axes.permute(2, 1, 0).to(like.dtype)
        return axes.index_select(2, self.node_axes)[..., None]

    def _mean(self, x: Tensor, axis: int) -> Tensor:
        """Over the sets of axes of each node: rows are on this axis of x."""
        if not self.several:
            return x
        share = self.weight[self.node_axes].to(x.dtype)[:, None] * x
        shape = [*x.shape[:axis], self.count, x.size(-1)]
        return x.new_zeros(shape).index_add(axis, self.nodes, share)


def sign_frames(
    vectors: Vectors,
    sample: Tensor,
    edge_index: Tensor,
    *,
    proper: bool,
    squares: tuple[Tensor, Tensor] | None = None,
) -> SignFrames:
    """Frames of a batch: eigenvectors, or axes from points where eigenvalues meet, with all signs.

    Args:
        vectors: of the batch.
        sample: [N] of each node.
        edge_index: [2, E].
        proper: rotations only, half as many.
        squares: see `spectral_axes`.

    Raises:
        ValueError: NaN.
    """
    axes, gap = spectral_axes(vectors, squares)
    clear = gap > spectral_tolerance(vectors.eps)
    owner = torch.arange(vectors.count, device=axes.device)
    weight = axes.new_ones(vectors.count)
    if not bool(clear.all()):
        rest = degenerate_frames(vectors, owner[~clear], proper=proper, degree=1)
        found = [torch.cat(pair) for pair in zip((axes[clear], owner[clear]), rest, strict=False)]
        share = torch.cat([weight[clear], rest[2].to(weight)])
        order = found[1].argsort(stable=True)
        axes, owner, weight = found[0][order], found[1][order], share[order]
    if proper:
        last = torch.linalg.det(axes.detach()).sign()[:, None, None]
        axes = torch.cat([axes[..., :-1], axes[..., -1:] * last], -1)
    signs = torch.from_numpy(sign_patterns(axes.size(-1), even=proper)).to(axes)
    several = len(owner) != vectors.count
    if not several:
        edges = torch.arange(edge_index.size(1), device=edge_index.device)
        nodes = torch.arange(len(sample), device=sample.device)
        parts = nodes, sample, edges, edge_index
        return SignFrames(axes, weight, signs, *parts, several, len(sample))
    nodes, node_axes = ragged(sample, owner, vectors.count)
    edges, edge_axes = ragged(sample[edge_index[0]], owner, vectors.count)
    keys, place = (node_axes * len(sample) + nodes).sort()
    wanted = edge_axes * len(sample) + edge_index[:, edges]
    ends = place[torch.searchsorted(keys, wanted)]
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
