"""The benchmark of subsets: methods are built from one configuration, and its scales are right."""

from __future__ import annotations

from itertools import combinations
from math import exp, pi
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.accuracy import subsets
from benchmarks.peers.deep_sets import DeepSet
from benchmarks.peers.densities import density_ratios, gaussian_densities, moon_densities
from geqlib.data.subsets import GAUSSIAN_STD, MOON_NOISE
from geqlib.train.runs.configuration import read_run

TOP = Path(__file__).parents[2]


def test_a_random_subset() -> None:
    """Over all subsets of the right size."""
    pairs = [{*members} for members in combinations(range(6), 2)]
    indices = [len(s & {0, 1}) / len(s | {0, 1}) for s in pairs]
    assert subsets.random_index(6, 2) == pytest.approx(sum(indices) / len(indices))
    assert subsets.random_index(100, 10) == pytest.approx(0.055, abs=5e-4)  # as published


def test_densities() -> None:
    """Of moons, the mean over the half circle of Gaussians around it, point by point."""
    point = torch.tensor([[0.3, 0.9]])
    x, y = ((float(v) - s) / 2 for v, s in zip(point[0], (-1.0, -0.2), strict=True))
    sums = [0.0, 0.0]
    for k in range(500):
        t = torch.tensor(pi * k / 499, dtype=torch.float64)
        up = float(t.cos()), float(t.sin())
        for j, (a, b) in enumerate((up, (1 - up[0], 0.5 - up[1]))):
            sums[j] += exp(-((x - a) ** 2 + (y - b) ** 2) / (2 * MOON_NOISE**2))
    ratio = moon_densities(point.double()).diff().exp().item()
    assert ratio == pytest.approx(sums[1] / sums[0], rel=1e-6)
    # log p_0 - log p_1 = (c . x + c . x) / std^2 for centres c and -c
    logs = gaussian_densities(point.double())[0]
    expected = 2 * 0.5**0.5 * (0.3 + 0.9) / GAUSSIAN_STD**2
    assert float(logs[0] - logs[1]) == pytest.approx(expected, rel=1e-6)


def test_ratios_follow_the_background() -> None:
    points = torch.tensor([[0.7, 0.7], [0.8, 0.6], [-0.7, -0.7]])
    scores = density_ratios("gaussians", points, torch.tensor([False, False, True]))
    other = density_ratios("gaussians", -points, torch.tensor([False, False, True]))
    assert scores.argmax() == 2
    torch.testing.assert_close(scores, other)


def test_the_best_subset_is_better_than_a_random_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subsets, "BEST_OF", 20)
    assert subsets.random_index(100, 10) < 0.8 < subsets.best_index("gaussians", 0) < 0.95
    assert subsets.best_index("few", 0) > 0.98


@pytest.mark.slow
@pytest.mark.parametrize("problem", subsets.PROBLEMS)
def test_methods_give_a_logit_for_each_element(
    problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(TOP)
    chosen = subsets.PROBLEMS[problem]
    x, batch = torch.randn(5, chosen.features), torch.tensor([0, 0, 1, 1, 1])
    parameters: dict[str, int] = {}
    for method in chosen.methods:
        config = subsets.config_of(problem, method)
        run: Any = read_run(config, subsets.options_of(problem, method))
        net = run.task.model
        assert net.eval()(x, batch, 2).shape == (5,)
        parameters[method] = sum(p.numel() for p in net.parameters())
        if method == "DeepSet":
            assert isinstance(net, DeepSet)
            dropout = [m.p for m in net.modules() if isinstance(m, torch.nn.Dropout)]
            assert dropout == [0.2 if problem == "lipo" else 0.0]
            continue
        background = "complement" if "complement" in method else "superset"
        assert net.function.background == (background if "INSET" in method else None)
        assert net.samples == 8
        assert (net.recognition is not None) == ("copula" in method)
        assert (len(net.function.embed.lins) == 1) == ("linear" in method)
        assert run.task.negatives == ("all" if "negatives" in method else "equal")
    # the peer is as large as the method without a background, but for layers of a few features
    assert abs(parameters["DeepSet"] / parameters["EquiVSet"] - 1) < 0.25


def test_rows_of_two_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subsets, "measured_by", lambda runs: {"stamp": f"{len(runs)} runs"})
    metrics = {f"test/jaccard_{n}": 0.5 for n in (100, *subsets.LARGER)}
    run = {"metrics": metrics | {"test/jaccard_half_100": 0.25}, "fit": {"parameters": 7}}
    row = subsets.row("moons", "DeepSet", [run] * 2)
    assert row.number("own") == 0.5 and row.number("half") == 0.25 and row.origin == "peer"
    assert row.number("1000") == 0.5 and row.stamp == "2 runs"
    few = {"metrics": {"test/jaccard_10": 0.5, "test/jaccard_half_10": 0.1}, "fit": run["fit"]}
    assert "1000" not in subsets.row("few", "EquiVSet", [few]).cells


@pytest.mark.slow
def test_a_run_of_one_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(TOP)
    monkeypatch.setattr(subsets, "RUNS", tmp_path)
    sizes = {"train": 32, "val": 4, "test": 2}
    tiny = dict(subsets.PROBLEMS["few"].options) | {
        f"data.init_args.{k}": n for k, n in sizes.items()
    }
    problem = subsets.PROBLEMS["few"]._replace(options=tiny)
    monkeypatch.setitem(subsets.PROBLEMS, "few", problem)
    run = subsets.run("few", "EquiVSet", 0, 1)
    assert run == subsets.run("few", "EquiVSet", 0, 1)
    assert 0 <= subsets.row("few", "EquiVSet", [run]).number("own") <= 1
