"""Karras preconditioning: a network of any scale of noise, from one that sees unit scales."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from geqlib.graph.segments import segment_lengths

LARGEST_WEIGHT = 1000.0  # of the loss: the tail of small noise levels corrupted published runs


class Preconditioning(NamedTuple):
    """What scales the input and output of a network F, so that D removes noise of level sigma.

    Source: Karras et al., "Elucidating the design space of diffusion-based generative models"
    (NeurIPS 2022, arXiv 2206.00364), equation 7 and table 1, for data of standard deviation 1:

        D(x; sigma) = skip x + out F(into x, noise),
        skip = 1 / (sigma^2 + 1), out = sigma / sqrt(sigma^2 + 1), into = 1 / sqrt(sigma^2 + 1),
        noise = ln(sigma) / 4.

    Args:
        skip, out, into, noise: each of the shape of sigma.

    Example:
        >>> import torch
        >>> preconditioning(torch.tensor(1.0)).noise
        tensor(0.)
    """

    skip: Tensor
    out: Tensor
    into: Tensor
    noise: Tensor


def preconditioning(sigma: Tensor) -> Preconditioning:
    """The scales at noise levels sigma > 0.

    Example:
        >>> import torch
        >>> preconditioning(torch.tensor(1.0)).skip
        tensor(0.5000)
    """
    total = sigma.square() + 1
    return Preconditioning(1 / total, sigma * total.rsqrt(), total.rsqrt(), sigma.log() / 4)


def loss_weight(sigma: Tensor) -> Tensor:
    """(sigma^2 + 1) / sigma^2, which makes the error of F count alike at every level, at most 1000.

    Example:
        >>> import torch
        >>> loss_weight(torch.tensor([1.0, 1e-3])).tolist()
        [2.0, 1000.0]
    """
    return ((sigma.square() + 1) / sigma.square()).clamp(max=LARGEST_WEIGHT)


def centred(pos: Tensor, batch: Tensor, num_graphs: int) -> Tensor:
    """Positions, or noise, with the mean of each graph subtracted: an orthogonal projection.

    Args:
        pos: [N, d].
        batch: [N] graph of each point.
        num_graphs: their number.

    Example:
        >>> import torch
        >>> centred(torch.tensor([[1.0], [3.0], [7.0]]), torch.tensor([0, 0, 1]), 2).tolist()
        [[-1.0], [1.0], [0.0]]
    """
    total = pos.new_zeros(num_graphs, pos.size(1)).index_add(0, batch, pos)
    count = segment_lengths(batch, num_graphs).clamp(min=1)
    return pos - (total / count[:, None]).index_select(0, batch)
