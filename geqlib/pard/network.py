"""The two networks of PARD: what a block is, and how large the next block is."""

from __future__ import annotations

from math import pi

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot, softplus
from torch_geometric.nn.inits import reset

from geqlib.pard.blocks import BlockPlan
from geqlib.pard.transformer import HigherOrderTransformer, two_layers

WAVES = 8  # of a number between 0 and 1, as inputs


class BlockEncoder(nn.Module):
    """Features of copies of nodes and of their pairs, and the transformer on them.

    Args:
        node_classes, edge_classes: kinds of nodes, and of pairs, of which 0 is no edge.
        channels, pair_channels, layers, heads: see `HigherOrderTransformer`.
    """

    def __init__(
        self,
        node_classes: int,
        edge_classes: int,
        channels: int,
        pair_channels: int,
        layers: int,
        heads: int,
    ) -> None:
        super().__init__()
        self.node_classes, self.edge_classes = node_classes, edge_classes
        self.node = nn.Linear(node_classes + 1, channels)
        self.pair = nn.Linear(edge_classes + 1, pair_channels)
        self.distance = two_layers(2 * WAVES, pair_channels)
        self.body = HigherOrderTransformer(channels, pair_channels, layers, heads)
        self.collect = two_layers(channels + 2 * pair_channels, channels)

    def forward(
        self, nodes: Tensor, pairs: Tensor, more: Tensor | float, plan: BlockPlan
    ) -> tuple[Tensor, Tensor]:
        """Encode.

        Args:
            nodes: [M] and pairs: [P] kinds, those of pairs that are not related ignored.
            more: [M, channels] that are added to what nodes are.
            plan: of the copies.

        Returns:
            [M, channels] features of copies, those of their pairs included, and [P, pair_channels].
        """
        of = plan.pairs
        dtype = self.node.weight.dtype
        kind = torch.cat([one_hot(nodes, self.node_classes), plan.new[:, None]], 1)
        same = (of.row == of.column)[:, None]
        joined = torch.cat([one_hot(pairs, self.edge_classes), same], 1)
        apart = (plan.block[of.row] - plan.block[of.column]).abs()
        distance = self.distance(waves(1 / (1 + apart.to(dtype))))
        x = self.node(kind.to(dtype)) + more
        x, e = self.body(x, self.pair(joined.to(dtype)) + distance, plan.sees, of)
        seen = e * plan.sees[:, None].to(e.dtype)
        both = torch.cat([seen, seen_by_row(e, plan)], 1)
        around = both.new_zeros(len(x), both.size(1)).index_add(0, of.row, both)
        count = plan.sees.to(x.dtype)
        count = count.new_zeros(len(x)).index_add(0, of.row, count)[:, None]
        return self.collect(torch.cat([x, around / count], 1)), e


class Denoiser(nn.Module):
    """f(x_0 | x_t), of all new nodes and unknown pairs, given the blocks before.

        logits = net(x_t, t, degree of the block) + phi(1 - t/T) one-hot(x_t),

    with phi monotone. Source: Zhao et al., "Pard" (NeurIPS 2024). Logits of a pair are symmetric in
    its nodes.

    Args:
        steps: T.
        max_degree: of blocks.
        node_classes, edge_classes, channels, pair_channels, layers, heads: see `BlockEncoder`.
    """

    def __init__(
        self,
        steps: int,
        max_degree: int,
        node_classes: int,
        edge_classes: int,
        channels: int,
        pair_channels: int,
        layers: int,
        heads: int,
    ) -> None:
        super().__init__()
        self.steps = steps
        self.encoder = BlockEncoder(
            node_classes, edge_classes, channels, pair_channels, layers, heads
        )
        self.degree = nn.Embedding(max_degree + 1, channels)
        self.time = two_layers(2 * WAVES, channels)
        self.node_out = two_layers(channels, node_classes, channels)
        self.ends = nn.Linear(channels, 2 * pair_channels)
        self.pair = nn.Linear(pair_channels, 2 * pair_channels)
        self.pair_out = two_layers(2 * pair_channels, edge_classes)
        self.node_input, self.pair_input = MonotoneFunction(), MonotoneFunction()

    def reset_parameters(self) -> None:
        for part in self.children():
            reset(part)

    def forward(
        self, nodes: Tensor, pairs: Tensor, t: Tensor, degree: Tensor, plan: BlockPlan
    ) -> tuple[Tensor, Tensor]:
        """Logits.

        Args:
            nodes: [M] kinds, noisy ones of new copies, and pairs: [P], noisy at the unknown.
            t: [parts] times.
            degree: [M] of the block of each copy.
            plan: of the copies.

        Returns:
            [M, node_classes], which count for new copies, and [U, edge_classes].
        """
        share = t.to(self.degree.weight.dtype) / self.steps
        more = self.degree(degree) + self.time(waves(share))[plan.part]
        x, e = self.encoder(nodes, pairs, more, plan)
        of, unknown = plan.pairs, plan.unknown
        ends = self.ends(x)
        ends = ends[of.row[unknown]] + ends[of.column[unknown]]
        both = self.pair(e[unknown] + e[of.transpose[unknown]]) + ends
        clean = 1 - share
        of_nodes = self.node_input(clean)[plan.part, None] * self._one_hot(nodes, 0)
        of_pairs = self.pair_input(clean)[of.graph[unknown], None]
        of_pairs = of_pairs * self._one_hot(pairs[unknown], 1)
        return self.node_out(x) + of_nodes, self.pair_out(both) + of_pairs

    def _one_hot(self, kinds: Tensor, pair: int) -> Tensor:
        classes = self.encoder.edge_classes if pair else self.encoder.node_classes
        return one_hot(kinds, classes).to(self.degree.weight.dtype)


