"""Predicted energies, forces and stress as extended XYZ, beside the true ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io.extxyz import write_xyz
from ase.stress import full_3x3_to_voigt_6_stress
from torch import Tensor

from geqlib.files.cache import replace_file


def write_structures(path: Path, data: Any, predictions: Mapping[str, Tensor]) -> bool:
    """Write the structures of a test set with what was predicted for them, one at a time.

    Predictions are called `energy`, `forces` and `stress`, which ASE reads as results; labels
    `REF_energy`, `REF_forces` and so on. All are in eV and angstrom. Structures without a volume
    have no stress.

    Args:
        path: of the file.
        data: the data module; without a method `atoms(index)` nothing is written.
        predictions: "energy" [G], "index" [G] of the frame, "forces" [N, 3], "batch" [N] and
            perhaps "stress" [G, 3, 3].

    Returns:
        whether there was anything to write.
    """
    if not hasattr(data, "atoms") or not {"energy", "index", "batch"} <= predictions.keys():
        return False
    replace_file(path, lambda part: _write(part, _predicted(data, predictions)))
    return True


def _write(path: Path, structures: Iterator[Atoms]) -> None:
    with path.open("w") as file:
        for atoms in structures:
            write_xyz(file, [atoms])


def _predicted(data: Any, predictions: Mapping[str, Tensor]) -> Iterator[Atoms]:
    energy, index = predictions["energy"].tolist(), predictions["index"].tolist()
    # the atoms of a structure are neighbours in all arrays
    sizes = predictions["batch"].bincount(minlength=len(index)).tolist()
    forces = predictions["forces"].double().split(sizes) if "forces" in predictions else None
    for k, number in enumerate(index):
        atoms = data.atoms(number)
        results: dict[str, Any] = {"energy": energy[k]}
        if forces is not None:
            results["forces"] = forces[k].numpy()
        if "stress" in predictions and atoms.cell.rank == 3:
            matrix = predictions["stress"][k].double().numpy()
            results["stress"] = full_3x3_to_voigt_6_stress(matrix)
        atoms.calc = SinglePointCalculator(atoms, **results)
        yield atoms
