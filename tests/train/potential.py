"""Training runs on energies and forces that take a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from ase import Atoms
from ase.io import write

from geqlib.models import energy_forces
from tests.atoms.atoms import CUTOFF, fields, pairs, system


def write_frames(path: Path, count: int = 30) -> list[Atoms]:
    """Molecules and crystals of three to five atoms that obey a potential, under E and F."""
    potential, frames = pairs(), []
    for number in range(count):
        periodic = number % 2 == 0
        pos, z, cell = system(3 + number % 3, periodic=periodic, seed=number)
        actual = energy_forces(potential, **fields(pos, z, cell[None]))
        atoms = Atoms(z.numpy(), pos.numpy(), cell=cell.numpy(), pbc=periodic)
        atoms.info["E"] = actual["energy"].item()
        atoms.arrays["F"] = actual["forces"].numpy()
        frames.append(atoms)
    write(path, frames, format="extxyz")
    return frames


def config(frames: Path, epochs: int = 2, **data: Any) -> dict[str, Any]:
    """A configuration of `geqlib fit` on those frames."""
    net = {"in_scalars": 4, "in_vectors": 0, "out_scalars": 1, "out_vectors": 0}
    small = {"channels": 8, "layers": 1, "orientations": 4, "cutoff": CUTOFF}
    model = {"class_path": "geqlib.models.PONITA", "init_args": net | small}
    keys = {"energy_key": "E", "forces_key": "F", "cutoff": CUTOFF}
    inputs = {"train": str(frames), "val": 6, "test": 6} | keys | data
    return {
        "monitor": "val/forces_rmse",
        "model": {"class_path": "geqlib.train.EnergyForces", "init_args": {"model": model}},
        "data": {"class_path": "geqlib.data.MoleculeData", "init_args": inputs},
        "trainer": {
            "max_epochs": epochs,
            "accelerator": "cpu",
            "enable_progress_bar": False,
        },
    }


def write_config(path: Path, frames: Path, **options: Any) -> Path:
    path.write_text(yaml.safe_dump(config(frames, **options)))
    return path
