"""`geqlib calibrate` and `geqlib select`: factors, likelihoods and choices against definitions."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
import torch
import yaml
from ase.io import read, write
from ase.io.trajectory import Trajectory
from safetensors.torch import load_file
from torch import Tensor

import geqlib
from geqlib.atoms.miscalibration import miscalibration_area
from geqlib.calculators import ExtrapolationAlarm, GeqCalculator
from geqlib.models import CalibratedPotential
from geqlib.train.calibration import (
    RIDGES,
    Squares,
    batches,
    best_ridge,
    calibrate,
    measured,
    principal_directions,
    with_covariance,
)
from geqlib.train.check import task_and_data
from geqlib.train.ensemble import slopes_of
from geqlib.train.selection import greedy, select
from tests.train import tiny
from tests.train.potential import write_config, write_frames


def rows(count: int, size: int = 5, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, size, generator=generator, dtype=torch.float64)


def deviations(training: Tensor, tested: Tensor, ridge: float) -> Tensor:
    """sqrt(f C f) by eigenvectors, as the calibration forms it."""
    eigenvalues, directions = principal_directions(training.split(3))
    return ((tested @ directions).square() @ (1 / (eigenvalues + ridge))).sqrt()


def test_deviations_by_eigenvectors() -> None:
    training, tested = rows(20), rows(4, seed=1)
    inverse = torch.linalg.inv(training.T @ training + 0.3 * torch.eye(5))
    expected = torch.einsum("si,ij,sj->s", tested, inverse, tested).sqrt()
    assert torch.allclose(deviations(training, tested, 0.3), expected, rtol=1e-12)


def test_scales_of_features_and_copies_of_data() -> None:
    training, tested = rows(20), rows(4, seed=1)
    plain = deviations(training, tested, 0.0)
    assert torch.allclose(deviations(7 * training, 7 * tested, 0.0), plain, rtol=1e-10)
    twice = deviations(torch.cat([training, training]), tested, 0.0)
    assert torch.allclose(twice.square(), plain.square() / 2, rtol=1e-10)


def test_features_without_information() -> None:
    with pytest.raises(ValueError, match="not finite, or all 0"):
        principal_directions([torch.zeros(3, 2, dtype=torch.float64)])
    with pytest.raises(ValueError, match="not finite, or all 0"):
        principal_directions([torch.full((3, 2), torch.nan, dtype=torch.float64)])


def test_the_factor_and_the_likelihood() -> None:
    along, variances = rows(50).square(), rows(1, seed=2)[0].square()
    errors = rows(1, 50, seed=3)[0].square()
    squares = Squares(errors, along)
    predicted = squares.factor(variances) ** 2 * (along @ variances)
    assert float((errors / predicted).mean()) == pytest.approx(1)
    normal = torch.distributions.Normal(torch.zeros(50).double(), predicted.sqrt())
    exact = float(normal.log_prob(errors.sqrt()).mean())
    constant = -0.5 * np.log(2 * np.pi) - 0.5
    assert squares.log_likelihood(variances) == pytest.approx(exact - constant)


def test_the_ridge_is_the_likeliest() -> None:
    eigenvalues = torch.tensor([1e-9, 1.0, 2.0], dtype=torch.float64)
    along = rows(400, 3, seed=4).square()
    noise = rows(1, 400, seed=5)[0]
    # errors whose variances have the ridge 1, the mean eigenvalue
    squares = Squares(noise.square() * (along @ (1 / (eigenvalues + 1.0))), along)
    ridge = best_ridge(eigenvalues, [squares])
    assert ridge == pytest.approx(1.0)
    mean = float(eigenvalues.mean())
    values = [squares.log_likelihood(1 / (eigenvalues + mean * s)) for s in RIDGES]
    assert squares.log_likelihood(1 / (eigenvalues + ridge)) == max(values)


def test_miscalibration_areas() -> None:
    normal = rows(1, 20_000)[0]
    assert miscalibration_area(normal) < 0.01
    # P(|x| < q / 2) against P(|x| < q), averaged over probabilities
    levels = (np.arange(2000) + 0.5) / 2000
    quantiles = torch.erfinv(torch.tensor(levels)).numpy()
    expected = np.mean(levels - torch.erf(torch.tensor(quantiles / 2)).numpy())
    assert miscalibration_area(2 * normal) == pytest.approx(expected, abs=0.01)
    assert miscalibration_area(torch.zeros(5)) == pytest.approx(0.5)


def test_greedy_choices_are_those_of_the_definition() -> None:
    white = rows(12, 4, seed=6)
    numbers, variances = greedy(white, 6)
    chosen: list[int] = []
    for number, variance in zip(numbers, variances, strict=True):
        taken = white[chosen]
        inverse = torch.linalg.inv(torch.eye(4) + taken.T @ taken)
        each = torch.einsum("si,ij,sj->s", white, inverse, white)
        each[chosen] = -1
        assert number == int(each.argmax()) and variance == pytest.approx(float(each[number]))
        chosen.append(number)
    assert sorted(greedy(white, 12)[0]) == list(range(12))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("calibrated")
    write_frames(folder / "train.xyz")
    config = write_config(folder / "run.yaml", folder / "train.xyz")
    place = ["--trainer.default_root_dir", str(folder / "run")]
    assert tiny.geqlib(["fit", "--config", str(config), *place]) == 0
    assert tiny.geqlib(["calibrate", str(folder / "run")]) == 0
    return folder


def test_a_run_is_calibrated_and_used(run: Path) -> None:
    file = run / "run" / "checkpoints" / "calibrated.ckpt"
    model = geqlib.load(file)
    assert isinstance(model, CalibratedPotential) and model.calibrated
    before = geqlib.load(run / "run")
    frames = read(run / "train.xyz", ":")
    atoms = frames[3]
    atoms.calc = GeqCalculator(file, dtype=torch.float64)
    plain = atoms.copy()
    plain.calc = GeqCalculator(before, dtype=torch.float64)
    assert np.allclose(atoms.get_forces(), plain.get_forces(), rtol=0, atol=1e-12)
    forces = atoms.calc.get_property("forces_std", atoms)
    energy = atoms.calc.get_property("energy_std", atoms)
    assert forces.shape == (len(atoms),) and energy > 0

    out = run / "predicted.xyz"
    assert tiny.geqlib(["predict", str(file), str(run / "train.xyz"), "--out", str(out)]) == 0
    written = read(out, "3")
    assert np.allclose(written.arrays["forces_std"], forces, rtol=1e-3)
    assert written.info["energy_std"] == pytest.approx(energy, rel=1e-3)


def test_the_factors_make_validation_errors_right_on_average(run: Path) -> None:
    predictor = geqlib.load_predictor(run / "run" / "checkpoints" / "calibrated.ckpt")
    data = predictor.data()
    data.prepare_data()
    data.setup("fit")
    split = data.splits["val"]
    batch = split.__getitems__(range(len(split)))
    outputs = predictor(batch)
    energy = (outputs["energy"] - batch.energy) / outputs["energy_std"]
    forces = (outputs["forces"] - batch.forces) / outputs["forces_std"][:, None]
    assert float(energy.square().mean()) == pytest.approx(1, rel=1e-3)
    assert float(forces.double().square().mean()) == pytest.approx(1, rel=1e-3)


@pytest.mark.slow
def test_the_report_shows_reliability(run: Path, tmp_path: Path) -> None:
    """The table's numbers are those of the predictions, which the calibrated checkpoint leaves."""
    folder = run / "run"
    file = folder / "checkpoints" / "calibrated.ckpt"
    assert tiny.geqlib(["predict", str(file)]) == 0
    arrays = load_file(folder / "predictions.safetensors")
    assert arrays["forces_std"].shape == arrays["batch"].shape
    assert tiny.geqlib(["report", str(folder), "--test", "--out", str(tmp_path / "report")]) == 0
    page = (tmp_path / "report" / "report.md").read_text()
    error = (arrays["forces"] - arrays["forces_true"]) / arrays["forces_std"][:, None]
    area = miscalibration_area(error.numpy().ravel())
    (line,) = [x for x in page.splitlines() if x.startswith("| Force (meV/Å)")]
    assert line.split("|")[-2].strip() == f"{area:.3f}"
    assert (tmp_path / "report" / "reliability.png").exists()


