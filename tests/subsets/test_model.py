"""Mean-field marginals equal enumerations of all subsets; samples have their marginals."""

from __future__ import annotations

from itertools import product
from math import sqrt
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal

from geqlib.models import EquiVSet
from geqlib.nn import MonoidAggregation
from geqlib.subsets.recognition import Marginals, Recognition, copula_noise, relaxed_subsets

N = 4  # elements of the set whose subsets are enumerated
ALL = torch.tensor(list(product([0.0, 1.0], repeat=N))).double().T  # [N, 2^N]


def model(**options: Any) -> Any:
    torch.manual_seed(0)
    sizes = {"hidden": 8, "samples": 2**N, "background": "superset"}
    return EquiVSet(2, 6, **(sizes | options)).double().eval()


def points() -> Tensor:
    torch.manual_seed(1)
    return 2 * torch.randn(N, 2).double()


def enumerated(net: Any, x: Tensor, q: Tensor) -> Tensor:
    """E over S ~ q of F(S + i) - F(S - i), all subsets with their probabilities."""
    weights = torch.where(ALL > 0, q[:, None], 1 - q[:, None]).prod(0)
    gains = torch.zeros(N).double()
    for i in range(N):
        more, less = ALL.clone(), ALL.clone()
        more[i], less[i] = 1, 0
        gains[i] = (weights * (net.function(x, more)[0] - net.function(x, less)[0])).sum()
    return gains


@pytest.mark.parametrize("background", [None, "superset", "complement"])
def test_one_step_with_every_subset_is_exact(background: Any) -> None:
    """At q = 1/2 all subsets are equally likely: drawn once each, they make the expectation."""
    net, x = model(background=background), points()
    logits = net(x, noise=torch.where(ALL > 0, 0.25, 0.75))
    expected = enumerated(net, x, torch.full((N,), 0.5).double())
    torch.testing.assert_close(logits, expected, atol=1e-12, rtol=0)


def test_marginals_of_a_sum_are_those_of_the_distribution() -> None:
    """Where F is a sum over elements, mean field is exact: p(S | V) enumerated."""
    net, x = model(background=None), points()
    net.function.of_subset = nn.Linear(6, 1).double()
    p = net.function(x, ALL)[0].softmax(0)
    torch.testing.assert_close(net(x).sigmoid(), ALL @ p, atol=1e-12, rtol=0)


def test_later_steps_draw_from_the_marginals_before() -> None:
    samples = 20_000
    net, x = model(steps=2, samples=samples), points()
    with torch.no_grad():  # values that move the marginals far from 1/2
        net.function.of_subset[-1].weight.mul_(60)
    torch.manual_seed(2)
    got = net(x, noise=torch.rand(N, 2 * samples).double())
    # the first step is one of samples, too: its error is small beside that of the second
    first = enumerated(net, x, torch.full((N,), 0.5).double())
    q = first.sigmoid()
    expected = enumerated(net, x, q)
    subsets = (torch.rand(N, samples).double() < q[:, None]).double()
    error = net.function.gains(x, subsets).std(1) / sqrt(samples)
    assert bool(((got - expected).abs() < 10 * error).all())
    assert bool(((first - expected).abs() > 20 * error).any())


def test_only_the_last_step_is_differentiated() -> None:
    net, x = model(steps=2, samples=3), points()
    noise = torch.rand(N, 6).double()
    net(x, noise=noise).sum().backward()
    q = net._step(x, torch.full((N,), 0.5).double(), noise[:, :3], torch.zeros(N).long(), 1)
    subsets = (noise[:, 3:] < q.sigmoid()[:, None]).double()
    weight = net.function.embed.weight
    (expected,) = torch.autograd.grad(net.function.gains(x, subsets).mean(1).sum(), weight)
    torch.testing.assert_close(weight.grad, expected, atol=1e-12, rtol=0)


def test_evaluation_draws_alike_and_training_does_not() -> None:
    net, x = model(samples=2), points()
    assert torch.equal(net(x), net(x))
    net.train()
    assert not torch.equal(net(x), net(x))


