"""The sampler against exact solutions, and molecules that depend on their own streams alone."""

from __future__ import annotations

from itertools import pairwise
from math import sqrt
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from geqlib.generation import (
    Denoiser,
    HeunSampler,
    Molecules,
    drawn_sizes,
    molecule_scores,
    sample_molecules,
)
from geqlib.graph.recordings import Rerun
from tests.generation.test_denoiser import denoiser

FEW = HeunSampler(6, sigma_max=5.0)


def gaussian(deviation: float) -> Any:
    """The exact denoiser of data N(0, deviation^2)."""
    return lambda x, sigma: x * deviation**2 / (deviation**2 + sigma**2)


def test_levels_by_the_formula() -> None:
    sampler = HeunSampler(5, sigma_max=3.0, sigma_min=0.01, rho=7.0)
    large, small = 3.0 ** (1 / 7), 0.01 ** (1 / 7)
    expected = [(large + i / 4 * (small - large)) ** 7 for i in range(5)] + [0.0]
    assert sampler.levels().tolist() == pytest.approx(expected, rel=1e-12)


def test_the_flow_of_a_gaussian_to_second_order() -> None:
    """Without churn, dx/dsigma = (x - D) / sigma has x = c sqrt(s^2 + sigma^2)."""
    start, errors = torch.tensor([1.0, -2.0], dtype=torch.float64), []
    for steps in (20, 40, 80):
        sampler = HeunSampler(steps, sigma_max=8.0, sigma_min=0.01, churn=0.0)
        noise = torch.cat([start[None], torch.zeros(steps, 2, dtype=torch.float64)])
        exact = 8.0 * start * 0.6 / sqrt(0.6**2 + 8.0**2)
        errors.append(float((sampler(gaussian(0.6), noise) - exact).abs().max()))
    assert errors[0] < 0.02 and all(a / b > 3 for a, b in pairwise(errors))


def test_churn_keeps_the_distribution_of_a_gaussian() -> None:
    """The result is linear in independent noise, so that its variance is a sum of squares."""
    steps = 60
    sampler = HeunSampler(steps, sigma_max=20.0, sigma_min=0.002, churn=20.0)
    unit = torch.eye(steps + 1, dtype=torch.float64)
    response = sampler(gaussian(0.6), unit)
    assert float(response.square().sum().sqrt()) == pytest.approx(0.6, rel=0.02)
    assert float(response[0].abs()) < 0.3  # without churn, all of it would come from the start


def test_heun_by_hand() -> None:
    """Algorithm 2 of Karras et al., in scalars."""
    sampler = HeunSampler(3, sigma_max=2.0, sigma_min=0.1, churn=0.6)
    noise = torch.tensor([0.5, -1.0, 0.3, 2.0], dtype=torch.float64)
    levels, x = sampler.levels().tolist(), 2.0 * 0.5
    for step, (t, after) in enumerate(pairwise(levels)):
        raised = t + min(0.6 / 3, sqrt(2) - 1) * t
        x = x + sqrt(raised**2 - t**2) * float(noise[step + 1])
        d = (x - gaussian(0.7)(x, raised)) / raised
        y = x + (after - raised) * d
        if after != 0:
            e = (y - gaussian(0.7)(y, after)) / after
            y = x + (after - raised) * (0.5 * d + 0.5 * e)
        x = y
    assert float(sampler(gaussian(0.7), noise)) == pytest.approx(x, rel=1e-12)


class Recorded(Denoiser):
    """Keeps the positions that it is shown."""

    def forward(self, pos: Tensor, *args: Any, **options: Any) -> Any:
        self.__dict__.setdefault("seen", []).append((pos, options["batch"]))
        return super().forward(pos, *args, **options)


class Wild(nn.Module):
    """A network whose outputs are large and not centred; NaN at one size of molecules."""

    def __init__(self, nan_at: int = -1) -> None:
        super().__init__()
        self.nan_at, self.scale = nan_at, nn.Parameter(torch.tensor(2.0))

    def forward(self, pos: Tensor, x: Tensor, batch: Tensor) -> tuple[Tensor, Tensor]:
        assert bool(pos.isfinite().all())
        size = torch.bincount(batch)[batch][:, None]
        bad = torch.where(size == self.nan_at, torch.nan, 1.0)
        return self.scale * x[:, :2] * bad, (self.scale * (pos + 1) * bad)[:, None]


def test_the_centre_of_mass_stays_at_every_step() -> None:
    module = Recorded(Wild(), ["H", "C"])
    sample_molecules(module, torch.tensor([3, 29, 1]), sampler=HeunSampler(20, sigma_max=10.0))
    assert len(module.__dict__["seen"]) == 2 * 20 - 1
    for pos, batch in module.__dict__["seen"]:
        total = torch.zeros(3, 3).index_add(0, batch, pos)
        assert float((total / torch.bincount(batch)[:, None]).abs().max()) < 1e-6


