"""Transitions, posteriors and losses against the enumeration of all paths of three categories."""

from __future__ import annotations

from itertools import product
from math import cos, log, pi

import numpy as np
import pytest
import torch
from torch import Tensor

from geqlib.pard.diffusion import DiscreteDiffusion

T, C = 4, 3
DIFFUSION = DiscreteDiffusion(T, C)


def alpha(t: int) -> float:
    def h(share: float) -> float:
        return cos((share + 0.008) / 1.008 * pi / 2)

    return h(t / T) / h(0) if t < T else 0.0


def transition(t: int) -> np.ndarray:
    """[x_{t-1}, x_t] of one step."""
    stays = alpha(t) / alpha(t - 1)
    return stays * np.eye(C) + (1 - stays) / C


def test_alpha_is_the_published_schedule() -> None:
    expected = [alpha(t) for t in range(T + 1)]
    np.testing.assert_allclose(DIFFUSION.alpha(torch.arange(T + 1)), expected, atol=1e-15)
    assert expected[0] == 1 and expected[T] == 0


def test_posterior_is_that_of_all_paths() -> None:
    for x0 in range(C):
        joint = {}
        for path in product(range(C), repeat=T):
            states = (x0, *path)
            steps = [transition(t)[states[t - 1], states[t]] for t in range(1, T + 1)]
            joint[states] = float(np.prod(steps))
        for t in range(1, T + 1):
            pairs = np.zeros((C, C))
            for states, probability in joint.items():
                pairs[states[t - 1], states[t]] += probability
            for now in np.flatnonzero(pairs.sum(0)).tolist():
                table = DIFFUSION.posterior(torch.tensor([now]), torch.tensor([t]))[0, x0]
                np.testing.assert_allclose(table, pairs[:, now] / pairs[:, now].sum(), atol=1e-14)
            marginal = alpha(t) * np.eye(C)[x0] + (1 - alpha(t)) / C
            np.testing.assert_allclose(pairs.sum(0), marginal, atol=1e-14)


def logits(t: int) -> Tensor:
    """[C, C] an arbitrary f(x_0 | x_t), a row for each x_t."""
    generator = torch.Generator().manual_seed(t)
    return torch.randn(C, C, generator=generator, dtype=torch.float64)


def test_the_losses_are_the_bound() -> None:
    """T times the mean over times and noise, against E_q[log q(x_1..T | x_0) - log p(x_0..T)]."""
    states = torch.arange(C)
    backward = {
        t: DIFFUSION.backward(logits(t), states, torch.full((C,), t)).numpy()
        for t in range(1, T + 1)
    }
    for x0 in range(C):
        exact = 0.0
        for path in product(range(C), repeat=T):
            chain = (x0, *path)
            q = np.prod([transition(t)[chain[t - 1], chain[t]] for t in range(1, T + 1)])
            p = np.prod([backward[t][chain[t], chain[t - 1]] for t in range(1, T + 1)]) / C
            exact += q * (log(q) - log(p))
        total = 0.0
        for t in range(1, T + 1):
            times, truth = torch.full((C,), t), torch.full((C,), x0)
            terms, entropy = DIFFUSION.losses(logits(t), states, truth, times)
            expected = -logits(t).log_softmax(1)[:, x0]
            torch.testing.assert_close(entropy, expected)
            if t == 1:
                torch.testing.assert_close(terms, expected)
            marginal = alpha(t) * np.eye(C)[x0] + (1 - alpha(t)) / C
            total += float(marginal @ terms.numpy())
        assert total == pytest.approx(exact, abs=1e-12)


def test_the_last_step_draws_from_the_prediction() -> None:
    x, t = torch.arange(C), torch.ones(C, dtype=torch.long)
    torch.testing.assert_close(DIFFUSION.backward(logits(1), x, t), logits(1).softmax(1))


def test_draws_have_their_frequencies() -> None:
    generator, number = torch.Generator().manual_seed(0), 20_000
    x, t = torch.full((number,), 2), torch.full((number,), 2)
    expected = torch.tensor([(1 - alpha(2)) / C] * 2 + [alpha(2) + (1 - alpha(2)) / C])
    own = [torch.Generator().manual_seed(k) for k in range(3)]
    for streams, graph in ((generator, None), (own, torch.arange(number) % 3)):
        noisy = DIFFUSION.noised(x, t, streams, graph)
        share = torch.bincount(noisy, minlength=C) / number
        # four standard deviations of a share
        assert (share - expected).abs().max() < 4 * 0.5 / number**0.5
    rows = logits(3)[x]
    share = torch.bincount(DIFFUSION.step(rows, x, t, generator), minlength=C) / number
    exact = DIFFUSION.backward(logits(3)[2:], x[:1], t[:1])[0]
    assert (share - exact).abs().max() < 4 * 0.5 / number**0.5


def test_one_category_costs_nothing() -> None:
    one = DiscreteDiffusion(5, 1)
    zero = torch.zeros(3, dtype=torch.long)
    terms = one.losses(torch.randn(3, 1), zero, zero, torch.tensor([1, 3, 5]))
    assert all(not term.any() for term in terms)


def test_errors() -> None:
    with pytest.raises(ValueError, match="must be at least 1, got 0 and 2"):
        DiscreteDiffusion(0, 2)