@pytest.mark.parametrize("calibrated", [True, False])
def test_sampled_marginals_of_the_copula(calibrated: bool) -> None:
    """q_i if calibrated, else Phi(Phi^-1(q_i) / sqrt(s_i^2 + |U_i|^2))."""
    samples = 40_000
    logits, scale = torch.tensor([-1.5, 0.3, 2.0]).double(), torch.tensor([0.5, 1.0, 2.0]).double()
    rows = torch.tensor([[0.9, -0.5], [0.1, 0.0], [-0.7, 0.7]]).double()
    torch.manual_seed(0)
    noise = copula_noise(
        Marginals(logits, scale, rows),
        torch.randn(3, samples).double(),
        torch.randn(1, 2, samples).double(),
        torch.zeros(3).long(),
        calibrated=calibrated,
    )
    drawn = relaxed_subsets(logits, noise)
    assert bool(((drawn - 0).abs().minimum((drawn - 1).abs()) < 1e-12).all())
    normal = Normal(0.0, 1.0)
    deviation = 1.0 if calibrated else (scale.square() + rows.square().sum(1)).sqrt()
    expected = normal.cdf(normal.icdf(logits.sigmoid()) / deviation)
    error = (drawn.mean(1) - expected).abs()
    assert bool((error < 5 * (expected * (1 - expected) / samples).sqrt()).all())
    assert calibrated or bool(((expected - logits.sigmoid()).abs() > 0.02).any())


def test_relaxed_subsets_have_the_derivative_of_the_relaxation() -> None:
    logits = torch.tensor([0.05, -0.02]).double().requires_grad_()
    noise = torch.tensor([[0.01], [-0.1]]).double()
    relaxed_subsets(logits, noise).sum().backward()
    soft = torch.sigmoid((logits.detach()[:, None] + noise) / 0.1)[:, 0]
    torch.testing.assert_close(logits.grad, soft * (1 - soft) / 0.1)


@pytest.mark.parametrize("start", ["independent", "copula"])
def test_the_recognition_network_learns_alone(start: Any) -> None:
    net, batch = model(start=start, rank=3), torch.tensor([0, 0, 1, 1])
    loss = net.recognition_loss(points(), batch, 3)
    assert loss.shape == (3,)
    loss.sum().backward()
    assert all(p.grad is None for p in net.function.parameters())
    assert all(p.grad is not None for p in net.recognition.logit.parameters())
    net.zero_grad(set_to_none=True)
    net(points(), batch, 3).sum().backward()
    assert all(p.grad is None for p in net.recognition.parameters())


def test_the_bound_is_the_mean_value_and_the_entropy() -> None:
    """Marginals near 0 and 1, where the samples are one subset."""
    net, x = model(start="independent", background=None), points()
    head = net.recognition
    nn.init.zeros_(head.logit.weight)
    nn.init.constant_(head.logit.bias, 40.0)
    everything = net.function(x, torch.ones(N, 1).double())
    torch.testing.assert_close(net.recognition_loss(x), -everything[:, 0], atol=1e-9, rtol=0)
    nn.init.zeros_(head.logit.bias)
    nn.init.zeros_(net.function.of_subset[-1].weight)  # F is constant
    constant = net.function.of_subset[-1].bias.detach()
    expected = -constant - N * torch.tensor(2.0).double().log()
    torch.testing.assert_close(net.recognition_loss(x), expected, atol=1e-12, rtol=0)


def test_no_recognition_network_no_loss() -> None:
    assert model().recognition_loss(points()) is None


ERRORS = {
    "samples": (lambda: EquiVSet(2, samples=0), "must be positive"),
    "start": (lambda: EquiVSet(2, start="zero"), "start must be"),  # type: ignore[arg-type]
    "aggregation": (
        lambda: EquiVSet(2, 8, aggr=MonoidAggregation(8), start="copula"),
        'takes aggr="sum"',
    ),
    "noise": (lambda: model()(points(), noise=torch.rand(N, 3).double()), "noise has shape"),
    "rank": (
        lambda: copula_noise(
            Recognition(2, 4, hidden=4)(torch.zeros(1, 2)),
            torch.zeros(1, 1),
            torch.zeros(1, 1, 1),
            torch.tensor([0]),
        ),
        "rank above 0",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name: str) -> None:
    call, message = ERRORS[name]
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("steps", [1, 2])
def test_sets_beside_it_change_nothing_in_evaluation(steps: int) -> None:
    """Of sizes 1 to 4, also with elements that do not stand set by set."""
    net, sizes = model(steps=steps, samples=3), [3, 1, 4, 2]
    x, batch = torch.randn(10, 2).double(), torch.arange(4).repeat_interleave(torch.tensor(sizes))
    alone = torch.cat([net(x[batch == k]) for k in range(4)])
    torch.testing.assert_close(net(x, batch, 4), alone)
    order = torch.tensor([0, 4, 3, 8, 1, 5, 2, 9, 6, 7])  # each set in its own order
    torch.testing.assert_close(net(x[order], batch[order], 4), alone[order])