class BlockSizes(nn.Module):
    """Sizes and degrees of blocks, given those before: logits of what comes next.

        size_{b+1} ~ softmax MLP(h_1 + ... + h_b), degree_{b+1} ~ softmax MLP(the same + E size),

    with h_b the sum over a block of what the transformer computes for its nodes. The size 0 ends a
    graph. The first degree follows from the first size alone. Source: Zhao et al., "Pard"
    (NeurIPS 2024).

    Args:
        max_size, max_degree: of blocks.
        node_classes, edge_classes, channels, pair_channels, layers, heads: see `BlockEncoder`.
    """

    def __init__(
        self,
        max_size: int,
        max_degree: int,
        node_classes: int,
        edge_classes: int,
        channels: int,
        pair_channels: int,
        layers: int,
        heads: int,
    ) -> None:
        super().__init__()
        self.encoder = BlockEncoder(
            node_classes, edge_classes, channels, pair_channels, layers, heads
        )
        self.degree = nn.Embedding(max_degree + 1, channels)
        self.size = nn.Embedding(max_size + 1, channels)
        self.size_out = _head(channels, max_size + 1)
        self.degree_out = _head(channels, max_degree + 1)
        self.first_out = _head(channels, max_degree + 1)

    def reset_parameters(self) -> None:
        for part in self.children():
            reset(part)

    def nodes(self, nodes: Tensor, pairs: Tensor, degree: Tensor, plan: BlockPlan) -> Tensor:
        """[M, channels] of kinds [M] and [P], and the degree [M] of each copy's block."""
        return self.encoder(nodes, pairs, self.degree(degree), plan)[0]

    def next_size(self, total: Tensor) -> Tensor:
        """[B, max_size + 1] logits, of the sums [B, channels] over all nodes so far."""
        return self.size_out(total)

    def next_degree(self, total: Tensor, size: Tensor) -> Tensor:
        """[B, max_degree + 1] logits, of the same and the size [B] of the next block."""
        return self.degree_out(total + self.size(size))

    def first_degree(self, size: Tensor) -> Tensor:
        """[B, max_degree + 1] logits, of the size [B] of the first block."""
        return self.first_out(self.size(size))


class MonotoneFunction(nn.Module):
    """phi(s), which never falls: of s in [0, 1], by a network with positive weights."""

    def __init__(self, hidden: int = 16) -> None:
        super().__init__()
        self.inside = nn.Parameter(torch.empty(hidden))
        self.bias = nn.Parameter(torch.empty(hidden))
        self.outside = nn.Parameter(torch.empty(hidden))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.normal_(self.inside)
        nn.init.normal_(self.bias)
        nn.init.normal_(self.outside, mean=-2.0)

    def forward(self, s: Tensor) -> Tensor:
        """[...] of [...]."""
        hidden = torch.tanh(s[..., None] * softplus(self.inside) + self.bias)
        return hidden @ softplus(self.outside)


def seen_by_row(e: Tensor, plan: BlockPlan) -> Tensor:
    """[P, C] features of (j, i) at (i, j) where i sees j, else 0."""
    return e[plan.pairs.transpose] * plan.sees[:, None].to(e.dtype)


def waves(s: Tensor) -> Tensor:
    """[..., 2 WAVES] sines and cosines of s in [0, 1]."""
    angle = s[..., None] * (pi / 2 * torch.arange(1, WAVES + 1, device=s.device, dtype=s.dtype))
    return torch.cat([angle.sin(), angle.cos()], -1)


def _head(channels: int, classes: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(channels, channels),
        nn.LayerNorm(channels),
        nn.SiLU(),
        nn.Linear(channels, classes),
    )
