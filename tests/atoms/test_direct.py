"""Potentials with forces that are no derivatives: trained by configuration, marked everywhere."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from ase.calculators.calculator import PropertyNotImplementedError
from ase.io import read

import geqlib
from geqlib.atoms.network import shift_of_edges
from geqlib.calculators import GeqCalculator, MLIAPModel
from geqlib.calculators.model_checks import check_potential
from geqlib.files.export import export_program
from geqlib.models import (
    DirectPotential,
    EScAIP,
    GauntNet,
    Potential,
    compiled_energy_forces,
    energy_forces,
)
from geqlib.train import EnergyForces
from tests.atoms.atoms import CUTOFF, batch
from tests.train import tiny
from tests.train.potential import config, write_frames

SMALL: dict[str, Any] = {"channels": 8, "layers": 1, "heads": 1, "gaussians": 4, "k": 5}
SMALL |= {"cutoff": CUTOFF, "bond_degree": 2, "bond_features": 2, "direct_forces": True}
SAID = "not conservative"


def potential() -> DirectPotential:
    torch.manual_seed(0)
    direct = DirectPotential(EScAIP(2, **SMALL)).double()
    direct.statistics.set(torch.arange(119.0).double(), torch.ones(119).bool(), 1.7, 0.3)
    return direct


def test_forces_are_those_of_the_network() -> None:
    """With the scale of the energies, whose derivatives they are not; energies are as ever."""
    direct = potential()
    tensors = batch((4, 1, 3), (True, False, False))
    out = energy_forces(direct, **tensors)
    shift = shift_of_edges(
        tensors["cell"], tensors["cell_shift"], tensors["batch"], tensors["edge_index"][1]
    )
    x = direct.embedding(tensors["z"])  # pyright: ignore[reportOptionalCall]
    scalars, vectors = direct.model(tensors["pos"], tensors["edge_index"], x, shift)
    assert torch.allclose(out["forces"], 1.7 * vectors[:, 0], rtol=1e-12)
    atoms = 1.7 * scalars[:, 0] + 0.3 + tensors["z"]
    assert torch.allclose(out["energies"], atoms, rtol=1e-12)
    pos = tensors["pos"].clone().requires_grad_()
    slopes = torch.autograd.grad(-direct(**tensors | {"pos": pos}).total.sum(), pos)[0]
    assert (slopes - out["forces"]).abs().max() > 1e-3


def test_what_needs_derivatives_is_refused(tmp_path: Path) -> None:
    direct, tensors = potential(), batch((3,), (False,))
    with pytest.raises(ValueError, match="has no stress, because its forces are no derivatives"):
        energy_forces(direct, **tensors, stress=True)
    for what in (
        lambda: compiled_energy_forces(direct),
        lambda: export_program(direct, tmp_path / "a.pt2"),
        lambda: MLIAPModel(direct, ["H"]),
        lambda: EnergyForces(direct, compile=True),
        lambda: GeqCalculator(direct, cuda_graphs=True),
        lambda: GeqCalculator(direct, rotations=2),
        lambda: GeqCalculator(direct).get_hessian(),
    ):
        sentence = pytest.raises(ValueError, match="are derivatives of an energy, and the forces")
        with warnings.catch_warnings(), sentence:
            warnings.simplefilter("ignore")
            what()
    with pytest.raises(
        ValueError, match=r"stress_weight is 1\.0, but this potential has no stress"
    ):
        EnergyForces(direct, stress_weight=1.0)
    with pytest.raises(ValueError, match="GauntNet has no direct forces: build it with"):
        DirectPotential(GauntNet(["H"], channels=1, degree=0, order=1, layers=1))
    with pytest.raises(ValueError, match=r"or use geqlib\.models\.DirectPotential"):
        Potential(EScAIP(2, **SMALL))


@pytest.mark.slow
def test_a_run_says_that_its_forces_are_not_conservative(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Warnings, the calculator, the checks and the report; errors fall, and the check fails."""
    write_frames(tmp_path / "train.xyz")
    settings = config(tmp_path / "train.xyz", epochs=3)
    network = {"class_path": "geqlib.models.EScAIP", "init_args": {"in_scalars": 4, **SMALL}}
    direct = {"class_path": "geqlib.models.DirectPotential", "init_args": {"model": network}}
    settings["model"]["init_args"] |= {"model": direct, "rotate": True, "lr": 1e-2}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(settings))
    run = tmp_path / "run"
    words = ["--config", str(tmp_path / "run.yaml"), "--trainer.default_root_dir", str(run)]
    with pytest.warns(UserWarning, match=SAID):
        assert tiny.geqlib(["fit", *words]) == 0
    best = run / "checkpoints" / "best.ckpt"
    with pytest.warns(UserWarning, match=SAID):
        assert tiny.geqlib(["test", *words, "--ckpt_path", str(best)]) == 0
    errors = np.loadtxt(run / "metrics" / "version_0" / "metrics.csv", str, delimiter=",")
    column = list(errors[0]).index("val/forces_rmse")
    values = [float(row[column]) for row in errors[1:] if row[column]]
    assert min(values) < values[0]

    loaded = geqlib.load(best)
    assert isinstance(loaded, DirectPotential)
    frames: Any = read(tmp_path / "train.xyz", ":")
    atoms = frames[0]
    with pytest.warns(UserWarning, match=SAID):
        atoms.calc = GeqCalculator(best, dtype=torch.float64)
    assert atoms.get_forces().shape == (len(atoms), 3) and not atoms.calc.conservative
    assert "stress" not in atoms.calc.results
    with pytest.raises(PropertyNotImplementedError, match="no stress, because its forces are no"):
        atoms.get_stress()
    with pytest.raises(
        PropertyNotImplementedError, match="no forces_std, as it was not calibrated"
    ):
        atoms.calc.get_property("forces_std", atoms)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows = {row.name: row for row in check_potential(best, [frames[1]])}
    assert rows["forces are derivatives"].passed is False
    assert SAID in rows["forces are derivatives"].reason
    assert rows["forces against differences of the energy"].passed is False
    assert "are derivatives of an energy" in rows["exported against eager"].reason
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert tiny.geqlib(["calibrate", str(run)]) == 2
        assert "Deviations of forces are derivatives" in capsys.readouterr().err
        assert tiny.geqlib(["check", str(best), "--samples", "2"]) == 0
        assert SAID in " ".join(capsys.readouterr().out.split())
        assert tiny.geqlib(["report", str(run), "--out", str(tmp_path / "report")]) == 0
    page = (tmp_path / "report" / "report.md").read_text()
    assert page.count("run (forces not conservative)") >= 3  # the title and two tables
