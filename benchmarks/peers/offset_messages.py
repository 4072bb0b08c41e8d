"""Messages that see offsets as three numbers: a network without rotations, and the same in frames.

After the layers of EGNN (Satorras et al., ICML 2021) without what makes those equivariant.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from geqlib.nn import FrameAveraging, PolynomialCutoff
from geqlib.radial import safe_sqrt

INPUTS = {
    "pos": "point",
    "x": "scalar",
    "vec": "vector",
    "edge_attr": "edge:scalar",
    "edge_index": "edge_index",
}


class OffsetMessages(nn.Module):
    """h_i <- h_i + U [h_i, sum_j m_ij], m_ij = silu(W silu(V [h_i, h_j, x_j - x_i, d_ij, a_ij])).

    Symmetry: translations and relabelling; not rotations. With a cutoff, messages fade to 0 there.

    Args:
        in_scalars, in_vectors, edge_dim: channels of x, vec and edge_attr.
        output: a "vector" of each node, [N, 1, 3], or a "scalar", [N, 1].
        channels: of nodes and messages.
        layers: rounds of messages.
        cutoff: of distances; None where all pairs are edges.
    """

    def __init__(
        self,
        in_scalars: int = 0,
        in_vectors: int = 0,
        edge_dim: int = 0,
        *,
        output: Literal["vector", "scalar"],
        channels: int = 64,
        layers: int = 3,
        cutoff: float | None = None,
    ) -> None:
        super().__init__()
        self.in_scalars, self.output, self.cutoff = in_scalars, output, cutoff
        self.envelope = None if cutoff is None else PolynomialCutoff(cutoff)
        self.embed = nn.Linear(in_scalars + 3 * in_vectors, channels)
        self.ends = nn.ModuleList(nn.Linear(channels, 2 * channels) for _ in range(layers))
        self.edges = nn.ModuleList(nn.Linear(4 + edge_dim, channels) for _ in range(layers))
        self.messages = nn.ModuleList(nn.Linear(channels, channels) for _ in range(layers))
        self.updates = nn.ModuleList(
            nn.Sequential(
                nn.Linear(2 * channels, channels), nn.SiLU(), nn.Linear(channels, channels)
            )
            for _ in range(layers)
        )
        self.out = nn.Sequential(
            nn.Linear(channels, channels),
            nn.SiLU(),
            nn.Linear(channels, 3 if output == "vector" else 1),
        )

    def forward(
        self,
        pos: Tensor,
        edge_index: Tensor,
        x: Tensor | None = None,
        vec: Tensor | None = None,
        edge_attr: Tensor | None = None,
        batch: Tensor | None = None,  # which no message needs; frames pass both
        num_graphs: int | None = None,
    ) -> Tensor:
        parts = [x] if x is not None and self.in_scalars else []
        parts += [] if vec is None else [vec.flatten(1)]
        h = self.embed(torch.cat(parts, 1))
        source, target = edge_index
        offset = pos[source] - pos[target]
        distance = safe_sqrt(offset.square().sum(1))
        seen = [offset, distance[:, None]] + ([] if edge_attr is None else [edge_attr])
        edges = torch.cat(seen, 1)
        fade = None if self.envelope is None else self.envelope(distance)[:, None]
        layers = zip(self.ends, self.edges, self.messages, self.updates, strict=True)
        for ends, of_edges, messages, update in layers:
            mine, other = ends(h).chunk(2, 1)
            m = silu(messages(silu(mine[target] + other[source] + of_edges(edges))))
            m = m if fade is None else m * fade
            h = h + update(torch.cat([h, torch.zeros_like(h).index_add(0, target, m)], 1))
        y = self.out(h)
        return y[:, None] if self.output == "vector" else y


class FramedOffsetMessages(nn.Module):
    """`OffsetMessages` averaged over the frames of SE(3): four copies of each graph.

    Args:
        in_scalars, in_vectors, edge_dim, output, channels, layers, cutoff: of the network.
    """

    def __init__(
        self,
        in_scalars: int = 0,
        in_vectors: int = 0,
        edge_dim: int = 0,
        *,
        output: Literal["vector", "scalar"],
        channels: int = 64,
        layers: int = 3,
        cutoff: float | None = None,
    ) -> None:
        super().__init__()
        network = OffsetMessages(
            in_scalars,
            in_vectors,
            edge_dim,
            output=output,
            channels=channels,
            layers=layers,
            cutoff=cutoff,
        )
        self.in_scalars, self.cutoff = in_scalars, cutoff
        features = {"x": in_scalars, "vec": in_vectors, "edge_attr": edge_dim}
        self.inputs = {name: text for name, text in INPUTS.items() if features.get(name, 1)}
        self.average = FrameAveraging(network, "SE(3)", inputs=self.inputs, outputs=output)

    def forward(
        self,
        pos: Tensor,
        edge_index: Tensor,
        x: Tensor | None = None,
        vec: Tensor | None = None,
        edge_attr: Tensor | None = None,
        batch: Tensor | None = None,
        num_graphs: int | None = None,
    ) -> Tensor:
        tensors = {"pos": pos, "edge_index": edge_index, "x": x, "vec": vec, "edge_attr": edge_attr}
        own = {name: tensors[name] for name in self.inputs}
        return self.average(**own, batch=batch, num_graphs=num_graphs)
