"""Run folders of the first edition: read, resumed, tested and predicted again."""

from __future__ import annotations

import json
import lzma
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from ase.io import read
from safetensors.torch import load_file
from torch import Tensor

import geqlib
from tests.first_edition import commands
from tests.first_edition.configs import FOLDERS

FILES = Path(__file__).parent / "files"
RUNS = FILES / "folders"
# Relative to the largest value of each tensor. Weights that are moved by a rounding of float32
# (6e-8) when the run is resumed end within 4e-7, so that other orders of sums stay far below this,
# and a step with another random number (1e-3 and more) far above.
ROUNDING = 1e-5
# what the means over orientations make of it does not reach the vectors: its gradient is rounding
# alone, and Adam divides that by its root
WITHOUT_GRADIENT = ("blocks.1.contract.bias",)
PICTURES = {"learning_curves.png", "parity.png", "structures.png", "trajectories.png"}


@pytest.fixture(params=FOLDERS)
def run(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the folder, with its checkpoints as they were."""
    monkeypatch.setenv("GEQLIB_DATA", str(FILES))
    return unpacked(request.param, tmp_path)


def unpacked(name: str, tmp_path: Path) -> Path:
    run = tmp_path / name
    shutil.copytree(RUNS / name, run)
    for packed in run.rglob("*.ckpt.xz"):
        packed.with_suffix("").write_bytes(lzma.decompress(packed.read_bytes()))
        packed.unlink()
    return run


def geqlib_command(name: str, run: Path, *options: object) -> None:
    """A command with the run's own configuration, where the folder lies now."""
    inputs = ("--config", run / "config.yaml", "--trainer.default_root_dir", run, *options)
    code, _, error = commands.run(name, *inputs)
    assert code == 0, error


def assert_close(actual: Tensor, expected: Tensor, tolerance: float, name: str) -> None:
    assert actual.shape == expected.shape, name
    if expected.numel():
        scale = float(expected.double().abs().max())
        error = float((actual.double() - expected.double()).abs().max())
        assert error <= tolerance * scale, f"{name}: {error:.1e} of {scale:.1e}"


@pytest.mark.slow
def test_a_stopped_run_goes_on_to_the_same_weights(run: Path) -> None:
    """It was stopped after two of four epochs; the folder's last.ckpt is of the whole run."""
    folder = run / "checkpoints"
    whole, last = folder / "whole.ckpt", folder / "last.ckpt"
    last.rename(whole)
    (folder / "stopped.ckpt").rename(last)
    before = geqlib.load(last).state_dict()
    geqlib_command("fit", run, "--ckpt_path", last)

    new, old = (torch.load(path, weights_only=True) for path in (last, whole))
    assert [new[k] for k in ("epoch", "global_step")] == [old[k] for k in ("epoch", "global_step")]
    weights, expected = (geqlib.load(path).state_dict() for path in (last, whole))
    assert weights.keys() == expected.keys()
    moved = 0
    for key, value in expected.items():
        tolerance = 1e-3 if key.endswith(WITHOUT_GRADIENT) else ROUNDING
        assert_close(weights[key], value, tolerance, key)
        moved += not torch.equal(before[key], value)
    assert moved > 10, "two epochs changed nothing: the comparison proves nothing"
    assert_moments(new["optimizer_states"][0]["state"], old["optimizer_states"][0]["state"])


def assert_moments(actual: dict[int, Any], expected: dict[int, Any]) -> None:
    """Adam's moments, where they are more than rounding: they are attached to weights by number."""
    assert actual.keys() == expected.keys()
    for number, state in expected.items():
        assert actual[number]["step"] == state["step"]
        if state["exp_avg_sq"].sqrt().max() > 1e-9:
            for name in ("exp_avg", "exp_avg_sq"):
                assert_close(actual[number][name], state[name], 1e-3, f"{name} of {number}")


def test_time_and_steps_of_the_parts_add_up(run: Path) -> None:
    stopped, before = (
        run / "checkpoints" / "stopped.ckpt",
        json.loads((run / "fit.json").read_text()),
    )
    seconds = torch.load(stopped, weights_only=True)["callbacks"]["RunRecord"]["seconds"]
    geqlib_command("fit", run, "--ckpt_path", stopped)
    after = json.loads((run / "fit.json").read_text())
    same = ("epochs", "steps", "parameters")
    assert [after[key] for key in same] == [before[key] for key in same]
    assert after["seconds"] >= round(seconds, 1)
    assert sorted(path.name for path in (run / "metrics").iterdir()) == ["version_0", "version_1"]


def test_test_gives_the_results_again(run: Path) -> None:
    path = run / "results.json"
    expected = json.loads(path.read_text())
    path.unlink()
    geqlib_command("test", run, "--ckpt_path", run / "checkpoints" / "best.ckpt")
    actual = json.loads(path.read_text())
    for key in ("name", "seed", "task", "model", "data", "fit"):
        assert actual[key] == expected[key], key
    assert actual["metrics"] == pytest.approx(expected["metrics"], rel=1e-4)
    assert actual["baselines"].keys() == expected["baselines"].keys()
    for name, metrics in expected["baselines"].items():
        assert actual["baselines"][name] == pytest.approx(metrics, rel=1e-4)
    assert actual["environment"].keys() >= expected["environment"].keys()


def test_predict_gives_the_predictions_again(run: Path) -> None:
    path, structures = run / "predictions.safetensors", run / "predictions.xyz"
    expected = load_file(path)
    frames = read(structures, ":") if structures.exists() else []
    path.unlink()
    geqlib_command("predict", run, "--ckpt_path", run / "checkpoints" / "best.ckpt")
    actual = load_file(path)
    assert actual.keys() == expected.keys()
    for key, value in expected.items():
        assert actual[key].dtype == value.dtype
        assert_close(actual[key], value, ROUNDING, key)
    for atoms, before in zip(read(structures, ":") if frames else [], frames, strict=True):
        assert atoms.info.keys() == before.info.keys()
        assert atoms.calc.results.keys() == before.calc.results.keys()


@pytest.mark.slow
def test_validate_and_check_take_the_checkpoint(run: Path) -> None:
    best = run / "checkpoints" / "best.ckpt"
    geqlib_command("validate", run, "--ckpt_path", best)
    code, text, error = commands.run("check", best, "--samples", 1)
    assert code == 0, error
    assert text


@pytest.mark.slow
def test_report_reads_the_folders(tmp_path: Path) -> None:
    runs = [unpacked(name, tmp_path) for name in FOLDERS]
    code, _, error = commands.run("report", *runs, "--out", tmp_path / "report")
    assert code == 0, error
    page = (tmp_path / "report" / "report.md").read_text()
    for run in runs:
        results = json.loads((run / "results.json").read_text())
        lines = [line for line in page.splitlines() if line.startswith(f"| {run.name}")]
        line = " ".join(lines)  # of the tables of results and of training
        assert f"{results['fit']['parameters']:,}" in line
        shown = [float(x.replace(",", "")) for x in re.findall(r"\d[\d,]*\.?\d*(?:e-?\d+)?", line)]
        for name, value in results["metrics"].items():
            assert any(x == pytest.approx(value, rel=2e-3) for x in shown), name
    assert {path.name for path in (tmp_path / "report").glob("*.png")} == PICTURES


def test_configurations_are_complete_and_name_no_folder_but_their_own() -> None:
    for name in FOLDERS:
        text = (RUNS / name / "config.yaml").read_text()
        assert f"default_root_dir: runs/{name}\n" in text and "ckpt_path: null" in text
