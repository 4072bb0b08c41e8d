"""Networks that are compared have equal parameters, and rows say how samples were drawn."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks.accuracy import generation, generation_few, orientations
from benchmarks.accuracy.generation import (
    ABLATIONS,
    COLUMNS,
    CONFIG,
    NETWORKS,
    OURS,
    PUBLISHED,
    compared,
    options,
    own_row,
    percentages,
    planned,
)
from benchmarks.speed import generation as speed
from benchmarks.training import UNRECORDED
from geqlib.generation import Denoiser, HeunSampler, sample_molecules
from geqlib.models import PONITA
from geqlib.sphere.grids import rotation_group
from geqlib.symmetry.rotations import random_rotations
from geqlib.testing import equivariance_error
from geqlib.train.run import read_run


def network(name: str, **changes: int) -> nn.Module:
    sizes = {f"{generation.MODEL}.init_args.{key}": value for key, value in changes.items()}
    return read_run(CONFIG, options(name) | sizes).task.denoiser.network


def test_parameters_are_equal_within_a_tenth() -> None:
    counts = {name: sum(p.numel() for p in network(name).parameters()) for name in NETWORKS}
    assert all(abs(count / counts[OURS] - 1) < 0.1 for count in counts.values()), counts


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != OURS])
def test_peers_denoise(name: str) -> None:
    """From zero outputs, and EGNN under all rotations."""
    net = network(name, channels=8, layers=2).double()
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.3)
    pos, x = torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 6, dtype=torch.float64)
    edges = (~torch.eye(5, dtype=torch.bool)).nonzero().T
    tensors = {"pos": (pos, "point"), "x": (x, "scalar")}
    fixed = {"EGNN": {"edge_index": edges}}.get(
        name, {"batch": torch.zeros(5, dtype=torch.long), "num_graphs": 1}
    )

    def outputs(pos: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return net(pos=pos, x=x, **fixed)

    error = equivariance_error(outputs, tensors, ("scalar", "vector"), "E(3)")
    assert error < 1e-10 if name == "EGNN" else error > 1e-3
    denoiser = Denoiser(net).double()
    assert not any(part.any() for part in outputs(pos, x))
    drawn = sample_molecules(denoiser, torch.tensor([3, 1, 4]), sampler=HeunSampler(3))
    assert not drawn.dropped.any()


def test_rows(tmp_path: Path) -> None:
    pytest.importorskip("rdkit")
    molecules = sample_molecules(
        Denoiser(network(OURS, channels=4, layers=1)), torch.tensor([3, 4]), sampler=HeunSampler(2)
    )
    score = percentages(molecules, frozenset()) | {"provenance": UNRECORDED}
    assert score["rules"] == "EDM" and "novel" in score
    fit = {"parameters": 7, "steps": 120, "processor_seconds": 60.0}
    (tmp_path / "fit.json").write_text(json.dumps(fit))
    row = own_row((OURS, "5"), OURS, tmp_path, 1e-3, [score, score], 300.0)
    table = compared([row])
    assert row.cells["rate"] == 2.0 and "120 steps at the rate 0.001 in 1 CPU minutes" in row.setup
    assert {column.key for column in COLUMNS} <= row.cells.keys()
    assert [line.labels[0] for line in table.rows] == [OURS, *PUBLISHED]


def test_only_named_networks_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def timed(name: str, runs: dict[str, Any]) -> dict[str, Any]:
        asked.extend(runs)
        raise KeyboardInterrupt

    monkeypatch.setattr(generation, "step_seconds", timed)
    monkeypatch.setattr(sys, "argv", ["generation.py", "--only", "EGNN"])
    with pytest.raises(KeyboardInterrupt):
        generation.main()
    assert asked == ["EGNN"]


def test_few_molecules_are_a_result_with_curves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By heart with the last weights, else with the best ones."""
    score = dict.fromkeys(generation.SCORES, 1.0) | {"rules": "EDM", "provenance": UNRECORDED}
    drawn, published = [], []

    def trained(minutes: float, name: str, changes: Any, timed: Any) -> Path:
        rate = changes[generation.LEARNING_RATE]
        for budget, point in ((None, "0.5,3.0,"), (minutes, "0.9,2.0,0.25")):
            folder = tmp_path / generation.run_name(name, rate, budget)
            log = folder / "metrics" / "version_0"
            log.mkdir(parents=True)
            text = f"processor_minutes,val/loss,val/molecule_stability\n{point}\n"
            (log / "metrics.csv").write_text(text)
        fit = {"parameters": 7, "steps": 120, "processor_seconds": 60.0}
        (log.parents[1] / "fit.json").write_text(json.dumps(fit))
        return log.parents[1]

    def sampled(folder: Path, *settings: Any, **how: Any) -> dict[str, Any]:
        drawn.append(how)
        return score

    monkeypatch.setattr(generation_few, "RUNS", tmp_path)
    monkeypatch.setattr(generation_few, "trained_for", trained)
    monkeypatch.setattr(generation_few, "sampled", sampled)
    monkeypatch.setattr(generation_few, "step_seconds", lambda name, runs: {k: {} for k in runs})
    monkeypatch.setattr(generation_few, "finished", lambda name, run: {"mebibytes": 3.0})
    monkeypatch.setattr(generation_few, "joined", lambda name, table: table)
    monkeypatch.setattr(generation_few, "publish", published.append)
    monkeypatch.setattr(sys, "argv", ["generation_few.py"])
    generation_few.main()
    assert [result.name for result in published] == ["accuracy/generation_few"] * 3
    heart, small, many = published[-1].tables[0].rows
    assert (heart.labels[0], many.labels[0]) == ("50 molecules", "1000 molecules")
    assert small.labels[0] == "50 molecules of at most 8 atoms"
    assert many.curves["validation loss"] == ((0.5, 3.0), (0.9, 2.0))
    assert many.curves["molecule stability"] == ((0.9, 0.25),)
    assert drawn[0] == {"weights": "last", "training": (50, None)}
    assert drawn[-1] == {"weights": "best", "training": (1000, None)}
    changes = generation_few.changes(50, 8)
    assert changes["data.init_args.max_atoms"] == 8
    assert changes["data.init_args.num_train"] == changes["data.init_args.batch_size"] == 50


