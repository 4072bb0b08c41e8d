"""The published EScAIP, written directly: the peer in speed, and an oracle in the tests.

Qu and Krishnapriyan (NeurIPS 2024): structure by structure, soft ranks from the distances of all
pairs; features of both atoms are gathered for each neighbour, joined to those of the edge and
multiplied there; queries and keys are repeated and multiplied by harmonics of degree 0 to L, then
torch's attention; the last block updates edges, too, which nobody reads. The read-out of the
released code, which is evaluated twice, is evaluated once.
"""

from __future__ import annotations

from typing import Any

import torch
from e3nn import o3
from torch import Tensor, nn
from torch.nn.functional import gelu, linear, scaled_dot_product_attention

from geqlib.escaip.inputs import LEAST
from geqlib.escaip.neighborhoods import FLOOR, SOFTENING
from geqlib.models import EScAIP


class DirectEScAIP(nn.Module):
    """The function of a given `EScAIP` without direct forces, on its parameters, for molecules.

    Args:
        model: the network.
    """

    def __init__(self, model: EScAIP) -> None:
        super().__init__()
        self.model: Any = model
        self.in_scalars, self.cutoff = model.in_scalars, model.cutoff

    def forward(
        self, pos: Tensor, edge_index: Tensor, x: Tensor, batch: Tensor, num_graphs: int
    ) -> Tensor:
        """[N, out_scalars]; edges are all pairs within the cutoff, which it searches itself."""
        neighbor, envelope, offset = _padded_neighbors(pos, batch, num_graphs, self.model.envelope)
        distance = (offset.square().sum(2) + SOFTENING**2).sqrt()
        direction = offset / distance.unsqueeze(2)
        distance = torch.cat([torch.zeros_like(distance[:, :1]), distance[:, 1:]], 1)
        mask = torch.where(envelope < 1, -_phi(envelope), -torch.inf)
        degrees = list(range(max(self.model.degree, self.model.bond_degree) + 1))
        harmonics = o3.spherical_harmonics(degrees, direction, False, normalization="norm")
        orders = self._bond_orders(harmonics, mask.exp())
        atoms = torch.cat([x, gelu(self.model.bonds(orders))], 1)
        radial = gelu(self.model.radial(self.model.basis(distance)))
        pairs = torch.cat([radial, *_both(atoms, neighbor)], 2)
        return self._network(pairs, neighbor, mask, harmonics)

    def _network(self, pairs: Tensor, neighbor: Tensor, mask: Tensor, harmonics: Tensor) -> Tensor:
        model, start = self.model, self.model.start
        edges = _attributes(start.attributes, pairs)
        edges = edges + start.network(edges)
        nodes, edges = start.node_norm(edges[:, 0]), start.edge_norm(edges)
        states = [nodes]
        for block in model.blocks:
            message = torch.cat(
                [
                    block.edge_norm(edges),
                    *_both(block.node_norm(nodes), neighbor),
                    _attributes(block.attributes, pairs),
                ],
                2,
            )
            weight = torch.cat([_joined(block.message), block.of_attributes.weight], 1)
            message = block.message_norm(gelu(linear(message, weight, block.message.edge.bias)))
            update = _attention(block.attention, message, mask, harmonics)
            nodes = block.node_network(nodes + update[:, 0])
            edges = edges + update
            if block.edge_network is not None:
                edges = block.edge_network(edges)
            states.append(nodes)
        return model.head(model.readout(states))

    def _bond_orders(self, harmonics: Tensor, weight: Tensor) -> Tensor:
        mean = (harmonics * weight.unsqueeze(2)).sum(1) / weight.sum(1, keepdim=True)
        squares = [
            mean[:, n**2 : (n + 1) ** 2].square().sum(1)
            for n in range(1, self.model.bond_degree + 1)
        ]
        return (torch.stack(squares, 1) + LEAST).sqrt()


def _padded_neighbors(
    pos: Tensor, batch: Tensor, num_graphs: int, envelope: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """Neighbours [N, M], envelopes [N, M] and offsets [N, M, 3], the atom itself first."""
    parts = []
    for graph in range(num_graphs):
        atoms = (batch == graph).nonzero()[:, 0]
        offset = pos[atoms][None] - pos[atoms][:, None]
        x = _envelope((offset.square().sum(2) + SOFTENING**2).sqrt(), envelope)
        order = x.detach().argsort(1)
        width = int((x < 1).sum(1).max())
        order = order[:, :width]
        parts.append(
            (
                atoms[order],
                x.gather(1, order),
                offset.gather(1, order.unsqueeze(2).expand(-1, -1, 3)),
            )
        )
    width = max(x.size(1) for x, *_ in parts)
    pad = torch.nn.functional.pad
    tables = [
        (
            pad(neighbor, (0, width - neighbor.size(1))),
            pad(x, (0, width - x.size(1)), value=2.0),
            pad(offset, (0, 0, 0, width - offset.size(1))),
        )
        for neighbor, x, offset in parts
    ]
    neighbor, x, offset = (torch.cat(table) for table in zip(*tables, strict=True))
    return neighbor, x, offset


def _envelope(distance: Tensor, envelope: Any) -> Tensor:
    """[n, n] from the distances of all pairs, 0 between an atom and itself."""
    own = torch.eye(len(distance), dtype=torch.bool, device=distance.device)
    t = distance / envelope.softness + _phi(distance / envelope.cutoff)
    t = torch.where(distance < envelope.cutoff, t, 1e4).masked_fill(own, 0.0)
    rank = torch.sigmoid(t.unsqueeze(2) - t.unsqueeze(1)).sum(2)
    parts = torch.stack([rank / envelope.k, rank.T / envelope.k, distance / envelope.cutoff])
    x = envelope.temperature * torch.logsumexp(parts / envelope.temperature, 0)
    return x.masked_fill(own, 0.0)


def _phi(x: Tensor) -> Tensor:
    return x.square() / (1 - x.square()).clamp(min=FLOOR)


def _both(nodes: Tensor, neighbor: Tensor) -> tuple[Tensor, Tensor]:
    """Features [N, M, C] of the neighbours, and of the atoms themselves."""
    return nodes[neighbor], nodes.unsqueeze(1).expand(-1, neighbor.size(1), -1)


def _joined(layer: Any) -> Tensor:
    """The weight of an `EdgeLinear` for joined features of edge, source and target."""
    return torch.cat([layer.edge.weight, *layer.nodes.weight.chunk(2)], 1)


def _attributes(layer: Any, pairs: Tensor) -> Tensor:
    return layer.norm(gelu(linear(pairs, _joined(layer.linear), layer.linear.edge.bias)))


def _attention(layer: Any, message: Tensor, mask: Tensor, harmonics: Tensor) -> Tensor:
    atoms, slots = mask.shape
    q, k, v = (
        part.view(atoms, slots, layer.heads, -1).transpose(1, 2)
        for part in layer.project(message).chunk(3, 2)
    )
    if layer.degree:
        repeated, factors = [], []
        channel = 0
        for degree, count in enumerate(layer.angular):
            part = harmonics[..., degree**2 : (degree + 1) ** 2]
            for _ in range(count):
                repeated += [channel] * (2 * degree + 1)
                factors.append(part)
                channel += 1
        wide = torch.cat(factors, 2).unsqueeze(1)
        q, k = q[..., repeated] * wide, k[..., repeated] * wide
    mask = mask[:, None, None, :].expand(-1, layer.heads, slots, -1)
    y = scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return layer.out(y.transpose(1, 2).flatten(2))
