"""SPEN as it is usually written: a loop over dense ego nets.

The same function as `geqlib.models.SPEN` on one graph: an oracle for its values and gradients, and
what its speed is compared with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from geqlib.models import SPEN
from geqlib.nn import SubgraphConv
from geqlib.spen.maps import EquivariantMaps

PutBack = Callable[[Tensor], Tensor]


def find_ego_nets(edges: Sequence[Sequence[int]], nodes: int, hops: int) -> list[list[int]]:
    """The nodes at most so many steps away from each node, ascending."""
    nets = []
    for centre in range(nodes):
        net = {centre}
        for _ in range(hops):
            net |= {j for i, j in edges if i in net}
        nets.append(sorted(net))
    return nets


def number_pairs(nets: list[list[int]], symmetric: bool) -> dict[tuple[int, int], int]:
    """The row of each pair of nodes that share an ego net; both orders have one if symmetric."""
    pairs = {(i, j) for net in nets for i in net for j in net}
    rows = sorted({(min(p), max(p)) if symmetric else p for p in pairs})
    number = {pair: k for k, pair in enumerate(rows)}
    return {p: number[(min(p), max(p)) if symmetric else p] for p in pairs}


def dense_maps(
    maps: EquivariantMaps,
    x: dict[int, Tensor],
    m: int,
    root: int | None = None,
    gain: Tensor | None = None,
    shift: Tensor | None = None,
) -> dict[int, Tensor]:
    """One ego net: order -> [C], [m, C] or [m, m, C] in, the same with D out.

    Args:
        maps: the layer whose weights are used.
        x: features.
        m: nodes.
        root: number of the centre, for maps that know it.
        gain, shift: [ego_width], [sum(split)] of `SizeEmbedding`.
    """
    slot, node, ego = _inputs(maps, x, root)
    ego = torch.cat(ego) if gain is None else torch.cat(ego) * gain
    inputs = {"slot": slot, "node": node, "ego": list(ego.expand(m, -1).split(maps.in_channels, 1))}
    outputs = {}
    for kind, (weights, bias) in _weights(maps, shift).items():
        outputs[kind] = ego.new_zeros(m, maps.out_channels) + bias
        for level, blocks in weights.items():
            for value, weight in zip(inputs[level], blocks, strict=True):
                outputs[kind] = outputs[kind] + torch.einsum("mc,cd->md", value, weight)
    out = {0: outputs["order 0"][0]} if 0 in maps.out_orders else {}
    for order in (1, 2):
        if order in maps.out_orders:
            out[order] = outputs[f"low {order}"]
        if order in maps.out_orders and maps.centre:
            at_root = torch.eye(m).to(ego)[root or 0]
            out[order] = out[order] + torch.einsum("m,md->md", at_root, outputs[f"hub {order}"])
    if 2 in out:
        pairs = _pairs(maps, outputs, root)
        out[2] = torch.einsum("ic,ij->ijc", out[2], torch.eye(m).to(ego)) + pairs
    if 2 in out and maps.pair is not None:
        here, *mirrored = maps.pair.split(maps.in_channels)
        out[2] = out[2] + torch.einsum("ijc,cd->ijd", x[2], here)
        for weight in mirrored:
            out[2] = out[2] + torch.einsum("jic,cd->ijd", x[2], weight)
    return out


def _inputs(
    maps: EquivariantMaps, x: dict[int, Tensor], root: int | None
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """What is known of the slots, of the nodes and of the ego net."""
    slot, node, ego = [], [], []
    if 2 in x:
        slot += [x[2].mean(1), x[2].mean(0)][: maps.sides]
        node.append(torch.einsum("iic->ic", x[2]))
        ego.append(x[2].mean((0, 1)))
    if 1 in x:
        node.append(x[1])
    if 0 in x:
        ego.append(x[0])
    ego += [v.mean(0) for v in node]
    if maps.centre:
        ego += [v[root] for v in node]
    if maps.centre and 2 in x:
        spokes = [x[2][root], x[2][:, root]][: maps.sides]
        slot += spokes
        ego += [v.mean(0) for v in spokes]
    return slot, node, ego


def _weights(maps: EquivariantMaps, shift: Tensor | None) -> dict[str, tuple[dict, Tensor]]:
    """For each kind of output the [C, D] blocks for all inputs, and the bias."""
    D, centred = maps.out_channels, ("", "centre's ")[: 1 + maps.centre]
    orders = [order for order in (2, 1) if order in maps.out_orders]
    spread = [c + side for c in centred for side in ("row", "column")[: maps.sides]]
    spread = spread if 2 in maps.out_orders else []
    low = [f"low {order}" for order in orders]
    top = ["order 0"] if 0 in maps.out_orders else []
    hub = [f"hub {order}" for order in orders] if maps.centre else []
    ego = [*(spread if maps.symmetric else spread[1:]), *low, *top, *hub]
    bias = torch.zeros(len(ego) * D).to(maps.ego) if maps.bias is None else maps.bias
    bias = bias if shift is None else bias + shift

    def blocks(weight: Tensor | None, kinds: list[str], kind: str) -> list[Tensor]:
        if weight is None or kind not in kinds:
            return []
        k = kinds.index(kind)
        return [w[:, k * D : (k + 1) * D] for w in weight.split(maps.in_channels)]

    layers = {}
    for kind in [*spread, *low, *top, *hub]:
        levels = {
            "slot": blocks(maps.spread, spread, kind) + blocks(maps.low, low, kind),
            "node": blocks(maps.node, [*spread, *low], kind),
            "ego": blocks(maps.ego, ego, kind),
        }
        at = slice(ego.index(kind) * D, (ego.index(kind) + 1) * D) if kind in ego else slice(0, 0)
        weights = {level: w for level, w in levels.items() if w}
        layers[kind] = weights, bias[at] if kind in ego else bias.new_zeros(D)
    return layers


def _pairs(maps: EquivariantMaps, outputs: dict[str, Tensor], root: int | None) -> Tensor:
    """[m, m, D] what rows and columns say, and those of the centre."""
    row, column = outputs["row"], outputs["row" if maps.symmetric else "column"]
    y = row[:, None] + column[None]
    if maps.centre:
        at = torch.eye(len(row)).to(row)[root or 0]
        row = outputs["centre's row"]
        column = outputs["centre's row" if maps.symmetric else "centre's column"]
        y = y + torch.einsum("i,jd->ijd", at, row)
        # of a symmetric tensor the centre's diagonal entry is in its row alone
        others = torch.ones_like(at) - at if maps.symmetric else torch.ones_like(at)
        y = y + torch.einsum("j,i,id->ijd", at, others, column)
    return y


def dense_conv(
    conv: SubgraphConv, x: dict[int, Tensor], nets: list[list[int]], pairs: dict, nodes: int
) -> dict[int, Tensor]:
    """`SubgraphConv` with put_back "mean" or "sum", ego net by ego net and pair by pair.

    Args:
        nets: nodes of each ego net; net g has the centre g if the layer has centres.
        pairs: (source, target) -> row of order-2 features; of symmetric ones for both orders.
    """
    collected: dict[int, list[list[Tensor]]] = {
        0: [[] for _ in nets],
        1: [[] for _ in range(nodes)],
        2: [[] for _ in set(pairs.values())],
    }
    for g, net in enumerate(nets):
        rows = {0: torch.tensor(g), 1: torch.tensor(net)}
        rows[2] = torch.tensor([[pairs[i, j] for j in net] for i in net])
        maps, constants = _layer(conv, len(net))
        root = net.index(g) if maps.centre else None
        own = {k: v[rows[k]] for k, v in x.items()}
        once = torch.ones(len(net), len(net)).bool()
        once = once.triu() if maps.symmetric else once
        for order, y in dense_maps(maps, own, len(net), root, *constants).items():
            at, y = (rows[2][once], y[once]) if order == 2 else (rows[order].reshape(-1), y)
            for row, value in zip(at.tolist(), y.reshape(len(at), -1), strict=True):
                collected[order][row].append(value)
    combine: PutBack = (lambda v: v.mean(0)) if conv.put_back == "mean" else (lambda v: v.sum(0))
    return {
        order: torch.stack([combine(torch.stack(values)) for values in collected[order]])
        for order in conv.orders
    }


def _layer(conv: SubgraphConv, size: int) -> tuple[EquivariantMaps, list[Tensor]]:
    if conv.sizes is not None:
        nearest = min(range(len(conv.sizes)), key=lambda k: abs(conv.sizes[k] - size))
        return conv.maps[nearest], []
    gain, shift = conv.embedding(torch.tensor([size]), conv.maps[0].ego.dtype)
    return conv.maps[0], [gain[0], None if shift is None else shift[0]]


class DenseSPEN:
    """`SPEN` on one graph by `dense_conv`, with the weights of a given model."""

    def __init__(self, model: SPEN) -> None:
        self.model = model

    def known(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor | None = None) -> Tensor:
        """[N, ...] what each node knows after all layers."""
        net, nodes, edges = self.model, len(x), edge_index.T.tolist()
        nets = [list(range(nodes))] if net.hops is None else find_ego_nets(edges, nodes, net.hops)
        pairs = number_pairs(nets, net.symmetric)
        h, readouts = {2: self._embed(x, edges, edge_attr, pairs)}, []
        for conv, norms in zip(net.convs, net.norms, strict=True):
            y = dense_conv(conv, h, nets, pairs, nodes)
            y = {k: net.act(norms[str(k)](v)) for k, v in y.items()}
            h = {k: v + h[k] if net.residual and k in h else v for k, v in y.items()}
            readouts += self._read(h, nets, pairs, nodes)
        return torch.cat(readouts, 1)

    def _embed(self, x: Tensor, edges: list, edge_attr: Tensor | None, pairs: dict) -> Tensor:
        net = self.model
        out, into = ([sum(e[k] == i for e in edges) for i in range(len(x))] for k in (0, 1))
        rows = [torch.zeros(net.edge_dim + 2).to(x) for _ in set(pairs.values())]
        for e, (i, j) in enumerate(edges):
            edge = x.new_tensor([1.0, (out[i] * into[j]) ** -0.5])
            edge = edge if edge_attr is None else torch.cat([edge, edge_attr[e]])
            rows[pairs[i, j]] = rows[pairs[i, j]] + edge
        h = [net.embed_pair(row) for row in rows]
        for i in range(len(x)):
            h[pairs[i, i]] = h[pairs[i, i]] + net.embed_node(torch.cat([x[i], x.new_ones(1)]))
        return torch.stack(h)

    def _read(self, h: dict[int, Tensor], nets: list, pairs: dict, nodes: int) -> list[Tensor]:
        readouts, holding = (
            [],
            [[g for g, net in enumerate(nets) if i in net] for i in range(nodes)],
        )
        if 2 in h:
            readouts += self._sides(h[2], holding, nets, pairs)
            readouts.append(torch.stack([h[2][pairs[i, i]] for i in range(nodes)]))
        if 1 in h:
            readouts.append(h[1])
        if 0 in h:
            readouts.append(torch.stack([h[0][egos].mean(0) for egos in holding]))
        return readouts

    def _sides(self, h: Tensor, holding: list, nets: list, pairs: dict) -> list[Tensor]:
        """Means over the ego nets of each node of its row and column, and of the centre's."""
        sides: list[Callable[[int, int], Tensor]] = [
            lambda i, g: torch.stack([h[pairs[i, j]] for j in nets[g]]).mean(0),
            lambda i, g: torch.stack([h[pairs[j, i]] for j in nets[g]]).mean(0),
        ][: 1 if self.model.symmetric else 2]
        if self.model.centre:
            spokes = [lambda i, g: h[pairs[g, i]], lambda i, g: h[pairs[i, g]]]
            sides += spokes[: len(sides)]
        return [
            torch.stack([torch.stack([side(i, g) for g in egos]).mean(0) for i, egos in all_])
            for side in sides
            for all_ in [list(enumerate(holding))]
        ]

    def __call__(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor | None = None) -> Tensor:
        return self.model._head([self.known(x, edge_index, edge_attr)], None, None)
