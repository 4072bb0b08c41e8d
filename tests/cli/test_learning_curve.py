"""Errors at several training sizes: trained once, gone on with, drawn."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from geqlib.cli.learning_curve import like, plan_runs
from geqlib.report.size_curves import write_size_curves
from tests.train.potential import write_config, write_frames
from tests.train.tiny import config as nbody
from tests.train.tiny import geqlib

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def curve(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("curve")
    write_frames(folder / "frames.xyz")
    write_config(folder / "tiny.yaml", folder / "frames.xyz", epochs=1)
    assert geqlib(command(folder, 4, 12)) == 0
    return folder


def command(folder: Path, *sizes: int) -> list[str]:
    inputs = ["--config", str(folder / "tiny.yaml"), "--out", str(folder / "out")]
    return ["learning-curve", *inputs, "--sizes", *map(str, sizes)]


@pytest.mark.slow
def test_every_size_is_trained_on_so_many_examples(curve):
    actual = json.loads((curve / "out" / "learning_curve.json").read_text())
    assert [(run["size"], run["seed"]) for run in actual["runs"]] == [(4, 0), (12, 0)]
    assert {"energy_rmse", "forces_rmse"} <= set(actual["shown"])
    for run in actual["runs"]:
        folder = curve / "out" / f"size{run['size']}-seed0"
        results = json.loads((folder / "results.json").read_text())
        assert results["metrics"]["test/forces_rmse"] == run["metrics"]["forces_rmse"]
        config = yaml.safe_load((folder / "config.yaml").read_text())
        assert config["data"]["init_args"]["num_train"] == run["size"]
        # one batch of four, two of five
        steps = json.loads((folder / "fit.json").read_text())["steps"]
        assert steps == {4: 1, 12: 2}[run["size"]]
    assert (curve / "out" / "learning_curve.png").read_bytes().startswith(PNG)


@pytest.mark.slow
def test_finished_runs_are_not_made_again(curve, capsys):
    folders = [curve / "out" / f"size{size}-seed0" for size in (4, 12)]
    before = [(folder / "checkpoints" / "last.ckpt").stat().st_mtime_ns for folder in folders]
    (folders[1] / "results.json").unlink()  # as if it had been stopped after training
    assert geqlib(command(curve, 12, 4)) == 0
    assert [(f / "checkpoints" / "last.ckpt").stat().st_mtime_ns for f in folders] == before
    assert (folders[1] / "results.json").exists()
    shown = capsys.readouterr()
    assert "size12-seed0, 1 of 1" in shown.err and "forces_rmse" in shown.out


@pytest.mark.slow
def test_sizes_that_were_made_otherwise_are_refused(curve, capsys):
    """Other settings, and a file of frames that has changed under the same name."""
    assert geqlib([*command(curve, 4), "--model.lr=0.5"]) == 2
    said = capsys.readouterr().err
    assert "size4-seed0 holds a run that was made otherwise" in said
    assert "model.init_args.lr was 0.001 and is 0.5" in said
    frames = (curve / "frames.xyz").read_bytes()
    write_frames(curve / "frames.xyz", 28)
    try:
        assert geqlib(command(curve, 4)) == 2
    finally:
        (curve / "frames.xyz").write_bytes(frames)
    assert "the data has changed" in capsys.readouterr().err


@pytest.mark.slow
def test_wrong_commands_end_at_once(curve, tmp_path, capsys):
    assert geqlib(command(curve, 0)) == 2
    assert "at least 1" in capsys.readouterr().err
    for option, advice in (
        ("--seed_everything=7", "name seeds by --seeds"),
        ("--data.init_args.num_train=7", "name sizes by --sizes"),
        ("--ckpt_path=last.ckpt", "leave it out"),
    ):
        assert geqlib([*command(curve, 10), option]) == 2
        assert advice in capsys.readouterr().err
    path = tmp_path / "nbody.yaml"
    path.write_text(yaml.safe_dump(nbody()))
    assert geqlib(["learning-curve", "--config", str(path), "--sizes", "10"]) == 2
    assert "NBodyData has no num_train" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_means_over_seeds(tmp_path):
    results = {
        (size, seed): {"energy_mae": 100 / size + seed, "loss": 0.0}
        for size in (10, 100)
        for seed in (0, 1)
    }
    terminal = io.StringIO()
    write_size_curves(tmp_path, results, ["energy_mae"], Console(file=terminal, width=80))
    assert "10.50 ± 0.7071" in terminal.getvalue() and "1.500 ± 0.7071" in terminal.getvalue()
    with pytest.raises(ValueError, match="no metric forces_mae"):
        write_size_curves(tmp_path, results, ["forces_mae"])


def test_metrics_like_the_monitored_one():
    results = {(1, 0): {"energy_rmse": 1.0, "energy_mae": 1.0, "forces_rmse": 1.0, "mse": 1.0}}
    assert like("val/forces_rmse", results) == ["energy_rmse", "forces_rmse"]
    assert like("val/mse", results) == ["mse"]


def test_runs_are_planned_once_and_in_order():
    runs = plan_runs(Path("out"), "c", [], [100, 50, 100], [1, 0, 1])
    names = [run.folder.name for run in runs.values()]
    assert names == ["size50-seed1", "size50-seed0", "size100-seed1", "size100-seed0"]