def test_a_sample_depends_on_its_stream_alone() -> None:
    module, sizes = denoiser().double().eval(), torch.tensor([4, 5, 6])
    whole = sample_molecules(module, sizes, seed=3, sampler=FEW)
    alone = sample_molecules(module, sizes[1:2], seed=3, numbers=[1], sampler=FEW)
    torch.testing.assert_close(whole.pos[4:9], alone.pos, rtol=1e-9, atol=1e-9)
    again = sample_molecules(module, sizes, seed=3, sampler=FEW)
    assert torch.equal(whole.pos, again.pos) and torch.equal(whole.numbers, again.numbers)
    other = sample_molecules(module, sizes, seed=4, sampler=FEW)
    assert not torch.allclose(whole.pos, other.pos)
    state = torch.get_rng_state()
    sample_molecules(module, sizes, sampler=FEW)
    assert torch.equal(state, torch.get_rng_state())


def test_nan_drops_the_molecule_and_no_other() -> None:
    good = sample_molecules(Denoiser(Wild(), ["H", "C"]), torch.tensor([2, 3, 4]), sampler=FEW)
    bad = sample_molecules(Denoiser(Wild(3), ["H", "C"]), torch.tensor([2, 3, 4]), sampler=FEW)
    assert good.dropped.tolist() == [False, False, False]
    assert bad.dropped.tolist() == [False, True, False]
    rest = bad.batch != 1
    assert torch.equal(good.pos[rest], bad.pos[rest]) and bool(bad.pos[~rest].isnan().all())
    scores = molecule_scores(bad.numbers, bad.pos, bad.batch, 3, validity=False)
    assert scores.not_finite == 1 and scores.molecules == 3


def test_guidance_is_linear() -> None:
    """At one step without correction, guidance w gives (1 + w) conditional - w unconditional."""
    module = denoiser(conditional=True).double().eval()
    sampler = HeunSampler(2, sigma_max=1.0, sigma_min=0.999999, churn=0.0)
    condition = torch.tensor([[1.5, 1.0]])
    options: dict[str, Any] = {"sampler": sampler, "seed": 5}

    def pos(**more: Any) -> Tensor:
        return sample_molecules(module, torch.tensor([4]), **options, **more).pos

    plain, known = pos(), pos(condition=condition)
    overdone = pos(condition=condition, guidance=0.5)
    torch.testing.assert_close(overdone, known + 0.5 * (known - plain), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(plain, known, atol=1e-5)
    with pytest.raises(ValueError, match="guidance overdoes a property"):
        pos(guidance=1.0)


def test_sizes_are_as_frequent_as_in_the_histogram() -> None:
    histogram = {3: 1, 7: 0, 9: 3, 29: 0}
    sizes = drawn_sizes(histogram, 0, range(2000))
    assert set(sizes.tolist()) == {3, 9}
    assert abs(float((sizes == 9).double().mean()) - 0.75) < 4 * sqrt(0.75 * 0.25 / 2000)
    assert torch.equal(drawn_sizes(histogram, 0, range(5, 9)), sizes[5:9])
    with pytest.raises(ValueError, match="has no molecules to draw"):
        drawn_sizes({}, 0, range(2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 1}, "steps must be at least 2"),
        ({"sigma_max": 0.001}, "sigma_min must be positive and below sigma_max"),
        ({"churn": -1.0}, "churn at least 0"),
    ],
)
def test_samplers_that_are_none(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HeunSampler(**options)


def test_molecules_are_joined() -> None:
    one = Molecules(torch.tensor([1]), torch.zeros(1, 3), torch.tensor([1]))
    two = Molecules(torch.tensor([6, 8]), torch.ones(2, 3), torch.tensor([2]))
    assert Molecules.joined([one, two]).batch.tolist() == [0, 1, 1]


def test_replayed_samples_are_plain_samples() -> None:
    """Bit for bit, with molecules that end in NaN and a property; a failure is said."""
    lengths, levels = torch.tensor([3, 1, 4]), HeunSampler(4, sigma_max=5.0)
    known = torch.tensor([[0.5, 1.0]] * 3)
    cases: list[tuple[Denoiser, dict[str, Any]]] = [
        (denoiser(), {}),
        (denoiser(conditional=True), {"condition": known, "guidance": 0.3}),
        (Denoiser(Wild(nan_at=3), ["H", "C"]), {}),
    ]
    for module, options in cases:
        plain = sample_molecules(module, lengths, sampler=levels, **options)
        replayed = sample_molecules(module, lengths, sampler=levels, recorder=Rerun(), **options)
        assert torch.equal(plain.numbers, replayed.numbers)
        torch.testing.assert_close(plain.pos, replayed.pos, rtol=0, atol=0, equal_nan=True)
    assert plain.dropped.any() and not plain.dropped.all()

    def failing(function: Any) -> Any:
        raise RuntimeError("operation not permitted")

    with pytest.warns(UserWarning, match="sampling is not replayed, because .* not permitted"):
        drawn = sample_molecules(cases[0][0], lengths, sampler=levels, recorder=failing)
    torch.testing.assert_close(
        drawn.pos, sample_molecules(cases[0][0], lengths, sampler=levels).pos, rtol=0, atol=0
    )
