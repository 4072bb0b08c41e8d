"""DPA3 as its formulas read: features are gathered and joined first, and projected then.

Every bond has a copy of the features of both of its atoms, and every angle one of those of its
atom and of both of its bonds: the peer in speed, and an oracle in the tests.
"""

from __future__ import annotations

from math import pi, sqrt

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from geqlib.dpa3.angles import AnglePlan
from geqlib.dpa3.layer import (
    AngleProjection,
    LastLayer,
    LineGraph,
    LineGraphLayer,
    PairProjection,
)
from geqlib.dpa3.network import edge_offsets
from geqlib.models import DPA3


class DirectDPA3(nn.Module):
    """The function of a `DPA3`, on its parameters.

    Args:
        model: the network; with the same plans.
    """

    def __init__(self, model: DPA3) -> None:
        super().__init__()
        self.model = model
        self.in_scalars, self.cutoff = model.in_scalars, model.cutoff

    def forward(
        self,
        pos: Tensor,
        edge_index: Tensor,
        x: Tensor,
        edge_shift: Tensor | None = None,
        plan: AnglePlan | None = None,
    ) -> Tensor:
        model = self.model
        if plan is None:
            raise ValueError("The direct network makes no plan: pass that of the model.")
        offset = edge_offsets(pos, edge_index, edge_shift)
        graph, length, cosine = model.geometry(offset, edge_index, plan)
        n, e, a = model.act(x), model.length(length), model.cosine(cosine / sqrt(pi))
        for layer in model.layers:
            n, e, a = _layer(layer, n, e, a, graph)  # type: ignore[arg-type]
        n = _atoms(model.last, n, e, _pairs(model.last.pairs, n, e, graph), graph)
        for part in model.readout[:-1]:
            n = model.act(part(n))
        return model.readout[-1](n)


def _layer(
    layer: LineGraphLayer, n: Tensor, e: Tensor, a: Tensor, graph: LineGraph
) -> tuple[Tensor, Tensor, Tensor]:
    nodes, _, _, width = layer.sizes
    pairs = _pairs(layer.pairs, n, e, graph)
    bends = _bends(layer.bends, n[:, :width], e[:, :width], a, graph)
    total = e.new_zeros(e.size(0), width).index_add(
        0, graph.edge[graph.first], graph.angle_switch * bends[:, :width]
    )
    near, through = layer.scales[0], layer.scales[1]
    after = e + near * pairs[:, nodes:] + through * layer.act(layer.mix(total))
    if layer.update_angles:
        a = a + layer.scales[2] * bends[:, width:]
    return _atoms(layer, n, e, pairs[:, :nodes], graph), after, a


def _atoms(
    layer: LineGraphLayer | LastLayer, n: Tensor, e: Tensor, messages: Tensor, graph: LineGraph
) -> Tensor:
    update = layer.node
    parts = [_symmetrised(values, graph, n.size(0)) for values in (e, n[graph.source])]
    mean = torch.zeros_like(n).index_add(0, graph.target, graph.switch * messages)
    own, symmetric, near = update.scales
    return (
        n
        + own * layer.act(update.own(n))
        + symmetric * layer.act(update.symmetric(torch.cat(parts, 1)))
        + near * mean
    )


def _symmetrised(values: Tensor, graph: LineGraph, num_nodes: int) -> Tensor:
    outer = torch.einsum("ed,ec->edc", graph.switch * graph.direction, values)
    g = values.new_zeros(num_nodes, *outer.shape[1:]).index_add(0, graph.target, outer)
    return torch.einsum("ndc,ndk->nck", g, g[..., :4]).flatten(1)


def _pairs(part: PairProjection, n: Tensor, e: Tensor, graph: LineGraph) -> Tensor:
    joined = torch.cat([n[graph.target], n[graph.source], e], 1)
    weight = torch.cat([part.target.weight, part.source.weight, part.edge.weight], 1)
    return _silut(linear(joined, weight, part.target.bias))


def _bends(part: AngleProjection, n: Tensor, e: Tensor, a: Tensor, graph: LineGraph) -> Tensor:
    first, second = graph.edge[graph.first], graph.edge[graph.second]
    joined = torch.cat([a, n[graph.target[first]], e[second], e[first]], 1)
    weights = [part.angle.weight, part.node.weight, part.second.weight, part.first.weight]
    return _silut(linear(joined, torch.cat(weights, 1), part.angle.bias))


def _silut(x: Tensor) -> Tensor:
    top = torch.tensor(10.0, dtype=torch.float64)
    s = top.sigmoid()
    slope, value = float(s * (1 + top * (1 - s))), float(top * s)
    return torch.where(x < 10, nn.functional.silu(x), value + torch.tanh(slope * (x - 10)))
