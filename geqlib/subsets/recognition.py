"""A recognition network: marginals of the elements, and relaxed samples of subsets from them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from geqlib.subsets.function import head

TEMPERATURE = 0.1


class Marginals(NamedTuple):
    """What the recognition network says of each element.

    Args:
        logits: [N] of being chosen.
        scale: [N] s of its own noise, and rows: [N, rank] U of noise that a set shares; None
            for elements that are chosen independently.
    """

    logits: Tensor
    scale: Tensor | None = None
    rows: Tensor | None = None


class Recognition(nn.Module):
    """Marginals of each element from its features alone, and of what a Gaussian copula is made.

    Source: Ou et al. (NeurIPS 2022). With h = ReLU(f(W x_i)),

        logit q_i = a . h,   s_i = softplus(b . h),   U_i = tanh(A h).

    Args:
        in_channels: of x.
        channels: of W x.
        hidden: width of f.
        rank: columns of U; 0 for elements that are chosen independently.

    Example:
        >>> [tuple(part.shape) for part in Recognition(2, 8, hidden=8, rank=3)(torch.randn(5, 2))]
        [(5,), (5,), (5, 3)]
    """

    def __init__(self, in_channels: int, channels: int, *, hidden: int, rank: int = 0) -> None:
        super().__init__()
        self.rank = rank
        self.body = nn.Sequential(
            nn.Linear(in_channels, channels), *head(channels, hidden, hidden), nn.ReLU()
        )
        self.logit = nn.Linear(hidden, 1)
        self.scale = nn.Linear(hidden, 1) if rank else None
        self.rows = nn.Linear(hidden, rank) if rank else None

    def reset_parameters(self) -> None:
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                layer.reset_parameters()

    def forward(self, x: Tensor) -> Marginals:
        h = self.body(x)
        logits = self.logit(h).squeeze(-1)
        if self.scale is None or self.rows is None:
            return Marginals(logits)
        return Marginals(logits, softplus(self.scale(h).squeeze(-1)), self.rows(h).tanh())


def copula_noise(
    marginals: Marginals, own: Tensor, shared: Tensor, batch: Tensor, *, calibrated: bool = False
) -> Tensor:
    """logit u of u = Phi(g), g_i = s_i e_i + U_i . e'.

    The variance of g_i is s_i^2 + |U_i|^2 and not 1, so that the sampled marginal is
    Phi(Phi^-1(q_i) / sqrt(s_i^2 + |U_i|^2)) and not q_i, in the published method. With
    `calibrated` g is divided by its standard deviation, and the marginal is q_i.

    Args:
        marginals: with a scale and rows.
        own: [N, M] standard normal noise e of each element.
        shared: [num_graphs, rank, M] the same, e' of each set.
        batch: [N].
        calibrated: whether to divide.

    Returns:
        [N, M].

    Example:
        >>> one = Marginals(torch.zeros(1), torch.ones(1), torch.zeros(1, 1))
        >>> copula_noise(one, torch.zeros(1, 1), torch.zeros(1, 1, 1), torch.tensor([0]))
        tensor([[0.]])
    """
    if marginals.scale is None or marginals.rows is None:
        raise ValueError("These marginals are of independent elements: set rank above 0.")
    scale, rows = marginals.scale[:, None], marginals.rows
    g = scale * own + torch.einsum("nr,nrm->nm", rows, shared.index_select(0, batch))
    if calibrated:
        g = g / (scale.square() + rows.square().sum(1, keepdim=True)).sqrt()
    return torch.special.log_ndtr(g) - torch.special.log_ndtr(-g)


def relaxed_subsets(logits: Tensor, noise: Tensor) -> Tensor:
    """[N, M] subsets of zeros and ones, with the derivative of sigma((logit q + logit u) / 0.1).

    Args:
        logits: [N] of q.
        noise: [N, M] logit u.

    Example:
        >>> relaxed_subsets(torch.tensor([3.0, -3.0]), torch.zeros(2, 1)).flatten().tolist()
        [1.0, 0.0]
    """
    soft = torch.sigmoid((logits[:, None] + noise) / TEMPERATURE)
    return (soft > 0.5).to(soft.dtype) + soft - soft.detach()
