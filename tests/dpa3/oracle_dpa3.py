"""DPA3 written slowly: loops over atoms, bonds and angles, and weights of joined features."""

from __future__ import annotations

from math import exp, pi, sqrt, tanh

import torch
from torch import Tensor
from torch.nn.functional import linear

from geqlib.models import DPA3


def silut(x: float, t: float = 10.0) -> float:
    def silu(v: float) -> float:
        return v / (1 + exp(-v))

    slope = 1 / (1 + exp(-t)) + t * exp(-t) / (1 + exp(-t)) ** 2
    return silu(x) if x <= t else silu(t) + tanh(slope * (x - t))


def switch(d: float, start: float, cutoff: float) -> float:
    if d >= cutoff:
        return 0.0
    published = exp(-exp(20 * (d - start) / start))
    t = max((d - start) / (cutoff - start), 0.0)
    return published * (1 - 10 * t**3 + 15 * t**4 - 6 * t**5)


def act(x: Tensor) -> Tensor:
    return torch.tensor([silut(float(v)) for v in x], dtype=x.dtype)


def joined(parts: list[torch.nn.Linear]) -> Tensor:
    """The matrix W of joined features, of which a network keeps the blocks."""
    return torch.cat([part.weight for part in parts], 1)


def atoms(net: DPA3, pos: Tensor, edge_index: Tensor, x: Tensor, shift: Tensor) -> Tensor:
    """Outputs [N, out_scalars]."""
    ends = edge_index.T.tolist()
    offset = [pos[j] - pos[i] + shift[b] for b, (j, i) in enumerate(ends)]
    length = [sqrt(float(r @ r) + 1e-6) for r in offset]
    h = [r / d for r, d in zip(offset, length, strict=True)]
    s = [switch(d, net.switch.start, net.switch.cutoff) for d in length]
    t = [switch(d, net.angle_switch.start, net.angle_switch.cutoff) for d in length]
    angles = [
        (b, c)
        for b, (_, i) in enumerate(ends)
        for c, (_, at) in enumerate(ends)
        if b != c and i == at and max(length[b], length[c]) <= net.angle_cutoff
    ]
    n = [act(row) for row in x]
    e = [net.length(torch.tensor([d], dtype=x.dtype)) for d in length]
    a = {
        (b, c): net.cosine(torch.tensor([float(h[b] @ h[c]) / sqrt(pi)], dtype=x.dtype))
        for b, c in angles
    }
    for layer in net.layers:
        n_new = atoms_after(net, layer, n, e, h, s, ends)
        e, a = bonds_and_angles_after(net, layer, n, e, a, t, ends)
        n = n_new
    n = atoms_after(net, net.last, n, e, h, s, ends)
    return torch.stack([read(net, row) for row in n])


def atoms_after(net, layer, n, e, h, s, ends):
    update, pairs = layer.node, layer.pairs
    weight = joined([pairs.target, pairs.source, pairs.edge])
    own, symmetric, near = update.scales
    after = []
    for i, row in enumerate(n):
        bonds = [b for b, (_, at) in enumerate(ends) if at == i]
        invariants = []
        for values in (e, [n[j] for j, _ in ends]):
            width = len(values[0]) if values else 0
            g = torch.zeros(3, width, dtype=row.dtype)
            for b in bonds:
                g += s[b] * torch.outer(h[b], values[b]) / net.neighbors
            invariants.append((g.T @ g)[:, :4].flatten())
        if not ends:  # the widths are those of the layer
            invariants = [torch.zeros(update.symmetric.in_features, dtype=row.dtype)]
        mean = torch.zeros_like(row)
        for b in bonds:
            together = torch.cat([row, n[ends[b][0]], e[b]])
            message = linear(together, weight, pairs.target.bias)[: len(row)]
            mean += s[b] * act(message) / net.neighbors
        after.append(
            row
            + own * act(update.own(row))
            + symmetric * act(update.symmetric(torch.cat(invariants)))
            + near * mean
        )
    return after


def bonds_and_angles_after(net, layer, n, e, a, t, ends):
    pairs, bends = layer.pairs, layer.bends
    nodes, _, _, width = layer.sizes
    weight = joined([pairs.target, pairs.source, pairs.edge])
    bend = joined([bends.angle, bends.node, bends.second, bends.first])
    by_edge, by_angle = layer.scales[:2]
    turns = {}
    for b, c in a:
        centre = n[ends[b][1]][:width]
        together = torch.cat([a[b, c], centre, e[c][:width], e[b][:width]])
        turns[b, c] = act(linear(together, bend, bends.angle.bias))
    after = []
    for b, (j, i) in enumerate(ends):
        message = linear(torch.cat([n[i], n[j], e[b]]), weight, pairs.target.bias)[nodes:]
        total = torch.zeros(width, dtype=e[b].dtype)
        for (first, c), value in turns.items():
            if first == b:
                total += t[b] * t[c] * value[:width] / sqrt(net.angle_neighbors)
        update = by_angle * act(linear(total, layer.mix.weight))
        after.append(e[b] + by_edge * act(message) + update)
    if len(layer.scales) < 3:  # nobody reads the angles
        return after, a
    return after, {key: a[key] + layer.scales[2] * turns[key][width:] for key in a}


def read(net: DPA3, row: Tensor) -> Tensor:
    for layer in net.readout[:-1]:
        row = act(layer(row))
    return net.readout[-1](row)
