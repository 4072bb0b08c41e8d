"""The benchmark of ways to rotations: what its networks keep, and that its rows are made."""

from __future__ import annotations

from argparse import Namespace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from benchmarks import training
from benchmarks.accuracy import ways_to_rotations as ways
from benchmarks.peers.offset_messages import FramedOffsetMessages, OffsetMessages
from geqlib.testing import equivariance_error
from geqlib.train import InvarianceConstraint
from geqlib.train.runs.configuration import read_run
from tests.data.molecules import raw_frames

TOP = Path(__file__).parents[2]
TINY = Namespace(tiny=True, minutes=1.0)


@pytest.mark.parametrize("output", ["vector", "scalar"])
def test_only_frames_keep_rotations(output: Any) -> None:
    pairs = (~torch.eye(5, dtype=torch.bool)).nonzero().T
    inputs = {
        "pos": (torch.randn(5, 3).double(), "point"),
        "vec": (torch.randn(5, 1, 3).double(), "vector"),
        "edge_attr": (torch.randn(20, 1).double(), "edge:scalar"),
        "edge_index": (pairs, "edge_index"),
        "batch": (torch.zeros(5, dtype=torch.long), "batch"),
    }
    errors = {}
    for network in (OffsetMessages, FramedOffsetMessages):
        torch.manual_seed(0)
        net = network(0, 1, 1, output=output, channels=8, layers=2).double()
        call = partial(net, num_graphs=1)
        groups = ("SE(3)", "T(3)", "S_n")
        errors[network] = [equivariance_error(call, inputs, output, g) for g in groups]
    assert errors[OffsetMessages][0] > 1e-3
    assert max(errors[OffsetMessages][1:] + errors[FramedOffsetMessages]) < 1e-12


def test_the_minutes_that_the_protocol_states() -> None:
    runs = len(ways.PROBLEMS) * len(ways.METHODS) * len(ways.SEEDS)
    assert runs * ways.MINUTES == ways.TOTAL


def test_methods_are_what_they_are_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(TOP)
    for method in ways.METHODS:
        run: Any = read_run(
            ways.PROBLEMS["nbody"].config, ways.options_of("nbody", method, tiny=True)
        )
        callbacks = run.trainer.get("callbacks") or []
        constraints = [c for c in callbacks if isinstance(c, InvarianceConstraint)]
        assert len(constraints) == (method == ways.CONSTRAINED)
        assert run.task.rotate is (method == ways.AUGMENTED)
        assert isinstance(run.task.model, FramedOffsetMessages) == (method == ways.FRAMED)


@pytest.mark.slow
@pytest.mark.parametrize("problem", ways.PROBLEMS)
def test_rows_of_a_tiny_run(problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames have the same error when turned; a run that is complete is read."""
    if problem == "aspirin":
        monkeypatch.setenv("GEQLIB_DATA", str(tmp_path))
        config = yaml.safe_load((TOP / ways.PROBLEMS[problem].config).read_text())
        raw_frames.write_files(config["data"]["init_args"], tmp_path)
    monkeypatch.chdir(TOP)
    monkeypatch.setenv("GEQLIB_CACHE", str(tmp_path / "cache"))
    for module in (training, ways):
        monkeypatch.setattr(module, "RUNS", tmp_path / "runs")
    budget = ways.budget_of(problem, TINY)
    for method in (ways.CONSTRAINED, ways.FRAMED):
        run = ways.run(problem, method, 0, budget[method], TINY)
        again = ways.run(problem, method, 0, budget[method], TINY)
        assert run["turned"] == again["turned"] and run["metrics"] == again["metrics"]
        row = ways.row(problem, method, [run])
        assert row.number("steps") == 2
        as_is, turned = row.number("as is"), row.number("turned")
        if method == ways.FRAMED:
            assert turned == pytest.approx(as_is, rel=1e-3)
        else:
            assert row.number("dual") >= 0 and turned != as_is
