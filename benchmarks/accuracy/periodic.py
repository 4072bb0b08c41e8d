"""Energies, forces and stress of crystals and liquids: PONITA on three periodic sets.

Protocol: configs/mlearn_ponita.yaml for copper and silicon (the test files of the mlearn benchmark)
and solvents_ponita.yaml (200 boxes of a carbonate electrolyte, a tenth of them for the test), a
tenth for validation, seed {seed}; one cosine schedule over the training steps that took {minutes}
minutes of processor time; averaged weights of the epoch of lowest force error in validation.

    GEQLIB_DATA=FOLDER OMP_NUM_THREADS=1 python benchmarks/accuracy/periodic.py [--minutes 5]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.provenance import start
from benchmarks.rows import Column, Row, Table, measured
from benchmarks.tables import publish
from benchmarks.training import QUIET, RUNS, budgeted, measured_by, trained
from benchmarks.variants import options

MINUTES, SEED = 5.0, 0
MLEARN = Path("configs/mlearn_ponita.yaml")
# configuration, changes to it, folder of the run
SETS = {
    "silicon (mlearn)": (MLEARN, options(MLEARN, "Si"), "mlearn_si_ponita"),
    "copper (mlearn)": (MLEARN, {}, "mlearn_cu_ponita"),
    "EC / EMC liquid": (Path("configs/solvents_ponita.yaml"), {}, "solvents_ponita"),
}
COLUMNS = (
    Column("energy_per_atom_rmse", "energy", "meV per atom", ".3g"),
    Column("forces_rmse", "forces", "meV/Å", ".3g"),
    Column("stress_rmse_gpa", "stress", "GPa", ".3g"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--minutes", type=float, default=MINUTES, help="of processor time per run")
    minutes = parser.parse_args().minutes
    runs = {name: (config, changes | QUIET) for name, (config, changes, _) in SETS.items()}
    budget = budgeted("periodic", runs, minutes)
    rows = []
    for name, (config, changes) in runs.items():
        folder = RUNS / f"{SETS[name][2]}-{minutes:g}min"
        run = trained(folder, config, changes | budget[name], SEED)
        cells = {column.key: run["metrics"][f"test/{column.key}"] for column in COLUMNS}
        rows.append(Row((name,), cells, **measured_by([run])))
    table = Table(("test RMSE",), COLUMNS, tuple(rows), "forces_rmse")
    publish(measured("accuracy/periodic", __doc__, [table], {"minutes": minutes}))


if __name__ == "__main__":
    start(main)
