"""FA-GNN: message passing in frames that are computed anew after every layer."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import silu
from torch_geometric.nn.inits import reset

from geqlib.frames.averaging import frame_group
from geqlib.frames.batches import typed_batch
from geqlib.frames.degenerate import sign_patterns
from geqlib.frames.sign_frames import AxisLinear, SignFrames, sign_frames
from geqlib.frames.vectors import Geometry, geometry_of
from geqlib.graph.checks import as_index
from geqlib.graph.functional import outside_vmap
from geqlib.radial import LogGaussianBasis, safe_sqrt
from geqlib.symmetry.types import parse_type

TYPES = {name: parse_type(name, text) for name, text in (("pos", "point"), ("vec", "vector"))}


class FrameMessages(nn.Module):
    """Messages between nodes as every frame of their graph sees them.

    Symmetry: within a mean over frames (`FrameReadout`), that of the frames; relabelling.

    Source: Puny et al. (ICLR 2022, arXiv 2110.03336), the layer of FA-GNN, after Satorras et al.
    (ICML 2021). With h_i the scalars of node i and the components of its vectors in a frame, and
    e_ij the edge features, which are the same in all frames,

        m_ij = silu(W_2 silu(W_1 [h_i, h_j, e_ij])),   u_i = silu(W_3 [h_i, sum_j m_ij]).

    W_1 and the part of W_3 for h_i are applied per node, to each axis once, and to e_ij once for
    all frames; their results are combined by signs.

    Args:
        dim: d.
        scalars, vectors: channels of each kind per node.
        edge_features: channels per edge.
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
        source, target = frames.ends
        own, other, update = self.see_vectors(p).chunk(3, -1)
        edge, shared = frames.copied_edges(self.see_edges(e)), self.update.bias
        if self.see_scalars is not None:
            scalars = frames.copied(self.see_scalars(s)).chunk(3, -1)
            edge = edge + scalars[0].index_select(0, target) + scalars[1].index_select(0, source)
            shared = shared + scalars[2]
        pair = own.index_select(1, target) + other.index_select(1, source)
        m = silu(self.message(silu(frames.signed(pair, edge))))
        total = m.new_zeros(len(m), own.size(1), m.size(2)).index_add(1, target, m)
        return silu(frames.signed(update, shared) + total @ self.update.weight.T)

    def __repr__(self) -> str:
        names = ("dim", "scalars", "vectors", "edge_features", "channels")
        sizes = ", ".join(f"{k}={n}" for k, n in zip(names, self.sizes, strict=True))
        return f"{type(self).__name__}({sizes})"


