"""FA-GNN: message passing in frames that are found again after every layer."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import silu
from torch_geometric.nn.inits import reset

from geqlib.frames.frame_types import parse_frame_group, typed_batch
from geqlib.frames.geometry import centre, collect
from geqlib.frames.messages import FrameMessages, FrameReadout
from geqlib.frames.sign_frames import AxisLinear, SignFrames, sign_frames
from geqlib.frames.vectors import Vectors, vectors_of
from geqlib.ponita.invariants import safe_sqrt
from geqlib.radial import LogGaussianBasis
from geqlib.symmetry.types import parse_type

Squares = tuple[Tensor, Tensor]
TYPES = {"pos": "point", "vec": "vector", "x": "scalar", "edge_index": "edge_index"}


class FAGNN(nn.Module):
    """Scalars and vectors on points, to scalars and vectors on points, by averages over frames.

    Symmetry: rotations, translations and relabelling of nodes, exactly; reflections, too, with
    group "E(3)".

    Source: Puny et al., "Frame averaging for invariant and equivariant network design" (ICLR 2022,
    arXiv 2110.03336), section 4.3. Every layer passes messages between nodes as seen from each of
    the 8 frames of their graph (`geqlib.frames.messages`); the mean over frames of its outputs,
    turned back, is added to the vectors of each node, from which the frames of the next layer are
    found. After the last layer a two-layer network in each frame precedes the mean.

    The frames are those of `geqlib.nn.FrameAveraging`, of positions and vectors together, not of
    positions alone, so that no input is left out where positions are symmetric. Latent vectors are
    not centred. What a frame cannot change, distances and edge features, is computed once a graph,
    and what is linear once an axis.

    Args:
        in_scalars, in_vectors: input channels of each kind.
        out_scalars, out_vectors: output channels of each kind.
        channels: width of the hidden layers.
        layers: of messages.
        hidden_scalars, hidden_vectors: of a node between layers; the paper has 0 and 20.
        edge_dim: invariant features of an edge, such as products of charges.
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
        self.symmetry = parse_frame_group(group)
        if self.symmetry.permutes or self.symmetry.dim not in (2, 3):
            raise ValueError(f'group must be "E(3)", "SE(3)" or the like, got {group!r}.')
        self.in_scalars, self.in_vectors = in_scalars, in_vectors
        self.hidden_scalars, self.edge_dim, self.detach = hidden_scalars, edge_dim, detach
        self.radial = radial
        dim, s, v = self.symmetry.dim, in_scalars + hidden_scalars, hidden_vectors
        known = edge_dim + (1 if radial is None else radial.count)
        self.embed = nn.Linear(1 + in_vectors, v, bias=False)
        self.messages = nn.ModuleList(
            FrameMessages(dim, s, v, known, channels) for _ in range(layers)
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
        """Run the network; it leaves out inputs that it was built for none of.

        Args:
            pos: [N, d] positions.
            edge_index: [2, E], source and target.
            x: [N, in_scalars].
            vec: [N, in_vectors, d].
            edge_attr: [E, edge_dim].
            batch: [N] graph of each node, one graph if it is left out, and num_graphs.

        Returns:
            Scalars [N, out_scalars] and vectors [N, out_vectors, d].
        """
        x = x if self.in_scalars else None
        vec = vec if self.in_vectors else None
        edge_attr = edge_attr if self.edge_dim else None
        self._check_inputs(pos, edge_index, x, vec, edge_attr)
        if batch is None:
            batch, num_graphs = edge_index.new_zeros(pos.size(0)), 1
        v, given = self._geometry(pos, vec, edge_index, batch, num_graphs)
        frames = self._frames(given, None, batch, edge_index)
        v, known = self._embedded(v), self._edges(pos, edge_index, edge_attr)
        x = pos.new_zeros(pos.size(0), 0) if x is None else x
        s = pos.new_zeros(pos.size(0), self.hidden_scalars)
        for layer, read in zip(self.messages, self.readouts, strict=False):
            u = layer(frames, torch.cat([x, s], 1), frames.components(v), known)
            more_s, more_v = read(frames, u)
            s, v = s + more_s, v + more_v
            frames = self._frames(*self._latent(v, batch, given), batch, edge_index)
        s, p = torch.cat([x, s], 1), frames.components(v)
        u = self.messages[-1](frames, s, p, known)
        alike = self.last.bias
        if self.last_scalars is not None:
            alike = alike + frames.rows(self.last_scalars(s))
        kept = frames.spread(self.last_vectors(p), alike).flatten(0, 1)
        last = torch.addmm(kept, u.flatten(0, 1), self.last.weight.T)
        s, v = self.out(frames, silu(last).view(u.shape))
        return s, v.permute(1, 2, 0)

    def _geometry(
        self, pos: Tensor, vec: Tensor | None, edge_index: Tensor, batch: Tensor, size: int | None
    ) -> tuple[Tensor, Vectors]:
        """Centred positions and vectors [N, 1 + in_vectors, d], and what frames are made from."""
        tensors: dict[str, Any] = {"pos": pos, "vec": vec, "batch": batch, "num_graphs": size}
        types = {name: parse_type(f"input {name!r}", TYPES[name]) for name in ("pos", "vec")}
        group = self.symmetry
        given = typed_batch(tensors, types, group.dim, dense=False, check=True)
        shift = centre(given, group.dim) if group.translates else None
        centred = pos if shift is None else (pos - shift[batch]).to(pos.dtype)
        parts = [centred[:, None]] if vec is None else [centred[:, None], vec]
        return torch.cat(parts, 1), collect(given, shift, dim=group.dim, proper=group.proper)

    def _latent(self, v: Tensor, batch: Tensor, given: Vectors) -> tuple[Vectors, Squares]:
        """What frames are made from: vectors [d, N, V], and the sums of their squares by node."""
        wide, owner = v.double().transpose(0, 1), batch.repeat_interleave(v.size(2))
        found = vectors_of(wide.mT.flatten(0, 1), owner, given.count)
        latent = Vectors(found.rows, owner, found.twists, found.twist_sample, given.eps)
        return latent, (torch.bmm(wide, wide.mT), batch)

    def _frames(
        self, vectors: Vectors, squares: Squares | None, batch: Tensor, edge_index: Tensor
    ) -> SignFrames:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.detach):
            return sign_frames(
                vectors, batch, edge_index, proper=self.symmetry.proper, squares=squares
            )

    def _embedded(self, v: Tensor) -> Tensor:
        """[d, N, hidden_vectors] from [N, 1 + in_vectors, d]."""
        return self.embed(v.permute(2, 0, 1))

    def _edges(self, pos: Tensor, edge_index: Tensor, edge_attr: Tensor | None) -> Tensor:
        """[E, features] what all frames know of an edge."""
        source, target = edge_index
        square = (pos[source] - pos[target]).square().sum(1)
        known = square[:, None] if self.radial is None else self.radial(safe_sqrt(square))
        return known if edge_attr is None else torch.cat([edge_attr, known], 1)

    def _check_inputs(
        self,
        pos: Tensor,
        edge_index: Tensor,
        x: Tensor | None,
        vec: Tensor | None,
        edge_attr: Tensor | None,
    ) -> None:
        for name, given, expected in (
            ("x", x, (pos.size(0), self.in_scalars)),
            ("vec", vec, (pos.size(0), self.in_vectors, self.symmetry.dim)),
            ("edge_attr", edge_attr, (edge_index.size(1), self.edge_dim)),
        ):
            if given is None and expected[1]:
                raise ValueError(f"{name} is missing: the model was built for {expected[1]} of it.")
            if given is not None and given.shape != expected:
                raise ValueError(
                    f"{name} has shape {list(given.shape)}, expected {list(expected)}: change the "
                    "model's sizes or the input."
                )
