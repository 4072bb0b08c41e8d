"""EScAIP's formulas, neighbour by neighbour, in float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geqlib.models import EScAIP

SOFTENING, FLOOR, LEAST, EPSILON = 1e-3, 1e-3, 1e-4, 1e-6


def phi(x: float) -> float:
    return x * x / max(1 - x * x, FLOOR)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


def legendre(degree: int, u: Tensor, v: Tensor) -> float:
    """P_l of the angle, times |u|^l |v|^l."""
    size = float(u.norm() * v.norm())
    if size == 0:
        return float(degree == 0)
    polynomial = np.polynomial.legendre.Legendre.basis(degree)
    return float(polynomial(float(u @ v) / size)) * size**degree


def norm(x: Tensor) -> Tensor:
    return x / (x.square().mean() + EPSILON).sqrt()


def gelu(x: Tensor) -> Tensor:
    return x * (1 + torch.erf(x / math.sqrt(2))) / 2


def affine(layer: Any, x: Tensor) -> Tensor:
    y = layer.weight @ x
    return y if layer.bias is None else y + layer.bias


def feed_forward(network: Any, x: Tensor) -> Tensor:
    return affine(network[2], gelu(affine(network[0], x)))


class Edges:
    """Distances, directions and envelopes of all edges (target, source, number)."""

    def __init__(
        self, net: EScAIP, pos: Tensor, edge_index: Tensor, shift: Tensor | None = None
    ) -> None:
        self.options = net.envelope
        self.ends = [(int(j), int(i)) for j, i in edge_index.T]
        self.distance, self.direction = [], []
        for number, (j, i) in enumerate(self.ends):
            offset = pos[j] - pos[i] + (0 if shift is None else shift[number])
            d = math.sqrt(float(offset @ offset) + SOFTENING**2)
            self.distance.append(d)
            self.direction.append(offset / d)

    def t(self, e: int) -> float:
        d = self.distance[e]
        return d / self.options.softness + phi(d / self.options.cutoff)

    def rank(self, e: int, end: int) -> float:
        """Among all edges with the same source (0) or target (1)."""
        others = [b for b, ends in enumerate(self.ends) if ends[end] == self.ends[e][end]]
        return sigmoid(self.t(e)) + sum(sigmoid(self.t(e) - self.t(b)) for b in others)

    def envelope(self, e: int) -> float:
        o = self.options
        parts = [self.rank(e, 0) / o.k, self.rank(e, 1) / o.k, self.distance[e] / o.cutoff]
        return o.temperature * math.log(sum(math.exp(p / o.temperature) for p in parts))


class Atoms:
    """The network on one graph: for every atom a list of slots, itself first."""

    def __init__(
        self,
        net: EScAIP,
        pos: Tensor,
        edge_index: Tensor,
        x: Tensor,
        shift: Tensor | None = None,
    ) -> None:
        self.net: Any = net
        self.atoms = range(len(pos))
        edges = Edges(net, pos, edge_index, shift)
        zero = torch.zeros(3, dtype=torch.float64)
        self.slots = [[(i, 0.0, 0.0, zero)] for i in self.atoms]
        for e, (j, i) in enumerate(edges.ends):
            envelope = edges.envelope(e)
            if envelope < 1:
                slot = (j, -phi(envelope), edges.distance[e], edges.direction[e])
                self.slots[i].append(slot)
        orders = [torch.tensor(self.bond_orders(i), dtype=torch.float64) for i in self.atoms]
        self.features = [torch.cat([x[i], gelu(affine(net.bonds, orders[i]))]) for i in self.atoms]

    def bond_orders(self, i: int) -> list[float]:
        weights = [math.exp(log_weight) for _, log_weight, *_ in self.slots[i]]
        directions = [slot[3] for slot in self.slots[i]]
        orders = []
        for degree in range(1, self.net.bond_degree + 1):
            total = sum(
                a * b * legendre(degree, u, v)
                for a, u in zip(weights, directions, strict=True)
                for b, v in zip(weights, directions, strict=True)
            )
            orders.append(math.sqrt(total / sum(weights) ** 2 + LEAST))
        return orders

    def radial(self, d: float) -> Tensor:
        count, cutoff = self.net.basis.count, self.net.basis.cutoff
        delta = cutoff / (count - 1)
        values = [math.exp(-(((d - n * delta) / (2 * delta)) ** 2) / 2) for n in range(count)]
        return gelu(affine(self.net.radial, torch.tensor(values, dtype=torch.float64)))

    def of_edge(self, layer: Any, edge: Tensor, nodes: list[Tensor], i: int, j: int) -> Tensor:
        source, target = layer.nodes.weight.chunk(2)
        return affine(layer.edge, edge) + source @ nodes[j] + target @ nodes[i]

    def attributes(self, layer: Any, i: int, slot: int) -> Tensor:
        j, _, d, _ = self.slots[i][slot]
        return norm(gelu(self.of_edge(layer.linear, self.radial(d), self.features, i, j)))

    def attention(self, layer: Any, i: int, messages: list[Tensor], ask: int) -> Tensor:
        width = layer.channels // layer.heads
        degrees = [n for n, count in enumerate(layer.angular) for _ in range(count)]
        scale = sum(2 * n + 1 for n in degrees) ** -0.5
        parts = [affine(layer.project, m).chunk(3) for m in messages]
        heads = []
        for h in range(layer.heads):
            own = slice(h * width, (h + 1) * width)
            q = parts[ask][0][own]
            scores = []
            for slot, (_, k, _) in enumerate(parts):
                u, v = self.slots[i][ask][3], self.slots[i][slot][3]
                products = [
                    float(q[c] * k[own][c]) * legendre(n, u, v) for c, n in enumerate(degrees)
                ]
                scores.append(self.slots[i][slot][1] + scale * sum(products))
            top = max(scores)
            shares = [math.exp(s - top) for s in scores]
            values = [p[2][own] * s for p, s in zip(parts, shares, strict=True)]
            heads.append(torch.stack(values).sum(0) / sum(shares))
        return affine(layer.out, torch.cat(heads))

    def block(
        self, layer: Any, nodes: list[Tensor], edges: list[list[Tensor]]
    ) -> tuple[list[Tensor], list[list[Tensor]]]:
        normed = [norm(n) for n in nodes]
        new_nodes, new_edges = [], []
        for i in self.atoms:
            messages = []
            for slot, (j, *_) in enumerate(self.slots[i]):
                message = self.of_edge(layer.message, norm(edges[i][slot]), normed, i, j)
                message = message + layer.of_attributes.weight @ self.attributes(
                    layer.attributes, i, slot
                )
                messages.append(norm(gelu(message)))
            updates = [
                self.attention(layer.attention, i, messages, slot)
                for slot in (range(len(messages)) if layer.edge_network is not None else (0,))
            ]
            new_nodes.append(residual(layer.node_network, nodes[i] + updates[0]))
            if layer.edge_network is not None:
                pairs = zip(edges[i], updates, strict=True)
                new_edges.append([residual(layer.edge_network, e + u) for e, u in pairs])
        return new_nodes, new_edges or edges

    @torch.no_grad()
    def run(self) -> tuple[Tensor, Tensor]:
        """Scalars [N, out], and direct forces [N, 1, 3], 0 without that head."""
        net, nodes, edges = self.net, [], []
        direct: Any = net.forces
        for i in self.atoms:
            own = [self.attributes(net.start.attributes, i, s) for s in range(len(self.slots[i]))]
            own = [a + feed_forward(net.start.network, a) for a in own]
            nodes.append(norm(own[0]))
            edges.append([norm(a) for a in own])
        states, edge_states = [nodes], [edges]
        for layer in net.blocks:
            nodes, edges = self.block(layer, nodes, edges)
            states.append(nodes)
            edge_states.append(edges)
        features = [joined(net.readout, [s[i] for s in states]) for i in self.atoms]
        scalars = torch.stack([head(net.head, f) for f in features])
        forces = torch.zeros(len(features), 1, 3, dtype=torch.float64)
        if direct is None:
            return scalars, forces
        for i in self.atoms:
            for slot, (_, log_weight, _, direction) in enumerate(self.slots[i]):
                edge = joined(direct.readout, [s[i][slot] for s in edge_states])
                forces[i, 0] += math.exp(log_weight) * head(direct.entries, edge) * direction
            forces[i, 0] *= head(direct.magnitude, features[i])
        return scalars, forces


def residual(layer: Any, x: Tensor) -> Tensor:
    return x + feed_forward(layer.network, norm(x))


def joined(layer: Any, states: list[Tensor]) -> Tensor:
    parts = [residual(part, x) for part, x in zip(layer.parts, states, strict=True)]
    return norm(gelu(affine(layer.join, torch.cat(parts))))


def head(layer: Any, x: Tensor) -> Tensor:
    return affine(layer[1], feed_forward(layer[0], x))
