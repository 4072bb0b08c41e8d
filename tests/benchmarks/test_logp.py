"""The networks of the log P comparison: of one size, with the features of their data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.accuracy.logp import CONFIGS, NETWORKS, settings
from geqlib.train.runs.configuration import read_run

TOP = Path(__file__).parents[2]


@pytest.mark.parametrize("name", CONFIGS)
def test_networks_have_500_000_parameters(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(TOP)
    config, _ = settings(name)
    run: Any = read_run(config, {})
    count = sum(p.numel() for p in run.task.model.parameters())
    assert count == pytest.approx(500_000, rel=0.02)
    assert run.data.features is None and run.data.batch_size == 128


def test_counts_of_cycles_join_the_inputs() -> None:
    assert len(NETWORKS) == 2 * len(CONFIGS)
    for name in CONFIGS:
        changes = settings(f"{name}, cycles")[1]
        assert changes["model.model.in_channels"] == 12 + 6
        assert changes["data.features"] == {"nodes": [f"C{k}" for k in range(3, 9)]}
