"""Units of forces: files in each of them, read as another, are refused with the key to set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from ase.io import read, write

from geqlib.calculators import GeqCalculator
from geqlib.data import LevelsData, MoleculeData
from geqlib.data.molecules.labels import FORCES, Labels
from geqlib.models import GauntNet, Potential
from geqlib.train.fine_tuning.force_units import better_unit, check_units
from tests.train.potential import write_frames

KEYS: dict[str, Any] = {"energy_key": "E", "forces_key": "F", "val": 1}
SMALL: dict[str, Any] = {"channels": 2, "degree": 1, "order": 2, "layers": 1, "cutoff": 3.0}


def potential(**options: Any) -> Potential:
    torch.manual_seed(0)
    model = Potential(GauntNet(["H", "C", "O"], **SMALL), **options).eval()
    shape = (2, 119) if options else (119,)
    zeros, shift = torch.zeros(shape, dtype=torch.float64), torch.zeros(shape[:-1])
    model.statistics.set(zeros, torch.ones(shape, dtype=torch.bool), 1.0, shift)
    return model


@pytest.fixture(scope="module")
def top(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames with the forces that the potential predicts, in a file for each unit."""
    folder = tmp_path_factory.mktemp("units")
    write_frames(folder / "frames.xyz", 8)
    frames: Any = read(folder / "frames.xyz", ":")
    calculator = GeqCalculator(potential())
    forces = []
    for atoms in frames:
        copy = atoms.copy()
        copy.calc = calculator
        forces.append(copy.get_forces())
    for unit, size in FORCES.items():
        for atoms, values in zip(frames, forces, strict=True):
            atoms.arrays["F"] = values / size
        write(folder / f"{unit.replace('/', '-')}.xyz", frames, format="extxyz")
    return folder


def data(top: Path, unit: str, **options: Any) -> MoleculeData:
    settings = KEYS | {"cutoff": 3.0, "num_train": 6} | options
    module = MoleculeData(top / f"{unit.replace('/', '-')}.xyz", **settings)
    module.setup("fit")
    return module


@pytest.mark.parametrize(
    ("unit", "options", "key"),
    [
        ("kcal/mol/A", {}, "set forces_unit to kcal/mol/A, or energy_unit to kcal/mol if"),
        ("kcal/mol/A", {"forces_unit": "eV/A"}, r"set forces_unit to kcal/mol/A\."),
        ("Hartree/bohr", {"energy_unit": "Hartree"}, r"set forces_unit to Hartree/bohr\."),
        ("Hartree/bohr", {}, r"set forces_unit to Hartree/bohr\."),
        ("eV/A", {"energy_unit": "kJ/mol"}, "set forces_unit to eV/A, or energy_unit to eV if"),
    ],
)
def test_another_unit_is_refused(top: Path, unit: str, options: Any, key: str) -> None:
    with pytest.raises(ValueError, match=f"as if they were in {unit} and not.*{key}"):
        check_units(potential(), data(top, unit, **options))


def test_the_right_unit_passes(top: Path) -> None:
    for unit in FORCES:
        check_units(potential(), data(top, unit, forces_unit=unit))
    check_units(potential(), data(top, "Hartree/bohr", energy_unit="eV", forces_key=None))


def test_units_that_are_no_choice_of_forces() -> None:
    hartree = 27.211386
    assert better_unit(hartree, Labels(energy_unit="Hartree")) == "eV/A"
    assert better_unit(1 / hartree, Labels()) == "Hartree/A"
    for slope in (0.4, 1.0, 1.9):  # of another level of theory, which is no unit
        assert better_unit(slope, Labels()) is None


def test_levels_and_replay_are_compared_on_their_own(top: Path) -> None:
    right = {"train": str(top / "eV-A.xyz"), **KEYS}
    wrong = right | {"train": str(top / "kcal-mol-A.xyz")}
    for last in (wrong, wrong | {"forces_unit": "kcal/mol/A"}):
        levels = LevelsData({"low": right, "high": last}, cutoff=3.0)
        levels.setup("fit")
        model = potential(levels=["low", "high"])
        if last is wrong:
            with pytest.raises(ValueError, match=r"data of the level high are .*kcal/mol/A"):
                check_units(model, levels)
        else:
            check_units(model, levels)
    replayed = data(top, "eV/A", replay={"train": wrong["train"], "val": 1})
    with pytest.raises(ValueError, match=r"data of the replay are .*kcal/mol/A"):
        check_units(potential(), replayed)
