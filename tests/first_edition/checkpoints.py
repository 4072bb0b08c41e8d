"""Reading the first edition's checkpoints with whatever geqlib is on the path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import geqlib
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
    given = {
        key: value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value
        for key, value in inputs.items()
    }
    if isinstance(model, Potential):
        found = energy_forces(model, **given)
        return {name: found[name].detach() for name in ("energy", "energies", "forces")}
    with torch.no_grad():
        result = model(**given)
    results = result if isinstance(result, tuple) else (result,)
    return {str(number): value for number, value in enumerate(results)}