class FrameReadout(nn.Module):
    """Scalars and vectors of nodes: linear maps of means over frames.

    Symmetry: that of the frames, exactly.

    Args:
        dim: d.
        channels: C of the node states in each frame.
        scalars, vectors: number of outputs of each kind.

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
        if self.scalars is not None:
            s = self.scalars(frames.scalars(h))
        else:
            s = h.new_zeros(frames.count, 0)
        if self.vectors is not None:
            v = frames.vectors(self.vectors(frames.along(h)))
        else:
            v = h.new_zeros(self.dim, frames.count, 0)
        return s, v

    def __repr__(self) -> str:
        scalars = 0 if self.scalars is None else self.scalars.out_features
        vectors = 0 if self.vectors is None else self.vectors.weight.size(-1)
        return (
            f"{type(self).__name__}(dim={self.dim}, channels={self.channels}, scalars={scalars}, "
            f"vectors={vectors})"
        )


class FAGNN(nn.Module):
    """Scalars and vectors on points, to scalars and vectors on points, by averages over frames.

    Symmetry: rotations, translations and relabelling of nodes, exactly; reflections, too, with
    group "E(3)".

    Source: Puny et al., "Frame averaging for invariant and equivariant network design" (ICLR 2022,
    arXiv 2110.03336), section 4.3. Every layer passes messages between nodes as seen from each of
    the 8 frames of their graph (`FrameMessages`); the mean over frames of its outputs, rotated
    back, is added to the vectors of each node, from which the frames of the next layer are
    computed. After the last layer a two-layer network in each frame precedes the mean.

    The frames are those of `geqlib.nn.FrameAveraging`, of positions and vectors together, not of
    positions alone, so that no input is left out where positions are symmetric. Latent vectors are
    not centred. What a frame cannot change, distances and edge features, is computed once per
    graph, and what is linear once per axis.

    Args:
        in_scalars, in_vectors: input channels of each kind.
        out_scalars, out_vectors: output channels of each kind.
        channels: width of the hidden layers.
        layers: number of message-passing layers.
        hidden_scalars, hidden_vectors: channels between layers; the paper has 0 and 20.
        edge_dim: invariant features per edge, such as products of charges.
        radial: functions of the distance; the squared distance by default, as in the paper.
        group: "E(3)" or "SE(3)", or without translations "O(3)" or "SO(3)"; or with 2 for 3.
        detach: hold frames constant in derivatives, as the published code does: cheaper, and no
            large gradients where eigenvalues nearly meet. Derivatives are then not those of the
            function: leave it off for forces.

    Example:
        >>> net = FAGNN(0, 1, 0, 1, channels=16, layers=2)
        >>> pos, edge_index = torch.randn(3, 3), torch.tensor([[0, 1, 2], [1, 2, 0]])
        >>> scalars, vectors = net(pos, edge_index, vec=torch.randn(3, 1, 3))
        >>> vectors.shape
        torch.Size([3, 1, 3])
    """

    signs: Tensor

    def __init__(
        self,
        in_scalars: int,
        in_vectors: int,
        out_scalars: int,
        out_vectors: int,
        *,
        channels: int = 60,
        layers: int = 4,
        hidden_scalars: int = 0,
        hidden_vectors: int = 20,
        edge_dim: int = 0,
        radial: LogGaussianBasis | None = None,
        group: Literal["E(3)", "SE(3)", "O(3)", "SO(3)", "E(2)", "SE(2)", "O(2)", "SO(2)"] = "E(3)",
        detach: bool = False,
    ) -> None:
        super().__init__()
        if min(channels, layers, hidden_vectors) < 1:
            raise ValueError(
                f"channels, layers and hidden_vectors must be positive, got {channels}, {layers} "
                f"and {hidden_vectors}."
            )
        self.symmetry = frame_group(group)
        if self.symmetry.permutes or self.symmetry.dim not in (2, 3):
            raise ValueError(f'group must be "E(3)", "SE(3)" or the like, got {group!r}.')
        self.in_scalars, self.in_vectors = in_scalars, in_vectors
        self.hidden_scalars, self.edge_dim, self.detach = hidden_scalars, edge_dim, detach
        self.radial = radial
        dim, s, v = self.symmetry.dim, in_scalars + hidden_scalars, hidden_vectors
        signs = torch.from_numpy(sign_patterns(dim, even=self.symmetry.proper))
        self.register_buffer("signs", signs.to(torch.get_default_dtype()), persistent=False)
        features = edge_dim + (1 if radial is None else radial.count)
        self.embed = nn.Linear(1 + in_vectors, v, bias=False)
        self.messages = nn.ModuleList(
            FrameMessages(dim, s, v, features, channels) for _ in range(layers)
        )
        self.readouts = nn.ModuleList(
            FrameReadout(dim, channels, hidden_scalars, v) for _ in range(layers - 1)
        )
        self.last_vectors = AxisLinear(dim, v, channels)
        self.last_scalars = nn.Linear(s, channels, bias=False) if s else None
        self.last = nn.Linear(channels, channels)
        self.out = FrameReadout(dim, channels, out_scalars, out_vectors)

    def reset_parameters(self) -> None:
        for part in self.children():
            reset(part)

    def forward(
        self,
        pos: Tensor,
        edge_index: Tensor,
        x: Tensor | None = None,
        vec: Tensor | None = None,
        edge_attr: Tensor | None = None,
        batch: Tensor | None = None,
        num_graphs: int | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Run the network; inputs that it was built without are ignored.

        Args:
            pos: [N, d] positions.
            edge_index: [2, E], source and target.
            x: [N, in_scalars].
            vec: [N, in_vectors, d].
            edge_attr: [E, edge_dim].
            batch: [N] graph of each node, one graph if it is left out.
            num_graphs: number of graphs.

        Returns:
            Scalars [N, out_scalars] and vectors [N, out_vectors, d].
        """
        x = x if self.in_scalars else None
        vec = vec if self.in_vectors else None
        edge_attr = edge_attr if self.edge_dim else None
        edge_index = as_index(edge_index)
        self._check_inputs(pos, edge_index, x, vec, edge_attr)
        if batch is None:
            batch, num_graphs = edge_index.new_zeros(pos.size(0)), 1
        v, geometry = self._geometry(pos, vec, batch, num_graphs)
        v, e = self._embedded(v), self._edges(pos, edge_index, edge_attr)
        x = pos.new_zeros(pos.size(0), 0) if x is None else x
        s = pos.new_zeros(pos.size(0), self.hidden_scalars)
        for layer, read in zip(self.messages, self.readouts, strict=False):
            frames = self._frames(geometry, batch, edge_index)
            u = layer(frames, _both(x, s), frames.components(v), e)
            more_s, more_v = read(frames, u)
            s, v = s + more_s if self.hidden_scalars else s, v + more_v
            geometry = _latent(v, batch, geometry)
        frames = self._frames(geometry, batch, edge_index)
        s, p = _both(x, s), frames.components(v)
        u = self.messages[-1](frames, s, p, e)
        shared = self.last.bias
        if self.last_scalars is not None:
            shared = shared + frames.copied(self.last_scalars(s))
        last = frames.signed(self.last_vectors(p), shared) + u @ self.last.weight.T
        s, v = self.out(frames, silu(last))
        return s, v.permute(1, 2, 0)

    def _geometry(
        self, pos: Tensor, vec: Tensor | None, batch: Tensor, num_graphs: int | None
    ) -> tuple[Tensor, Geometry]:
        """Centred positions and vectors [N, 1 + in_vectors, d], and their geometry."""
        tensors = {"pos": pos, "vec": vec, "batch": batch, "num_graphs": num_graphs}
        group = self.symmetry
        typed = typed_batch(tensors, TYPES, group.dim, dense=False, check=True)
        geometry, shift = geometry_of(typed, group)
        centred = pos if shift is None else (pos - shift[batch]).to(pos.dtype)
        parts = [centred[:, None]] if vec is None else [centred[:, None], vec]
        return torch.cat(parts, 1), geometry

    def _frames(self, geometry: Geometry, batch: Tensor, edge_index: Tensor) -> SignFrames:
        if self.detach:  # `no_grad` would leave forward-mode derivatives
            geometry = replace(geometry, vectors=geometry.vectors.detach())
        with outside_vmap("FAGNN"):
            return sign_frames(geometry, batch, edge_index, self.signs, proper=self.symmetry.proper)

    def _embedded(self, v: Tensor) -> Tensor:
        """[d, N, hidden_vectors] from [N, 1 + in_vectors, d]."""
        return self.embed(v.permute(2, 0, 1))

    def _edges(self, pos: Tensor, edge_index: Tensor, edge_attr: Tensor | None) -> Tensor:
        """[E, features] edge features and functions of the distance."""
        source, target = edge_index
        square = (pos[source] - pos[target]).square().sum(1)
        radial = square[:, None] if self.radial is None else self.radial(safe_sqrt(square))
        return radial if edge_attr is None else torch.cat([edge_attr, radial], 1)

    def _check_inputs(
        self,
        pos: Tensor,
        edge_index: Tensor,
        x: Tensor | None,
        vec: Tensor | None,
        edge_attr: Tensor | None,
    ) -> None:
        for name, value, shape in (
            ("x", x, (pos.size(0), self.in_scalars)),
            ("vec", vec, (pos.size(0), self.in_vectors, self.symmetry.dim)),
            ("edge_attr", edge_attr, (edge_index.size(1), self.edge_dim)),
        ):
            if value is None and shape[1]:
                raise ValueError(f"{name} is missing: the model was built for {shape[1]} of it.")
            if value is not None and value.shape != shape:
                raise ValueError(
                    f"{name} has shape {list(value.shape)}, expected {list(shape)}: change the "
                    "model's sizes or the input."
                )


def _both(x: Tensor, s: Tensor) -> Tensor:
    """Inputs and hidden scalars of nodes, side by side."""
    return torch.cat([x, s], 1) if x.size(1) and s.size(1) else x if x.size(1) else s


def _latent(v: Tensor, batch: Tensor, geometry: Geometry) -> Geometry:
    """The geometry of latent vectors [d, N, V]."""
    vectors = v.double().permute(1, 2, 0).flatten(0, 1)
    sample = batch.repeat_interleave(v.size(2))
    # latent vectors are all there is, and they are rounded as the inputs are
    none = geometry.inertia[:0], geometry.inertia_sample[:0]
    return Geometry(vectors, sample, *none, geometry.rounding)