@pytest.mark.slow
def test_commands_of_the_page(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "uncertainty.md").read_text()
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run / "run", "runs/water")
    Path("runs", "water", "checkpoints", "calibrated.ckpt").unlink()
    for name in ("new.xyz", "pool.xyz"):
        shutil.copy(run / "train.xyz", name)
    blocks = re.findall(r"^```sh\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    for line in "".join(blocks).splitlines():
        program, *words = shlex.split(line, comments=True)
        assert program == "geqlib" and tiny.geqlib(words) == 0, line
    assert len(read("to_label.xyz", ":")) == 5 and Path("predicted.xyz").exists()


def test_commands_of_dynamics(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "simulation.md").read_text()
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run / "run", "runs/water")
    molecules: Any = read(run / "train.xyz", "1::2")
    write("water.xyz", molecules[:2])
    (block,) = re.findall(r"^```sh\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    for line in block.splitlines():
        program, *words = shlex.split(line.replace("--steps 200", "--steps 20"))
        assert program == "geqlib" and tiny.geqlib(words) in (0, 1), line
    with Trajectory("warm.traj") as trajectory:
        assert len(trajectory) == 3
    assert len(read("relaxed.xyz", ":")) == 2
    capsys.readouterr()
    calibrated = "runs/water/checkpoints/calibrated.ckpt"
    words = ["md", calibrated, "water.xyz", "--out", "a.traj", "--steps", "20"]
    assert tiny.geqlib([*words, "--limit", "1e-9"]) == 2
    assert "is uncertain by" in capsys.readouterr().err
    assert tiny.geqlib([*words, "--temperature", "10"]) == 2
    assert "temperature was 300.0 and is 10.0" in capsys.readouterr().err
    assert tiny.geqlib(["relax", "runs/water", "water.xyz", "--out", "water.xyz"]) == 2
    assert "is the file itself" in capsys.readouterr().err


def test_an_alarm_stops_dynamics(run: Path) -> None:
    atoms = read(run / "train.xyz", "3")
    with pytest.raises(ValueError, match="has no standard deviations"):
        ExtrapolationAlarm(atoms, 1.0)
    atoms.calc = GeqCalculator(run / "run" / "checkpoints" / "calibrated.ckpt")
    with pytest.raises(ValueError, match="limit must be positive"):
        ExtrapolationAlarm(atoms, 0.0)
    largest = float(atoms.calc.get_property("forces_std", atoms).max())
    ExtrapolationAlarm(atoms, 1.01 * largest)()
    with pytest.raises(ValueError, match="is uncertain by"):
        ExtrapolationAlarm(atoms, 0.99 * largest)()


def test_structures_are_selected(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(run / "run" / "checkpoints" / "calibrated.ckpt")
    source, out = str(run / "pool.xyz"), str(run / "selected.xyz")
    pool: Any = read(run / "train.xyz", ":")
    for atoms in pool:  # without labels
        atoms.info, atoms.calc = {}, None
        del atoms.arrays["F"]
    write(source, pool)
    assert tiny.geqlib(["select", model, source, "--count", "4", "--out", out]) == 0
    chosen, all_frames = read(out, ":"), read(source, ":")
    assert len(chosen) == 4
    for atoms in chosen:
        assert np.allclose(atoms.positions, all_frames[atoms.info["index"]].positions)
    assert len({atoms.info["index"] for atoms in chosen}) == 4
    pool[1].numbers[0] = 79
    write(run / "gold.xyz", pool)
    gold = str(run / "gold.xyz")
    for words, sentence in (
        ((model, source, "--count", "99", "--out", out), "--count is 99, but"),
        ((model, source, "--count", "0", "--out", out), "structures: choose 1 to"),
        ((model, gold, "--count", "1", "--out", out), "Frame 1 of the test split: atom 0 is Au"),
        ((str(run / "run"), source, "--count", "1", "--out", out), "has no covariance"),
        ((model, source, "--count", "1", "--out", source), "is the file itself"),
        ((model, source, "--count", "1", "--out", "a.csv"), "should end in .xyz"),
    ):
        assert tiny.geqlib(["select", *words]) == 2
        assert sentence in capsys.readouterr().err


def test_what_cannot_be_calibrated(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(run / "run")
    out = ["--out", str(run / "other.ckpt")]
    assert tiny.geqlib(["calibrate", folder, *out, "--last", "nothing"]) == 2
    assert "has no parameter nothing" in capsys.readouterr().err
    assert tiny.geqlib(["calibrate", folder, *out, "--ridge", "-1"]) == 2
    assert "--ridge must not be negative" in capsys.readouterr().err
    best = run / "run" / "checkpoints" / "best.ckpt"
    content = best.read_bytes()
    assert tiny.geqlib(["calibrate", folder, "--out", str(best)]) == 2
    assert "is the model itself: name another file" in capsys.readouterr().err
    assert best.read_bytes() == content
    calibrated = str(best.with_name("calibrated.ckpt"))
    assert tiny.geqlib(["calibrate", calibrated]) == 2  # would be its own result
    assert "is the model itself: name another file" in capsys.readouterr().err
    config = yaml.safe_load((run / "run" / "config.yaml").read_text())
    assert config["model"]["class_path"].endswith("EnergyForces")
    assert not (run / "other.ckpt").exists()


def test_exported_models_are_refused_with_what_to_name(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of both kinds: a model, and a program, of which the name of one entry is enough."""
    model, program = tmp_path / "exported.geqlib", tmp_path / "exported.pt2"
    best = str(run / "run" / "checkpoints" / "best.ckpt")
    assert tiny.geqlib(["export", best, "--out", str(model)]) == 0
    with ZipFile(program, "w") as archive:
        archive.writestr("exported/archive_format", "pt2")
    for file in (model, program):
        assert tiny.geqlib(["calibrate", str(file)]) == 2
        said = f"geqlib: error: {file} is an exported model, which does not say what structures"
        error = capsys.readouterr().err
        assert error.startswith(said) and "calibrate the folder or a checkpoint of its run" in error


@pytest.mark.parametrize("key", ["energy_key", "forces_key"])
def test_a_run_without_one_of_the_labels(run: Path, key: str) -> None:
    """The batches have no such array."""
    task, data = task_and_data(run / "run")
    other: Any = type(data)(**{**data.hparams, key: None})
    other.setup("fit")
    potential = with_covariance(task.model)  # pyright: ignore[reportArgumentType]
    label = key.removesuffix("_key")
    with pytest.raises(ValueError, match=f"No validation structure has a label for {label}"):
        measured(potential, torch.eye(8, dtype=torch.float64), other)
    slopes = slopes_of(potential, batches(other, "train", 4), 0)
    absent, there = slopes.energy, slopes.force
    if label == "forces":
        absent, there = there, absent
    assert absent.isnan().all() and there.isfinite().all()


@pytest.mark.slow
def test_batches_that_do_not_fit_into_memory(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calibration and selection have the same results with little memory."""
    frames = tmp_path / "frames.xyz"
    write_frames(frames, 18)
    calibrate(run / "run", tmp_path / "whole.ckpt")
    whole = select(tmp_path / "whole.ckpt", frames, 4)[:2]
    for name in ("features", "along"):
        method = getattr(CalibratedPotential, name)

        def little(self: Any, *args: Any, method: Any = method, **fields: Any) -> Any:
            if fields["num_graphs"] > 2:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return method(self, *args, **fields)

        monkeypatch.setattr(CalibratedPotential, name, little)
    with pytest.warns(UserWarning, match="do not fit into the memory"):
        calibrate(run / "run", tmp_path / "parts.ckpt")
        parts = select(tmp_path / "parts.ckpt", frames, 4)[:2]
    assert list(parts[0]) == list(whole[0])
    np.testing.assert_allclose(np.array(parts[1]), np.array(whole[1]), rtol=1e-6)
