"""Errors by element, by configuration type and of the worst structures."""

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from rich.console import Console
from safetensors.numpy import save_file

from geqlib.report import write_report
from geqlib.report.structures import (
    errors_by_element,
    errors_by_type,
    structure_errors,
    worst_structures,
)
from tests.report.test_report import PNG, write_run

FORMULAS = ("H2O", "CH4", "H2O", "CuAu3")
TYPES = ("water", "methane", "water", "alloy")


def structures():
    rng = np.random.default_rng(0)
    frames = []
    for k, (formula, name) in enumerate(zip(FORMULAS, TYPES, strict=True)):
        atoms = Atoms(formula)
        atoms.positions = rng.normal(size=(len(atoms), 3))
        atoms.info |= {"index": 10 + k, "config_type": name}
        if name == "alloy":
            atoms.cell, atoms.pbc = 4 * np.eye(3), True
        frames.append(atoms)
    return frames


def arrays():
    rng = np.random.default_rng(1)
    sizes = [len(atoms) for atoms in structures()]
    batch = np.repeat(np.arange(4), sizes)
    true = rng.normal(size=(len(batch), 3))
    energy = rng.normal(size=4)
    return {
        "batch": batch,
        "index": np.arange(10, 14),
        "energy_true": energy,
        "energy": energy + np.array(sizes) * [0.001, -0.002, 0.003, 0.004],
        "forces_true": true,
        "forces": true + rng.normal(size=true.shape) * 0.1,
    }


def rows(table):
    return {row[0]: row[1:] for row in table.rows}


def test_errors_by_element_and_type():
    """Against a loop over atoms."""
    inputs, frames = arrays(), structures()
    errors = structure_errors(inputs, frames)
    difference = 1000 * (inputs["forces"] - inputs["forces_true"])
    symbols = [s for atoms in frames for s in atoms.get_chemical_symbols()]
    own = np.array([d for s, d in zip(symbols, difference, strict=True) if s == "H"])
    table = rows(errors_by_element(errors))
    assert set(table) == {"H", "O", "C", "Cu", "Au"}
    assert table["H"][0] == "8"
    assert float(table["H"][1]) == pytest.approx(np.abs(own).mean(), rel=5e-3)
    assert float(table["H"][2]) == pytest.approx(np.sqrt((own**2).mean()), rel=5e-3)
    assert float(table["H"][3]) == pytest.approx(max(np.sqrt((own**2).sum(1))), rel=5e-3)
    kinds = rows(errors_by_type(errors))
    assert kinds["water"][0] == "2" and float(kinds["water"][1]) == pytest.approx(2.0)
    water = difference[np.isin(inputs["batch"], (0, 2))]
    assert float(kinds["water"][3]) == pytest.approx(np.abs(water).mean(), rel=5e-3)


def test_the_worst_come_first():
    inputs = arrays()
    inputs["forces"][inputs["batch"] == 2] = inputs["forces_true"][inputs["batch"] == 2]
    inputs["forces"][4] += 5.0  # the second atom of the second structure: C H H H H
    errors = structure_errors(inputs, structures())
    table = worst_structures(errors)
    assert table.rows[0][:3] == ("11", "CH4", "methane") and table.rows[0][-1] == "H 1"
    assert table.rows[-1][0] == "12" and float(table.rows[-1][4]) == 0
    assert float(table.rows[0][3]) == pytest.approx(-2.0, rel=5e-3)


def test_without_forces_or_types():
    inputs = {k: v for k, v in arrays().items() if "forces" not in k}
    frames = structures()
    for atoms in frames:
        del atoms.info["config_type"]
    errors = structure_errors(inputs, frames)
    assert errors_by_element(errors) is None and errors_by_type(errors) is None
    assert [row[0] for row in worst_structures(errors).rows] == ["13", "12", "11", "10"]
    assert "type" not in worst_structures(errors).header


def test_missing_labels_and_infinite_predictions():
    inputs = arrays()
    inputs["energy_true"][0] = np.nan
    inputs["forces"][:3] = np.inf
    errors = structure_errors(inputs, structures())
    assert [row[0] for row in worst_structures(errors).rows][-1] != "10"
    assert rows(errors_by_element(errors))["O"][0] == "1"


def write_xyz(folder, frames):
    for atoms in frames:
        atoms.calc = SinglePointCalculator(atoms, energy=0.0, forces=np.zeros((len(atoms), 3)))
    write(folder / "predictions.xyz", frames, format="extxyz")


def test_the_report_shows_them(tmp_path):
    folder = write_run(tmp_path, "potential")
    save_file(arrays(), folder / "predictions.safetensors")
    write_xyz(folder, structures())
    page = write_report([folder], tmp_path / "out", Console(quiet=True)).read_text()
    for heading in ("By element", "By configuration type", "Structures with the largest errors"):
        assert f"### {heading}" in page
    assert "(structures.png)" in page
    assert (tmp_path / "out" / "structures.png").read_bytes().startswith(PNG)


def test_structures_that_do_not_fit(tmp_path):
    folder = write_run(tmp_path, "potential")
    save_file(arrays(), folder / "predictions.safetensors")
    write_xyz(folder, structures()[:3])
    with pytest.raises(ValueError, match="has other structures than were predicted: predict again"):
        write_report([folder], tmp_path / "out", Console(quiet=True))
    frames = structures()
    frames[0].positions[0] = np.nan
    write_xyz(folder, frames)
    with pytest.raises(ValueError, match="has other structures than were predicted: predict again"):
        write_report([folder], tmp_path / "out", Console(quiet=True))
    (folder / "predictions.xyz").write_text("nothing\n")
    with pytest.raises(ValueError, match=r"predictions.xyz is no extended XYZ file"):
        write_report([folder], tmp_path / "out", Console(quiet=True))
