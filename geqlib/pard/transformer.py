"""The higher-order transformer: attention with features of pairs, and products of matrices."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import silu
from torch_geometric.nn.inits import reset

from geqlib.graph.pairs import PairPlan


def causal_product(a: Tensor, b: Tensor, sees: Tensor, pairs: PairPlan) -> Tensor:
    """[P, C] products in which (i, j) sums over those k that i or j sees, channel by channel.

        C = (M o A) B + A (M^T o B) - (M o A) (M^T o B) = (M o A) B + (A - M o A) (M^T o B)

    with M the matrix of `sees`. Where i sees j, all k that j sees are seen by i too, so that
    (i, j) depends on what the later of the two may see.
    """
    mask = sees[:, None].to(a.dtype)
    inside = a * mask
    return pairs.matmul(inside, b) + pairs.matmul(a - inside, b * mask[pairs.transpose])


class PairAttention(nn.Module):
    """Attention between nodes, with features of pairs that it updates.

        u = q_i + k_j, E' = silu(E_k + silu(u) E_q + u), E <- E + W E',
        a = softmax over the j that i sees of w E', X <- X + O sum_j a_ij (V x_j + V_E E'),
        X <- X + FFN X,

    each input behind a LayerNorm. Source: Zhao et al., "Pard" (NeurIPS 2024), after Ma et al.,
    "Graph inductive biases in transformers without message passing" (ICML 2023).

    Symmetry: equivariant under permutations, exactly.

    Args:
        channels, pair_channels: features per node and per pair.
        heads: of the attention, a divisor of `channels`.
    """

    def __init__(self, channels: int, pair_channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.node_norm, self.pair_norm = nn.LayerNorm(channels), nn.LayerNorm(pair_channels)
        self.node_keys = nn.Linear(channels, 2 * pair_channels)
        self.pair_keys = nn.Linear(pair_channels, 2 * pair_channels)
        self.pair_out = nn.Linear(pair_channels, pair_channels)
        self.score = nn.Linear(pair_channels, heads, bias=False)
        self.value, self.pair_value = (
            nn.Linear(channels, channels),
            nn.Linear(pair_channels, channels),
        )
        self.out = nn.Linear(channels, channels)
        self.feed = feed_forward(channels)

    def forward(self, x: Tensor, e: Tensor, sees: Tensor, pairs: PairPlan) -> tuple[Tensor, Tensor]:
        """x [M, channels], e [P, pair_channels], sees [P]: the new x and e."""
        h = self.node_norm(x)
        query, key = self.node_keys(h).chunk(2, 1)
        scale, shift = self.pair_keys(self.pair_norm(e)).chunk(2, 1)
        u = query[pairs.row] + key[pairs.column]
        new = silu(shift + silu(u) * scale + u)
        score = self.score(new).masked_fill(~sees[:, None], -torch.inf)
        weight = pairs.softmax(score)
        x = x + self.out(self._mean(weight, self.value(h), new, pairs))
        return x + self.feed(x), e + self.pair_out(new)

    def _mean(self, weight: Tensor, value: Tensor, e: Tensor, pairs: PairPlan) -> Tensor:
        """[M, channels] sum_j a_ij (V x_j + V_E E'_ij), of weights a [P, heads], V x [M, channels]
        and E' [P, pair_channels]: V_E is applied to the sums, so that no pair has `channels`."""
        order, parts = [], []
        value = value.unflatten(1, (self.heads, -1))
        matrix = self.pair_value.weight.unflatten(0, (self.heads, -1))
        columns = pairs.blocks(pairs.column[:, None])
        for a, b, column in zip(pairs.blocks(weight), pairs.blocks(e), columns, strict=True):
            nodes = column[:, 0, :, 0]
            mean = torch.einsum("gijh,gjhd->gihd", a, value[nodes])
            around = torch.einsum("gijh,gijc->gihc", a, b)
            mean = mean + torch.einsum("gihc,hdc->gihd", around, matrix)
            order.append(nodes.flatten())
            parts.append(mean.flatten(0, 1).flatten(1))
        mean = torch.cat(parts) if parts else value.flatten(1)
        place = torch.cat(order) if order else pairs.column
        return torch.empty_like(mean).index_copy(0, place, mean) + self.pair_value.bias


class PairProduct(nn.Module):
    """PPGN: features of pairs plus products of the matrices of them.

        E <- E + W (m1([E, E^T]) m2(E)), E <- E + FFN E, behind LayerNorm,

    with the product of `causal_product`. Source: Maron et al., "Provably powerful graph networks"
    (NeurIPS 2019), in the form of Zhao et al., "Pard" (NeurIPS 2024).

    Symmetry: equivariant under permutations, exactly.

    Args:
        channels: features per pair.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.left, self.right = two_layers(2 * channels, channels), two_layers(channels, channels)
        self.out = nn.Linear(channels, channels)
        self.feed = feed_forward(channels)

    def forward(self, e: Tensor, sees: Tensor, pairs: PairPlan) -> Tensor:
        """e [P, channels], sees [P]: the new e."""
        h = self.norm(e)
        left = silu(self.left(torch.cat([h, h[pairs.transpose]], 1)))
        e = e + self.out(causal_product(left, silu(self.right(h)), sees, pairs))
        return e + self.feed(e)


class HigherOrderTransformer(nn.Module):
    """Layers of `PairAttention` and `PairProduct` in turn.

    What is computed for a node depends on the nodes alone that it sees, and what is computed for a
    pair on those that the later of the two sees, if `sees` is that of `geqlib.pard.blocks`.

    Symmetry: equivariant under permutations, exactly.

    Args:
        channels, pair_channels: features per node and per pair.
        layers: of both kinds.
        heads: of the attention.

    Raises:
        ValueError: no layers, or heads that do not divide the channels.

    Example:
        >>> from geqlib.graph.pairs import pair_plan
        >>> net, sees = HigherOrderTransformer(8, 4, 2, 2), torch.ones(9, dtype=torch.bool)
        >>> x, e = net(torch.randn(3, 8), torch.randn(9, 4), sees, pair_plan(3))
        >>> x.shape, e.shape
        (torch.Size([3, 8]), torch.Size([9, 4]))
    """

    def __init__(self, channels: int, pair_channels: int, layers: int, heads: int) -> None:
        super().__init__()
        if layers < 1 or heads < 1 or channels % heads:
            raise ValueError(
                f"layers={layers}, heads={heads}, channels={channels}: take one layer at least, "
                "and heads that divide the channels."
            )
        self.attention = nn.ModuleList(
            PairAttention(channels, pair_channels, heads) for _ in range(layers)
        )
        self.product = nn.ModuleList(PairProduct(pair_channels) for _ in range(layers))
        self.node_norm, self.pair_norm = nn.LayerNorm(channels), nn.LayerNorm(pair_channels)

    def reset_parameters(self) -> None:
        for part in self.children():
            reset(part)

    def forward(self, x: Tensor, e: Tensor, sees: Tensor, pairs: PairPlan) -> tuple[Tensor, Tensor]:
        """x [M, channels], e [P, pair_channels], sees [P]: features of the same shapes."""
        related = (sees | sees[pairs.transpose])[:, None].to(e.dtype)
        e = e * related
        for attention, product in zip(self.attention, self.product, strict=True):
            x, e = attention(x, e, sees, pairs)
            e = product(e, sees, pairs)
        return self.node_norm(x), self.pair_norm(e) * related


def two_layers(in_channels: int, out_channels: int, hidden: int | None = None) -> nn.Sequential:
    hidden = out_channels if hidden is None else hidden
    return nn.Sequential(nn.Linear(in_channels, hidden), nn.SiLU(), nn.Linear(hidden, out_channels))


def feed_forward(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.LayerNorm(channels), *two_layers(channels, channels, 2 * channels))