@pytest.mark.slow
def test_each_ablation_changes_one_thing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the run of the first network, and each is planned once."""
    plain = read_run(CONFIG, options(OURS)).task
    assert plain.rotate and plain.denoiser.type_scale == 4
    tasks = {
        name: read_run(CONFIG, options(OURS) | change).task for name, change in ABLATIONS.items()
    }
    assert not tasks["not rotated"].rotate
    assert tasks["elements not scaled"].denoiser.type_scale == 1
    of_pairs = tasks.pop("kernels of pairs").denoiser
    assert of_pairs.network.edge_dim == of_pairs.edge_features
    plain_kernels = tasks.pop("published kernels").denoiser.network.kernel
    assert plain.denoiser.network.kernel.harmonics and not plain_kernels.harmonics
    counts = [sum(p.numel() for p in task.parameters()) for task in (plain, *tasks.values())]
    assert len(set(counts)) == 1  # orientations share their weights
    assert "orientations=20" in repr(tasks["20 orientations"].model)
    monkeypatch.setattr(sys, "argv", ["generation.py", "--ablation"])
    plan = planned(generation._arguments())
    assert len(plan) == len({(label, sigma) for label, _, sigma, _ in plan}) == len(NETWORKS) + 7
    assert {run for _, run, _, _ in plan} == {*NETWORKS, *ABLATIONS}
    assert [sigma for *_, sigma, _ in plan].count(1.0) == 1
    assert [averaged for *_, averaged in plan].count(False) == 1


def test_rotations_of_a_grid_are_exact_and_others_are_not() -> None:
    torch.manual_seed(0)
    sizes = {"channels": 4, "basis": 4, "layers": 1}
    own, every = rotation_group("icosahedral")[1:4], random_rotations(2, 3, dtype=torch.float64)
    grid = PONITA(6, 1, 5, 1, **sizes, orientations=12).double()
    assert max(orientations.errors(grid, own)) < 1e-10
    assert min(orientations.errors(grid, every)) > 1e-4
    exact = PONITA(6, 1, 5, 1, **sizes, space="R3").double()
    assert max(orientations.errors(exact, every)) < 1e-10


def test_time_of_sampling_is_that_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reckoned from few molecules, which the row says."""
    assert sum(speed.SIZES.values()) == 100_000 and speed.CALLS == 2 * speed.STEPS - 1
    drawn = []

    def sampled(denoiser: Denoiser, count: int, sampler: HeunSampler, replay: bool) -> int:
        drawn.append((count, sampler.steps, replay))
        return 1

    denoiser = Denoiser(network(OURS, channels=4, layers=1))
    assert speed.sampled(denoiser, 2, HeunSampler(2), replay=False) == 0
    monkeypatch.setattr(speed, "sampled", sampled)
    row = speed.row(denoiser, "plain steps", 5, replay=False)
    assert drawn == [(speed.WARM, 2, False), (5, speed.STEPS, False)]
    assert row.number("whole") == pytest.approx(200 * row.number("seconds"))
    assert row.setup == "reckoned from 5 molecules" and row.number("dropped") == 1


@pytest.mark.parametrize("name", ["MINUTES", "SEED", "SAMPLES", "SAMPLING_SEEDS", "BATCH"])
def test_few_molecules_are_trained_as_all_are(name: str) -> None:
    assert getattr(generation_few, name) == getattr(generation, name)
    assert generation_few.CONSTANT == generation.CONSTANT
    assert generation_few.SIGMA_MAX == generation.SIGMA_MAX
