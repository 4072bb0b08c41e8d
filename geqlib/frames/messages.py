"""A message-passing layer in all frames at once."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from geqlib.frames.frame_edges import frame_edges
from geqlib.frames.sign_frames import AxisLinear, SignFrames


class FrameMessages(nn.Module):
    """Messages between nodes as every frame of their graph sees them.

    Symmetry: within a mean over frames (`FrameReadout`), that of the frames; relabelling.

    Source: Puny et al. (ICLR 2022, arXiv 2110.03336), the layer of FA-GNN, after Satorras et al.
    (ICML 2021). With h_i the scalars of node i and the components of its vectors in a frame, and
    e_ij what is known of an edge in all frames alike,

        m_ij = silu(W_2 silu(W_1 [h_i, h_j, e_ij])),   u_i = silu(W_3 [h_i, sum_j m_ij]).

    W_1 and the part of W_3 for h_i are applied at nodes, to each axis once, and to e_ij once for
    all frames; their results are combined by signs.

    Args:
        dim: d.
        scalars, vectors: of a node.
        edge_features: of an edge.
        channels: C.

    Shapes:
        scalars [N, scalars], components [d, M, vectors] of `SignFrames.components`, edge features
        [E, edge_features]; output [frames, M, C].
    """

    def __init__(
        self, dim: int, scalars: int, vectors: int, edge_features: int, channels: int
    ) -> None:
        super().__init__()
        self.sizes = (dim, scalars, vectors, edge_features, channels)
        self.see_vectors = AxisLinear(dim, vectors, 3 * channels)
        self.see_scalars = nn.Linear(scalars, 3 * channels) if scalars else None
        self.see_edges = nn.Linear(edge_features, channels)
        self.message = nn.Linear(channels, channels)
        self.update = nn.Linear(channels, channels)

    def reset_parameters(self) -> None:
        for part in self.children():
            part.reset_parameters()  # type: ignore[operator]

    def forward(self, frames: SignFrames, s: Tensor, p: Tensor, e: Tensor) -> Tensor:
        own, other, kept = self.see_vectors(p).chunk(3, -1)
        edge, alike = frames.edge_rows(self.see_edges(e)), self.update.bias
        source, target = frames.ends
        if self.see_scalars is not None:
            known = frames.rows(self.see_scalars(s)).chunk(3, -1)
            edge = edge + known[0].index_select(0, target) + known[1].index_select(0, source)
            alike = alike + known[2]
        total = frame_edges(
            own,
            other,
            edge,
            frames.combined(own),
            self.message.weight,
            self.message.bias,
            source,
            target,
        )
        kept = frames.spread(kept, alike).flatten(0, 1)
        update = torch.addmm(kept, total.flatten(0, 1), self.update.weight.T)
        return silu(update).view(total.shape)

    def __repr__(self) -> str:
        names = ("dim", "scalars", "vectors", "edge_features", "channels")
        sizes = ", ".join(f"{k}={n}" for k, n in zip(names, self.sizes, strict=True))
        return f"{type(self).__name__}({sizes})"


class FrameReadout(nn.Module):
    """Scalars and vectors of nodes: linear maps of means over frames.

    Symmetry: that of the frames, exactly.

    Args:
        dim: d.
        channels: C of what each frame says of a node.
        scalars, vectors: how many of each.

    Shapes:
        [frames, M, C] to [N, scalars] and [d, N, vectors].
    """

    def __init__(self, dim: int, channels: int, scalars: int, vectors: int) -> None:
        super().__init__()
        self.dim, self.channels = dim, channels
        self.scalars = nn.Linear(channels, scalars) if scalars else None
        self.vectors = AxisLinear(dim, channels, vectors) if vectors else None

    def reset_parameters(self) -> None:
        for part in self.children():
            part.reset_parameters()  # type: ignore[operator]

    def forward(self, frames: SignFrames, h: Tensor) -> tuple[Tensor, Tensor]:
        s, v = h.new_zeros(frames.count, 0), h.new_zeros(self.dim, frames.count, 0)
        if self.scalars is not None:
            s = self.scalars(frames.scalars(h))
        if self.vectors is not None:
            v = frames.vectors(self.vectors(frames.along(h)))
        return s, v

    def __repr__(self) -> str:
        scalars = 0 if self.scalars is None else self.scalars.out_features
        vectors = 0 if self.vectors is None else self.vectors.weight.size(-1)
        return (
            f"{type(self).__name__}(dim={self.dim}, channels={self.channels}, scalars={scalars}, "
            f"vectors={vectors})"
        )
