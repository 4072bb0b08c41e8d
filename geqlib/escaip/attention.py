"""Attention between the neighbours of an atom, with the angles between them."""

from __future__ import annotations

from collections.abc import Sequence
from math import pi, sqrt

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from torch_geometric.nn.inits import reset

PUBLISHED = (20, 10, 4, 10, 20)  # channels of degree 0, 1, ... in a head of width 64


def attention(
    q: Tensor, k: Tensor, v: Tensor, log_weight: Tensor, angles: Tensor, channels: Sequence[int]
) -> Tensor:
    """y_i = sum_j softmax_j(log_weight_j + s sum_c q_ic k_jc P_l(c)(cos theta_ij)) v_j.

    The scale s = (sum_c (2 l(c) + 1))^(-1/2) is that of the published form, in which each q_ic and
    k_jc is multiplied by the 2l + 1 harmonics of its neighbour's direction: by the addition theorem
    their product is P_l, with no harmonics and no wider channels.

    Args:
        q: [N, heads, Q, c] of Q = M neighbours, or of the first alone.
        k: [N, heads, M, c], and v: [N, heads, M, d].
        log_weight: [N, M].
        angles: [L, N, M, M] of degree 1 to L: see `angular_products`.
        channels: of each degree from 0 on; their sum is c.
    """
    scores = log_weight[:, None, None, :]
    scale = sum((2 * degree + 1) * count for degree, count in enumerate(channels)) ** -0.5
    parts = zip(q.split(channels, -1), k.split(channels, -1), strict=True)
    for degree, (query, key) in enumerate(parts):
        if channels[degree]:
            product = (query * scale) @ key.mT
            if degree:
                product = product * angles[degree - 1, :, : q.size(2)].unsqueeze(1)
            scores = scores + product
    return torch.softmax(scores, -1) @ v


def angular_products(harmonics: Tensor, degree: int) -> Tensor:
    """P_l(cos theta) between all neighbours of an atom, l = 1, ..., degree: the addition theorem.

    P_l(u . v) = 4 pi / (2l + 1) sum_m Y_lm(u) Y_lm(v). With solid harmonics it is multiplied by
    |u|^l |v|^l, so that it is 0, and smooth, where one of the vectors is 0.

    Args:
        harmonics: [N, M, k] solid harmonics, of `degree` at least.
        degree: L.

    Returns:
        [L, N, M, M].

    Example:
        >>> from geqlib.sphere.harmonics import SolidHarmonics
        >>> directions = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.6, 0.8]])
        >>> angular_products(SolidHarmonics(2)(directions)[None], 2)[:, 0, 0, 1]
        tensor([0.8000, 0.4600])
    """
    if not degree:
        return harmonics.new_zeros(0, *harmonics.shape[:2], harmonics.size(1))
    parts = [
        harmonics[..., ell**2 : (ell + 1) ** 2] * sqrt(4 * pi / (2 * ell + 1))
        for ell in range(1, degree + 1)
    ]
    return torch.stack([part @ part.mT for part in parts])


def published_channels(width: int) -> tuple[int, ...]:
    """Channels of each degree in a head, in the shares of the published ones.

    Example:
        >>> published_channels(64), published_channels(16)
        ((20, 10, 4, 10, 20), (5, 3, 0, 3, 5))
    """
    ends = [round(sum(PUBLISHED[: n + 1]) * width / sum(PUBLISHED)) for n in range(len(PUBLISHED))]
    return tuple(end - start for start, end in zip([0, *ends], ends, strict=False))


class NeighborhoodAttention(nn.Module):
    """Multi-head attention inside each neighbourhood, with the angles between neighbours.

    Symmetry: invariant under O(3), equivariant under permutations of an atom's neighbours, exactly.
    Source: Qu and Krishnapriyan (NeurIPS 2024, arXiv 2410.24169) and the code released with it.
    y = W_o [of all heads] with `attention` of W_q x, W_k x and W_v x.

    Args:
        channels: C, width of x and y.
        heads: a divisor of C.
        angular: how many channels of a head are multiplied by P_0, P_1, ...; their sum is C /
            heads. By default the published shares, up to degree 4.
        centre: whether the neighbour in slot 0 alone asks: y has one slot then. Its direction is 0,
            so that all its channels should be of degree 0, as they are by default.

    Shapes:
        x [N, M, C], log_weight [N, M], angles [L, N, M, M] of degree 1 to L to y [N, M, C].

    Raises:
        ValueError: heads or angular channels that do not fit.

    Example:
        >>> from geqlib.sphere.harmonics import SolidHarmonics
        >>> layer = NeighborhoodAttention(32, 2)
        >>> directions = torch.nn.functional.normalize(torch.randn(5 * 7, 3), dim=1)
        >>> angles = angular_products(SolidHarmonics(4)(directions).view(5, 7, -1), layer.degree)
        >>> layer(torch.randn(5, 7, 32), torch.zeros(5, 7), angles).shape
        torch.Size([5, 7, 32])
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        *,
        angular: Sequence[int] | None = None,
        centre: bool = False,
    ) -> None:
        super().__init__()
        if heads < 1 or channels < 1 or channels % heads:
            raise ValueError(
                f"channels must be a multiple of heads, both positive, got {channels} and {heads}."
            )
        width = channels // heads
        if angular is None:
            angular = (width,) if centre else published_channels(width)
        if sum(angular) != width or min(angular) < 0:
            raise ValueError(
                f"angular is {list(angular)}, channels of a head for each degree: they must add up "
                f"to channels / heads = {width}."
            )
        self.channels, self.heads, self.centre = channels, heads, centre
        self.angular = tuple(angular)
        self.degree = max((n for n, count in enumerate(angular) if count), default=0)
        self.project = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)

    def reset_parameters(self) -> None:
        for part in self.children():
            reset(part)

    def forward(self, x: Tensor, log_weight: Tensor, angles: Tensor) -> Tensor:
        weight, bias, size = self.project.weight, self.project.bias, self.channels
        asking = x[:, :1] if self.centre else x
        q = linear(asking, weight[:size], bias[:size])
        k, v = linear(x, weight[size:], bias[size:]).chunk(2, -1)
        q, k, v = self._split(q), self._split(k), self._split(v)
        y = attention(q, k, v, log_weight, angles, self.angular)
        return self.out(y.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        """[N, M, C] to [N, heads, M, C / heads]."""
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)

    def __repr__(self) -> str:
        return (
            f"NeighborhoodAttention({self.channels}, {self.heads}, angular={list(self.angular)}, "
            f"centre={self.centre})"
        )
