"""Energies of atoms in closed form: against the normal equations, and in training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from geqlib.data import MoleculeData
from geqlib.models import GauntNet, Potential, energy_forces
from geqlib.report.runs import read_history
from geqlib.train import EnergyForces
from geqlib.train.fine_tuning.energy_refit import (
    Residuals,
    refit_statistics,
    residuals,
    some_frames,
)
from geqlib.train.run import Run, fit
from geqlib.train.tasks.references import fit_statistics, summarise
from tests.atoms.atoms import fields, system
from tests.train.potential import write_frames

SMALL: dict[str, Any] = {"channels": 2, "degree": 1, "order": 2, "layers": 1, "cutoff": 3.0}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("refit") / "frames.xyz"
    write_frames(path, 14)
    return path


def structures(file: Path) -> Any:
    data = MoleculeData(file, 0, energy_key="E", forces_key="F", cutoff=3.0)
    data.setup("fit")
    return data.splits["train"]


def potential() -> Potential:
    torch.manual_seed(0)
    model = Potential(GauntNet(["H", "C", "O"], **SMALL))
    table = torch.linspace(-5, 5, 119, dtype=torch.float64)
    model.statistics.set(table, torch.ones(119, dtype=torch.bool), 2.0, 0.5)
    return model


def test_residuals_are_labels_minus_predictions(file: Path) -> None:
    model, train = potential(), structures(file)
    batch = train.__getitems__(range(14))
    rest = residuals(model, train, range(14))
    one = fields(batch.pos, batch.z, batch.cell, batch.batch)
    expected = batch.energy - model(**one).total.detach()
    assert np.abs(rest.energies - expected.numpy()).max() < 1e-4
    assert (
        rest.counts.sum() == batch.num_nodes and rest.counts[:, [1, 6, 8]].sum() == batch.num_nodes
    )


def test_energies_of_elements_solve_the_normal_equations(file: Path) -> None:
    model, train = potential(), structures(file)
    before = residuals(model, train, range(14))
    pos, z, _ = system(5, periodic=False)
    forces = energy_forces(model, **fields(pos.float(), z))["forces"]
    refit_statistics(model, [train], elements=True)
    after = residuals(model, train, range(14))
    atoms = before.counts.sum(1)
    shares = before.counts[:, [1, 6, 8]] / atoms[:, None]
    each = before.energies / atoms
    solved = np.linalg.inv(shares.T @ shares) @ shares.T @ each
    assert np.abs(after.energies / atoms - (each - shares @ solved)).max() < 1e-5
    assert np.abs(shares.T @ (after.energies / atoms)).max() < 1e-5
    assert torch.equal(energy_forces(model, **fields(pos.float(), z))["forces"], forces)


def test_a_shift_leaves_the_energies_of_elements(file: Path) -> None:
    model, train = potential(), structures(file)
    table = model.statistics.references.clone()
    refit_statistics(model, [train], elements=False)
    rest = residuals(model, train, range(14))
    assert abs((rest.energies / rest.counts.sum(1)).mean()) < 1e-5
    assert torch.equal(model.statistics.references, table)


def test_directions_in_which_compositions_hardly_differ_are_left_out() -> None:
    """One frame with an atom more, whose error would be that atom's energy."""
    counts = np.zeros((50, 119))
    counts[:, 1], counts[:, 8] = 400, 200
    counts[7, 8] = 201
    energies = np.full(50, 60.0)
    energies[7] += 3.0
    rest = Residuals(counts, energies)
    careful, all_of_it = (rest.references(rcond)[[1, 8]] for rcond in (1e-2, 1e-12))
    assert np.abs(careful).max() < 0.2 < 2 < np.abs(all_of_it).max()


def test_frames_are_spread_and_have_every_element() -> None:
    counts = np.zeros((1000, 119))
    counts[:, 6] = 1
    counts[501:504, 7] = 1
    assert {501, 502, 503} <= set(some_frames(1000, counts)) and len(some_frames(1000)) == 256
    assert some_frames(1000)[0] == 0 and some_frames(1000)[-1] == 999


def test_validation_begins_with_it(file: Path, tmp_path: Path) -> None:
    """With averaged weights, which are validated and saved: no element leaves a residual."""
    left, forces = [], []
    for refit in (False, True):
        torch.manual_seed(0)
        task = EnergyForces(GauntNet(["H", "C", "O"], **SMALL), refit=refit, lr=1e-2)
        data = MoleculeData(file, 4, energy_key="E", forces_key="F")
        options = {"default_root_dir": tmp_path / str(refit), "max_epochs": 1, "accelerator": "cpu"}
        run = Run(task, data, options | {"enable_progress_bar": False}, ema=0.5, monitor="val/loss")
        fit(run)  # which leaves the averaged weights in the task
        rest = residuals(task.model.eval(), data.splits["train"], range(10))
        atoms = rest.counts.sum(1)
        left.append(np.abs((rest.counts / atoms[:, None]).T @ (rest.energies / atoms)).max())
        forces.append(read_history(run.folder)["val/forces_rmse"][-1, 1])
    assert left[1] < 1e-3 * left[0]
    assert forces[0] == forces[1]


def test_keep_needs_a_model_to_begin_with(file: Path) -> None:
    with pytest.raises(ValueError, match="this run begins with none"):
        fit_statistics(summarise([structures(file)]), "keep")
