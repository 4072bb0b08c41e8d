"""Benchmarks of affine maps and of preferred frames: tiny runs of each, and what their rows say."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import training
from benchmarks.accuracy import adaptive_frames, affine_robustness
from benchmarks.rows import Row
from geqlib.frames.averaging import FrameAveraging
from geqlib.train import InvarianceConstraint
from geqlib.train.runs.configuration import read_run

TOP = Path(__file__).parents[2]


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Runs of both scripts go to a folder of their own."""
    monkeypatch.chdir(TOP)
    for module in (training, adaptive_frames, affine_robustness):
        monkeypatch.setattr(module, "RUNS", tmp_path)
    return tmp_path


def tiny(
    module: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *arguments: str,
) -> list[str]:
    """Lines of the table that a tiny run prints."""
    monkeypatch.setattr(sys, "argv", [module.__file__, "--tiny", "--seeds", "0", *arguments])
    module.main()
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]


@pytest.mark.slow
def test_affine_robustness(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    methods = ["--methods", "GL+ constraint"]
    header, _, line = tiny(affine_robustness, monkeypatch, capsys, *methods)
    assert "GL+ constraint" in line and "dual variable" in header
    folders = [path.name for path in runs.iterdir() if path.is_dir()]
    assert "affine_robustness-GL+-constraint-tiny-seed0" in folders
    monkeypatch.setattr(affine_robustness, "accuracies", None)  # what is finished is read
    assert tiny(affine_robustness, monkeypatch, capsys, *methods)[2] == line


def test_accuracies_of_a_function_of_ratios(monkeypatch: pytest.MonkeyPatch, runs: Path) -> None:
    """A classifier that affine maps leave as it is is as good under all of them."""

    class Ratios(torch.nn.Module):
        def forward(self, pos: torch.Tensor, batch: torch.Tensor, num_graphs: int) -> torch.Tensor:
            clouds = pos.double().view(num_graphs, -1, 3)
            volumes = [torch.linalg.det(clouds[:, k : k + 3]) for k in range(0, 6, 3)]
            return torch.nn.functional.one_hot((volumes[0] > volumes[1]).long(), 40).float()

    monkeypatch.setattr(affine_robustness, "load", lambda path: Ratios())
    options = affine_robustness.settings_of("clouds as they are") | affine_robustness.TINY
    shares = affine_robustness.accuracies(runs, options)
    assert set(shares) == {"clean"} | {
        f"{kind}, {scale}" for kind in ("mean", "all") for scale in affine_robustness.SCALES
    }
    assert len(set(shares.values())) == 1 and 0 < shares["clean"] < 1


def test_steps_under_a_constraint_hold_its_penalty(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time of a step is that of training: the dual variable moves in it."""
    moved: list[float] = []
    ascend = InvarianceConstraint._ascend

    def counted(self: InvarianceConstraint, *arguments: Any) -> None:
        ascend(self, *arguments)
        moved.append(self.dual)

    monkeypatch.setattr(InvarianceConstraint, "_ascend", counted)
    for method in ("rotations", "GL+ constraint"):
        options = affine_robustness.METHODS[method] | affine_robustness.TINY
        count, step = affine_robustness.step(options)
        step()
        assert count == 2 and len(moved) == (method == "GL+ constraint")


def test_budgets_are_steps(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {name: 0.5 * (k + 1) for k, name in enumerate(affine_robustness.METHODS)}
    monkeypatch.setenv("GEQLIB_RUNS", str(runs))
    monkeypatch.setattr(affine_robustness, "step_seconds", lambda: seconds)
    monkeypatch.setattr(affine_robustness, "step", lambda changes: (40, None))
    first, *_, last = affine_robustness.METHODS
    steps = [
        options["trainer.max_epochs"] * options["trainer.limit_train_batches"]
        for options in (affine_robustness.budget(name, 2.0) for name in (first, last))
    ]
    assert steps == [240, 60]


@pytest.mark.slow
def test_adaptive_frames(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    only = {"preferred frame": adaptive_frames.METHODS["normals"]["preferred frame"]}
    monkeypatch.setitem(adaptive_frames.METHODS, "normals", only)
    header, _, line = tiny(adaptive_frames, monkeypatch, capsys, "--data", "normals")
    assert "normals, turned" in header and "preferred frame" in line
    assert (runs / "adaptive_frames-normals-preferred-frame-tiny-seed0").is_dir()
    monkeypatch.setattr(training, "complete", lambda run: None)  # what is finished is read
    assert tiny(adaptive_frames, monkeypatch, capsys, "--data", "normals")[2] == line


@pytest.mark.parametrize("data", adaptive_frames.METHODS)
def test_methods_are_what_they_are_called(data: str, runs: Path) -> None:
    nets, tasks = {}, {}
    for name, (path, options) in adaptive_frames.METHODS[data].items():
        run: Any = read_run(path, options | adaptive_frames.TINY)
        tasks[name], nets[name] = run.task, run.task.model
    modes = {name: getattr(net, "average", None) for name, net in nets.items()}
    assert {n: a.mode for n, a in modes.items() if isinstance(a, FrameAveraging)} == {
        "mean over frames": "full",
        "preferred frame": "argmax",
    }
    assert [name for name, task in tasks.items() if task.rotate] == ["plain, rotations"]
    assert type(nets["local frames"]).__name__ == "TransportNet"


def test_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (adaptive_frames, affine_robustness):
        monkeypatch.setattr(module, "measured_by", lambda runs: {"stamp": f"{len(runs)} runs"})
    metrics = {"test/error": 0.25, "test/degrees": 20.0}
    run = {"metrics": metrics, "fit": {"parameters": 7, "steps": 30}}
    row: Row = adaptive_frames.row(("normals", "preferred frame"), [run] * 2)
    assert row.number("error") == 0.25 and row.number("steps") == 30 and row.origin == "geqlib"
    assert adaptive_frames.row(("normals", "plain, rotations"), [run]).origin == "peer"
    shares = {"clean": 0.9, "mean, 0.2": 0.5, "steps": 10.0}
    table = affine_robustness.table({"rotations": [shares], "GL+ constraint": [shares] * 3})
    assert table.row("GL+ constraint").value("mean, 0.2").seeds == (0.5,) * 3
    assert [row.origin for row in table.rows] == ["peer", "geqlib"]
    assert [row.stamp for row in table.rows] == ["1 runs", "3 runs"]
