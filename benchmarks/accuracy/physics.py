"""`geqlib check` on other people's calculators: do forces, stress and symmetries hold?

Protocol: every check of `geqlib.calculators.checks` on copper (four atoms in a cubic cell) and a
water molecule, displaced by 0.03 angstrom at random; of each the larger error, relative to the
largest force or stress. EMT and Lennard-Jones (cut off at three of its lengths without smoothing)
are ASE's; MACE, where `make peers` was run, is an untrained one of 32x0e + 32x1o, correlation 3, in
float64.

    python benchmarks/accuracy/physics.py
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.io import write

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.peers import mace
from benchmarks.provenance import start
from benchmarks.rows import Column, Row, Table, measured
from benchmarks.tables import publish
from geqlib.calculators.checks import check_calculator

COLUMNS = (Column("error", "error", "", ".0e"), Column("tolerance", "tolerance", "", ".0e"))
CHECKOUT = Path(__file__).parents[2]
PEER = CHECKOUT / "benchmarks" / "peers" / "mace_physics.py"
Cells = list[tuple[str, float | None, float | None]]


def structures() -> list[Atoms]:
    return [bulk("Cu", cubic=True), molecule("H2O")]


def of_ase() -> dict[str, Cells]:
    """Names of checks, errors and tolerances of ASE's own calculators."""
    hard = LennardJones(sigma=2.3, epsilon=0.4)
    return {
        name: [(r.name, r.error, r.tolerance) for r in check_calculator(c, structures())]
        for name, c in {"EMT": EMT(), "Lennard-Jones": hard}.items()
    }


def of_mace() -> dict[str, Cells]:
    """The same of MACE, in its own environment; nothing where there is none."""
    if not mace.available():
        return {}
    with TemporaryDirectory() as folder:
        write(f"{folder}/structures.xyz", structures())
        command = [
            str(mace.BIN / "python"),
            "-P",
            str(PEER),
            str(CHECKOUT),
            f"{folder}/structures.xyz",
        ]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
    line = next(line for line in run.stdout.splitlines() if line.startswith("rows "))
    return {"MACE": [tuple(cells) for cells in json.loads(line.removeprefix("rows "))]}


def rows(results: dict[str, Cells]) -> list[Row]:
    """Those checks that apply."""
    return [
        Row((name, check), {"error": error, "tolerance": tolerance})
        for name, cells in results.items()
        for check, error, tolerance in cells
        if error is not None and tolerance is not None
    ]


def main() -> None:
    table = Table(("calculator", "check"), COLUMNS, tuple(rows(of_ase() | of_mace())))
    publish(measured("accuracy/physics", __doc__, [table]))


if __name__ == "__main__":
    start(main)
