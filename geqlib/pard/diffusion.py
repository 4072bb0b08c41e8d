"""Discrete diffusion with uniform noise, of nodes and pairs alike."""

from __future__ import annotations

from dataclasses import dataclass
from math import pi

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, one_hot

from geqlib.pard.streams import Streams, integers, uniform


@dataclass(frozen=True)
class DiscreteDiffusion:
    """A category stays what it is with probability alpha_t, and is drawn uniformly else.

    Source: Zhao et al., "Pard" (NeurIPS 2024), and Zhao et al., "Unified discrete diffusion for
    categorical data" (arXiv 2402.03701). With C categories,

        q(x_t | x_0) = alpha_t [x_t = x_0] + (1 - alpha_t) / C,
        alpha_t = h(t) / h(0), h(t) = cos(pi/2 (t/T + 0.008) / 1.008), not squared,
        p(x_{t-1} | x_t) = sum over x_0 of q(x_{t-1} | x_t, x_0) f(x_0 | x_t),

    and the last step draws from f itself.

    Args:
        steps: T.
        classes: C.

    Raises:
        ValueError: no steps or no classes.

    Example:
        >>> DiscreteDiffusion(2, 3).alpha(torch.tensor([0, 2])).tolist()
        [1.0, 0.0]
    """

    steps: int
    classes: int

    def __post_init__(self) -> None:
        if self.steps < 1 or self.classes < 1:
            raise ValueError(
                f"steps and classes must be at least 1, got {self.steps} and {self.classes}."
            )

    def alpha(self, t: Tensor) -> Tensor:
        """[...] probability that a category has not been drawn anew by time t, in float64."""

        def h(share: Tensor) -> Tensor:
            return torch.cos(pi / 2 * (share + 0.008) / 1.008)

        share = t.double() / self.steps
        return (h(share) / h(torch.zeros_like(share))).clamp(0, 1) * (t < self.steps)

    def noised(
        self, x: Tensor, t: Tensor, streams: Streams = None, graph: Tensor | None = None
    ) -> Tensor:
        """[n] categories after a time.

        Args:
            x: [n] categories at time 0.
            t: [n] the time of each.
            streams: of the random numbers, see `geqlib.pard.streams.uniform`.
            graph: [n] graph of each, where there is a stream for each graph.
        """
        graph = torch.zeros_like(x) if graph is None else graph
        stays = uniform(graph, streams) < self.alpha(t)
        return torch.where(stays, x, integers(self.classes, graph, streams))

    def drawn(
        self, count: int, device: torch.device, generator: torch.Generator | None = None
    ) -> Tensor:
        """[count] categories of pure noise."""
        return torch.randint(self.classes, (count,), generator=generator, device=device)

    def posterior(self, x: Tensor, t: Tensor) -> Tensor:
        """[n, C, C] q(x_{t-1} | x_t, x_0): x_0 along the second axis, x_{t-1} along the third."""
        now, before = self.alpha(t), self.alpha(t - 1)
        ratio = (now / before)[:, None]
        share = torch.eye(self.classes, dtype=torch.float64, device=x.device)
        same = one_hot(x, self.classes).double()
        likelihood = ratio * same + (1 - ratio) / self.classes  # q(x_t | x_{t-1})
        prior = before[:, None, None] * share + (1 - before)[:, None, None] / self.classes
        joint = likelihood[:, None, :] * prior
        return joint / joint.sum(2, keepdim=True)

    def backward(self, logits: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """[n, C] p(x_{t-1} | x_t), of logits [n, C] of f."""
        table = self.posterior(x, t).to(logits.dtype)
        return (logits.softmax(1)[:, :, None] * table).sum(1)

    def step(
        self, logits: Tensor, x: Tensor, t: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """[n] categories drawn from p(x_{t-1} | x_t)."""
        if not len(x):
            return x
        return torch.multinomial(self.backward(logits, x, t), 1, generator=generator)[:, 0]

    def losses(self, logits: Tensor, x: Tensor, x0: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """[n] the divergence of one step, with 1/T of that at time T, and [n] the cross-entropy.

            KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t)), for t = 1: -log f(x_0 | x_t),
            + KL(q(x_T | x_0) || uniform) / T.

        T times the mean of the first over t is a bound of -log p(x_0).

        Args:
            logits: [n, C] of f.
            x: [n] at the times t [n].
            x0: [n] the truth.
        """
        entropy = -log_softmax(logits, 1).gather(1, x0[:, None])[:, 0]
        table = self.posterior(x, t).to(logits.dtype)
        true = table[torch.arange(len(x0), device=x0.device), x0]
        model = (logits.softmax(1)[:, :, None] * table).sum(1)
        tiny = torch.finfo(logits.dtype).tiny
        divergence = (torch.xlogy(true, true) - true * model.clamp(min=tiny).log()).sum(1)
        last = torch.where(t == 1, entropy, divergence)
        return last + self.prior().to(logits.dtype) / self.steps, entropy

    def prior(self) -> Tensor:
        """KL(q(x_T | x_0) || uniform), in float64: the same for every x_0, and 0 by this alpha."""
        alpha = self.alpha(torch.tensor(self.steps))
        share = one_hot(torch.tensor(0), self.classes) * alpha + (1 - alpha) / self.classes
        return torch.xlogy(share, share * self.classes).sum()
