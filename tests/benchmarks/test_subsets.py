"""The benchmark of subsets: methods are built from one configuration, and its scale is right."""

from __future__ import annotations

from math import comb
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.accuracy import subsets
from benchmarks.peers.deep_sets import DeepSet
from geqlib.train.runs.configuration import read_run

TOP = Path(__file__).parents[2]


def test_a_random_subset() -> None:
    """k of 10 are right by chance: the index is k / (20 - k)."""
    chances = [comb(10, k) * comb(90, 10 - k) / comb(100, 10) for k in range(11)]
    mean = sum(p * k / (20 - k) for k, p in enumerate(chances))
    assert pytest.approx(mean, abs=5e-4) == subsets.RANDOM


def test_methods_give_a_logit_for_each_point(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(TOP)
    x, batch = torch.randn(5, 2), torch.tensor([0, 0, 1, 1, 1])
    found = {}
    for method, (config, options) in subsets.METHODS.items():
        run: Any = read_run(config, options)
        found[method] = run.task.model
        assert run.task.model.eval()(x, batch, 2).shape == (5,)
    backgrounds = [getattr(net, "function", None) for net in found.values()]
    assert [f and f.background for f in backgrounds] == [
        "superset",
        "complement",
        "superset",
        None,
        None,
        None,
    ]
    assert isinstance(found["DeepSet"], DeepSet)
    assert [getattr(net, "recognition", None) is not None for net in found.values()] == [
        "copula" in method for method in found
    ]


def test_rows_of_two_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subsets, "measured_by", lambda runs: {"stamp": f"{len(runs)} runs"})
    metrics = {f"test/jaccard_{n}": 0.5 for n in subsets.TEST_SIZES}
    run = {"metrics": metrics | {"test/jaccard_half_100": 0.25}, "fit": {"parameters": 7}}
    row = subsets.row(("moons", "DeepSet"), [run] * 2)
    assert row.number("100") == 0.5 and row.number("half_100") == 0.25 and row.origin == "peer"
    assert row.stamp == "2 runs"
