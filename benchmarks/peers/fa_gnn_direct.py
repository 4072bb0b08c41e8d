"""FA-GNN written directly: a plain network, called on one copy of everything for each frame."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from geqlib.frames.degenerate import sign_patterns
from geqlib.frames.message_network import FrameMessages, FrameReadout
from geqlib.frames.sign_frames import AxisLinear
from geqlib.models import FAGNN


class PlainLayer(nn.Module):
    """The backbone of one layer: h_i and the sum of messages to a hidden layer."""

    def __init__(self, layer: FrameMessages) -> None:
        super().__init__()
        c = layer.message.in_features
        own, other, own_map = _joint(layer.see_vectors, layer.see_scalars).split(c)
        bias = torch.zeros(3 * c) if layer.see_scalars is None else layer.see_scalars.bias
        bias = bias.detach().to(own)
        edges = layer.see_edges
        self.edge = _linear(
            torch.cat([own, other, edges.weight], 1), edges.bias + bias[:c] + bias[c : 2 * c]
        )
        self.message = _linear(layer.message.weight, layer.message.bias)
        self.update = _linear(
            torch.cat([own_map, layer.update.weight], 1), layer.update.bias + bias[2 * c :]
        )

    def forward(self, h: Tensor, edge_index: Tensor, e: Tensor) -> Tensor:
        source, target = edge_index
        message = silu(self.edge(torch.cat([h[target], h[source], e], 1)))
        message = silu(self.message(message))
        total = h.new_zeros(len(h), message.size(1)).index_add(0, target, message)
        return silu(self.update(torch.cat([h, total], 1)))


class PlainGNN(nn.Module):
    """The backbone with the weights of an `FAGNN`: no symmetry but relabelling.

    h [N, d V + S] are the components of V vectors, one axis after the other, and S scalars.
    """

    def __init__(self, net: FAGNN) -> None:
        super().__init__()
        self.net = net
        self.layers = nn.ModuleList(PlainLayer(cast(FrameMessages, m)) for m in net.messages)
        self.readouts = nn.ModuleList(_readout(cast(FrameReadout, r)) for r in net.readouts)
        self.last = _linear(net.last.weight, net.last.bias)
        self.skip = _linear(_joint(net.last_vectors, net.last_scalars), None)
        self.out = _readout(net.out)

    def start(self, pos: Tensor, vec: Tensor | None) -> Tensor:
        """[N, V, d] embedded vectors."""
        v = pos[:, None] if vec is None else torch.cat([pos[:, None], vec], 1)
        return self.net._embedded(v).permute(1, 2, 0)

    def decode(self, u: Tensor, h: Tensor) -> Tensor:
        return self.out(silu(self.last(u) + self.skip(h)))

    def forward(
        self, pos: Tensor, edge_index: Tensor, vec: Tensor | None, edge_attr: Tensor | None
    ) -> Tensor:
        """By itself, in the coordinates that it is given; without scalars."""
        h, e = _flat(self.start(pos, vec)), self.net._edges(pos, edge_index, edge_attr)
        for layer, read in zip(self.layers, self.readouts, strict=False):
            h = h + read(layer(h, edge_index, e))
        return self.decode(self.layers[-1](h, edge_index, e), h)


def averaged(
    plain: PlainGNN,
    pos: Tensor,
    edge_index: Tensor,
    x: Tensor | None,
    vec: Tensor | None,
    edge_attr: Tensor | None,
    batch: Tensor,
    graphs: int,
) -> tuple[Tensor, Tensor]:
    """Scalars and vectors by the published algorithm: every frame a copy, frames by LAPACK."""
    net = plain.net
    dim, hidden = net.symmetry.dim, net.hidden_scalars
    signs = torch.from_numpy(sign_patterns(dim, even=net.symmetry.proper)).to(pos)
    number = torch.bincount(batch, minlength=graphs).clamp(min=1)[:, None]
    pos = pos - (pos.new_zeros(graphs, dim).index_add(0, batch, pos) / number)[batch]
    shifts = len(pos) * torch.arange(len(signs))
    edges = (edge_index[:, None] + shifts[:, None]).flatten(1)
    edge_features = net._edges(pos, edge_index, edge_attr).repeat(len(signs), 1)
    x = pos.new_zeros(len(pos), 0) if x is None else x
    s, v = pos.new_zeros(len(pos), hidden), plain.start(pos, vec)
    seen = pos[:, None] if vec is None else torch.cat([pos[:, None], vec], 1)
    for k, layer in enumerate(plain.layers):
        axes = _axes(seen, batch, graphs, proper=net.symmetry.proper)
        matrix = (axes * signs[:, None, None, :]).transpose(0, 1)[batch].transpose(0, 1)
        part = torch.einsum("fnij,nvi->fnjv", matrix, v).flatten(2)  # every frame's coordinates
        h = torch.cat([part, torch.cat([x, s], 1).expand(len(signs), -1, -1)], 2).flatten(0, 1)
        u = layer(h, edges, edge_features)
        out = plain.decode(u, h) if k == len(plain.layers) - 1 else plain.readouts[k](u)
        wide = out.size(1) - (net.out.scalars.out_features if net.out.scalars else 0)
        wide = wide if k == len(plain.layers) - 1 else out.size(1) - hidden
        turned = out[:, :wide].view(len(signs), len(pos), dim, wide // dim)
        turned = torch.einsum("fnij,fnjv->nvi", matrix, turned) / len(signs)
        scalar = out[:, wide:].view(len(signs), len(pos), -1).mean(0)
        if k == len(plain.layers) - 1:
            return scalar, turned
        s, v = s + scalar, v + turned
        seen = v
    raise ValueError("the network has no layers: give it one.")


def _axes(v: Tensor, batch: Tensor, graphs: int, *, proper: bool) -> Tensor:
    """Eigenvectors [graphs, d, d] of each graph's vectors, constants."""
    outer = torch.einsum("nvi,nvj->nij", v, v).detach()
    total = outer.new_zeros(graphs, *outer.shape[1:]).index_add(0, batch, outer)
    axes = torch.linalg.eigh(total)[1].flip(-1)
    if proper:
        axes = torch.cat([axes[..., :-1], axes[..., -1:] * torch.det(axes)[:, None, None]], -1)
    return axes


def _flat(v: Tensor) -> Tensor:
    return v.transpose(1, 2).flatten(1)


def _joint(vectors: AxisLinear, scalars: nn.Linear | None) -> Tensor:
    """[out, d V + S] weights of both kinds side by side."""
    weight = vectors.weight.flatten(0, 1).T
    return weight if scalars is None else torch.cat([weight, scalars.weight], 1)


def _readout(read: FrameReadout) -> nn.Linear:
    """To the components of the vectors, one axis after the other, and the scalars."""
    rows, bias = [], []
    if read.vectors is not None:
        rows.append(read.vectors.weight.transpose(1, 2).flatten(0, 1))
        bias.append(rows[0].new_zeros(len(rows[0])))
    if read.scalars is not None:
        rows.append(read.scalars.weight)
        bias.append(read.scalars.bias)
    return _linear(torch.cat(rows), torch.cat(bias))


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    layer = nn.Linear(weight.size(1), weight.size(0), bias=bias is not None).to(weight)
    layer.weight = nn.Parameter(weight.detach().clone())
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach().clone())
    return layer
