"""Ensembles of last layers: likelihoods against their definition, training, the command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from ase import Atoms
from ase.io import read, write
from torch import Tensor

import geqlib
from geqlib.calculators import GeqCalculator
from geqlib.models import CalibratedPotential
from geqlib.train import ensemble
from geqlib.train.calibration import batches, calibrate, with_covariance
from geqlib.train.check import task_and_data
from geqlib.train.ensemble import Slopes, centred, mean_log_likelihood, slopes_of, train_members
from tests.train import tiny
from tests.train.potential import config, write_frames


def normal(*size: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*size, generator=generator, dtype=torch.float64)


def test_the_likelihood_is_the_greatest_of_all_factors() -> None:
    errors, variances = normal(50), normal(50, seed=1).square()
    errors[3] = torch.nan
    variances[7] = 0.0
    used = [k for k in range(50) if k not in (3, 7)]

    def logarithm(factor: float) -> float:
        deviations = (factor * variances[used]).sqrt()
        exact = torch.distributions.Normal(torch.zeros(48).double(), deviations)
        return float(exact.log_prob(errors[used]).mean())

    best = float((errors[used].square() / variances[used]).mean())
    value = float(mean_log_likelihood(errors.square(), variances))
    assert value == pytest.approx(logarithm(best) + 0.5 * np.log(2 * np.pi) + 0.5)
    assert logarithm(best) > max(logarithm(0.9 * best), logarithm(1.1 * best))
    assert float(mean_log_likelihood(torch.full((2,), torch.nan), torch.ones(2))) == 0


def slopes(structures: int, atoms: int, size: int, layers: Tensor, seed: int) -> Slopes:
    """Errors that are drawn with the variances of these layers."""
    energies = normal(structures, size, seed=seed)
    forces = normal(atoms, 3, size, seed=seed + 1)
    spread = layers.size(1) - 1
    energy = (energies @ layers).square().sum(1) / spread
    each = (forces @ layers).square().sum(2).mean(1) / spread
    errors = normal(structures, seed=seed + 2), normal(atoms, 3, seed=seed + 3)
    return Slopes(errors[0] * energy.sqrt(), energies, errors[1] * each.sqrt()[:, None], forces)


def test_the_likelihood_of_an_ensemble() -> None:
    """Against loops; labels may be missing."""
    layers = centred(normal(4, 3, seed=9))
    labelled = slopes(5, 6, 4, layers, 0)
    labelled.energy[2] = torch.nan
    labelled.force[1, 0] = torch.nan
    energies = [(i, labelled.energies[i]) for i in range(5) if i != 2]
    forces = [(i, x) for i in range(6) for x in range(3) if (i, x) != (1, 0)]

    def variance(features: Tensor) -> float:
        return float(np.var([float(features @ layers[:, k]) for k in range(3)], ddof=1))

    of_atoms = [np.mean([variance(labelled.forces[i, x]) for x in range(3)]) for i in range(6)]
    expected = 0.0
    for squares, variances in (
        (
            [float(labelled.energy[i]) ** 2 for i, _ in energies],
            [variance(f) for _, f in energies],
        ),
        ([float(labelled.force[i, x]) ** 2 for i, x in forces], [of_atoms[i] for i, _ in forces]),
    ):
        factor = np.mean(np.divide(squares, variances))
        expected -= (np.mean(np.log(variances)) + np.log(factor)) / 2
    assert float(labelled.log_likelihood(layers)) == pytest.approx(expected)
    turn = normal(4, 4, seed=5)
    assert float(labelled.turned(turn).log_likelihood(layers)) == pytest.approx(
        float(labelled.log_likelihood(turn @ layers))
    )


@pytest.mark.slow
def test_training_reaches_the_likelihood_of_the_truth() -> None:
    """Errors of an ensemble that varies along two of six directions."""
    truth = centred(
        normal(6, 8, seed=3) * torch.tensor([3, 2, 0.1, 0.1, 0.1, 0.1]).double()[:, None]
    )
    train, val, test = (slopes(300, 300, 6, truth, 10 * k) for k in (1, 2, 3))
    whitening = torch.eye(6, dtype=torch.float64)
    members = train_members(train, val, whitening, 8, seed=0)
    start = centred(normal(6, 8))
    before, after, best = (float(test.log_likelihood(x)) for x in (start, members, truth))
    assert before < best - 0.3 and after > best - 0.05
    assert float(members.sum(1).abs().max()) < 1e-12
    assert torch.equal(members, train_members(train, val, whitening, 8, seed=0))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with isolated atoms, also in validation."""
    folder = tmp_path_factory.mktemp("ensemble")
    frames = write_frames(folder / "train.xyz", 24)
    for k in range(12):
        atoms = Atoms([int(frames[0].numbers[k % 3])], [[0.0, 0, 0]])
        atoms.info["E"], atoms.arrays["F"] = 0.0, np.zeros((1, 3))
        frames.append(atoms)
    write(folder / "train.xyz", frames, format="extxyz")
    settings: Any = config(folder / "train.xyz")
    (folder / "run.yaml").write_text(yaml.safe_dump(settings))
    place = ["--trainer.default_root_dir", str(folder / "run")]
    assert tiny.geqlib(["fit", "--config", str(folder / "run.yaml"), *place]) == 0
    return folder


