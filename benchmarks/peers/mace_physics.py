"""The checks of `geqlib check` on an untrained MACE, in MACE's environment: prints them as JSON.

Started as `python -P mace_physics.py CHECKOUT STRUCTURES.xyz`. Checks need numpy and ASE alone.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from ase.io import read
from mace import modules
from mace.calculators import MACECalculator

CUTOFF = 5.0


def untrained() -> MACECalculator:
    from e3nn import o3  # after mace, which lets torch read its tables

    torch.manual_seed(1)
    torch.set_default_dtype(torch.float64)
    block = modules.interaction_classes["RealAgnosticResidualInteractionBlock"]
    model = modules.ScaleShiftMACE(
        r_max=CUTOFF,
        num_bessel=8,
        num_polynomial_cutoff=5,
        max_ell=2,
        interaction_cls=block,
        interaction_cls_first=block,
        num_interactions=2,
        num_elements=3,
        hidden_irreps=o3.Irreps("32x0e + 32x1o"),
        MLP_irreps=o3.Irreps("16x0e"),
        atomic_energies=np.zeros(3),
        avg_num_neighbors=8.0,
        atomic_numbers=[1, 8, 29],
        correlation=3,
        gate=torch.nn.functional.silu,
        atomic_inter_scale=1.0,
        atomic_inter_shift=0.0,
    )
    return MACECalculator(models=[model], device="cpu", default_dtype="float64")


def checks(checkout: Path) -> Any:
    """`geqlib.calculators.checks`; packages are empty, as theirs import what MACE has not."""
    for name in ("geqlib", "geqlib.calculators"):
        package = ModuleType(name)
        package.__path__ = [str(checkout.joinpath(*name.split(".")))]
        sys.modules[name] = package
    return import_module("geqlib.calculators.checks")


def main(checkout: str, structures: str) -> None:
    check_calculator = checks(Path(checkout)).check_calculator
    rows = check_calculator(untrained(), read(structures, ":"), cutoff=CUTOFF)
    cells = [[row.name, row.error, row.tolerance] for row in rows]
    sys.stdout.write("rows " + json.dumps(cells) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
