"""Using the first edition's files with whatever geqlib is on the path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.io import read
from torch import Tensor, nn

import geqlib
import geqlib.data
from geqlib.calculators import GeqCalculator
from geqlib.models import Potential, energy_forces
from tests.first_edition.networks import Mixed


def loaded(name: str, path: Path) -> nn.Module:
    """The model of a checkpoint; that of a user's own network is given to `load`."""
    return geqlib.load(path, model=Mixed()) if name == "mixed" else geqlib.load(path)


def evaluate(
    model: nn.Module, inputs: dict[str, Any], dtype: torch.dtype = torch.float64
) -> dict[str, Tensor]:
    """All outputs of a model, and the forces of a potential."""
    model = model.to(dtype)
    arguments = {
        key: value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value
        for key, value in inputs.items()
    }
    if isinstance(model, Potential):
        actual = energy_forces(model, **arguments)
        return {name: actual[name].detach() for name in ("energy", "energies", "forces")}
    with torch.no_grad():
        result = model(**arguments)
    results = result if isinstance(result, tuple) else (result,)
    return {str(number): value for number, value in enumerate(results)}


def computed(model: Path, structures: Path) -> dict[int, dict[str, Tensor]]:
    """Energies, forces and stress of the first two structures, a crystal and a molecule."""
    actual = {}
    for number in (0, 1):
        atoms: Any = read(structures, number)
        atoms.calc = GeqCalculator(model, dtype=torch.float64)
        values = {
            "energy": [atoms.get_potential_energy()],
            "energies": atoms.get_potential_energies(),
            "forces": atoms.get_forces(),
        }
        if atoms.pbc.any():
            values["stress"] = atoms.get_stress()
        actual[number] = {k: torch.from_numpy(np.array(v)) for k, v in values.items()}
    return actual


def first_batch(data: dict[str, Any]) -> Any:
    """The first batch of the test split, from a description of a data module."""
    module = getattr(geqlib.data, data["class_path"].rpartition(".")[2])(**data["init_args"])
    module.prepare_data()
    module.setup("test")
    return next(iter(module.test_dataloader()))