@pytest.mark.slow
def test_an_ensemble_of_a_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = run / "ensemble.ckpt"
    words = ["calibrate", str(run / "run"), "--out", str(file)]
    assert tiny.geqlib([*words, "--ensemble", "1"]) == 2
    assert "--ensemble must be at least 2 members, got 1" in capsys.readouterr().err
    assert not file.exists()
    assert tiny.geqlib([*words, "--ensemble", "4"]) == 0
    assert "mean log-likelihood" in capsys.readouterr().out
    model = geqlib.load(file)
    assert isinstance(model, CalibratedPotential) and model.members == 4
    assert model.covariance.whitening.shape == (8, 4)

    frames: Any = read(run / "train.xyz", ":")
    atoms, plain = frames[3], frames[3].copy()
    atoms.calc = GeqCalculator(file, dtype=torch.float64)
    plain.calc = GeqCalculator(run / "run", dtype=torch.float64)
    assert np.allclose(atoms.get_forces(), plain.get_forces(), rtol=0, atol=1e-12)
    out = run / "predicted.xyz"
    assert tiny.geqlib(["predict", str(file), str(run / "train.xyz"), "--out", str(out)]) == 0
    written: Any = read(out, "3")
    forces = atoms.calc.get_property("forces_std", atoms)
    assert forces.min() > 0 and np.allclose(written.arrays["forces_std"], forces, rtol=1e-3)
    energy = atoms.calc.get_property("energy_std", atoms)
    assert written.info["energy_std"] == pytest.approx(energy, rel=1e-3)

    # it begins another run as the potential that it is
    place = ["--trainer.default_root_dir", str(run / "tuned"), "--model.lr", "1e-4"]
    words = ["fit", "--config", str(run / "run.yaml"), "--init", str(file)]
    assert tiny.geqlib([*words, *place, "--trainer.max_epochs", "1"]) == 0


@pytest.mark.slow
def test_factors_of_an_ensemble(run: Path) -> None:
    """Squared validation errors are on average what is predicted, isolated atoms left out."""
    file = run / "factors.ckpt"
    done = calibrate(run / "run", file, members=6)
    predictor = geqlib.load_predictor(file)
    data: Any = predictor.data()
    data.prepare_data()
    data.setup("fit")
    split = data.splits["val"]
    batch = split.__getitems__(range(len(split)))
    outputs = predictor(batch)
    atoms = outputs["forces_std"] > 0
    assert bool(atoms.any()) and not bool(atoms.all())
    forces = ((outputs["forces"] - batch.forces) / outputs["forces_std"][:, None])[atoms]
    assert float(forces.double().square().mean()) == pytest.approx(1, rel=1e-3)
    expected = -float(outputs["forces_std"][atoms].log().mean())
    assert done.likelihoods[1] == pytest.approx(expected, rel=1e-3)


def test_slopes_are_of_as_many_atoms_as_fit(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A random share of the atoms of each batch, and all structures."""
    task, data = task_and_data(run / "run")
    data.prepare_data()
    data.setup("fit")
    potential: Any = with_covariance(task.model)  # pyright: ignore[reportArgumentType]
    monkeypatch.setattr("geqlib.train.calibration.AT_ONCE", 4)
    whole = slopes_of(potential, batches(data, "train"), 0)
    atoms, size = len(whole.force), whole.energies.size(1)
    monkeypatch.setattr(ensemble, "NUMBERS", 3 * size * (atoms // 3))
    part = slopes_of(potential, batches(data, "train"), 0)
    assert torch.equal(part.energies, whole.energies)
    assert atoms / 8 < len(part.force) <= atoms // 3
    of_whole = {tuple(row.flatten().tolist()) for row in whole.forces}
    assert {tuple(row.flatten().tolist()) for row in part.forces} <= of_whole
    few = list(batches(data, "train", 5))
    assert sum(batch.num_graphs for batch in few) == 5
