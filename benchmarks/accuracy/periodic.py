"""Energies, forces and stress of crystals and liquids: PONITA on three periodic sets.

Protocol: configs/mlearn_ponita.yaml for copper and silicon (the test files of the mlearn
benchmark) and solvents_ponita.yaml (200 boxes of a carbonate electrolyte, a tenth of them for the
test), a tenth for validation, seed 0; one cosine schedule over training steps of so many minutes of
processor time; averaged weights of the epoch of lowest force error in validation.

    GEQLIB_DATA=FOLDER OMP_NUM_THREADS=1 python benchmarks/accuracy/periodic.py [--minutes 5]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.budget import budgeted
from benchmarks.markdown import markdown
from benchmarks.measure import write_result
from benchmarks.training import RUNS, show, trained
from benchmarks.variants import options

MLEARN = Path("configs/mlearn_ponita.yaml")
# configuration, changes to it, folder of the run
SETS = {
    "silicon (mlearn)": (MLEARN, options(MLEARN, "Si"), "mlearn_si_ponita"),
    "copper (mlearn)": (MLEARN, {}, "mlearn_cu_ponita"),
    "EC / EMC liquid": (Path("configs/solvents_ponita.yaml"), {}, "solvents_ponita"),
}
METRICS = {
    "energy, meV an atom": "test/energy_per_atom_rmse",
    "forces, meV/Å": "test/forces_rmse",
    "stress, GPa": "test/stress_rmse_gpa",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--minutes", type=float, default=5.0, help="of processor time a run")
    minutes = parser.parse_args().minutes
    quiet = {"trainer.enable_progress_bar": False}
    runs = {name: (config, changes | quiet) for name, (config, changes, _) in SETS.items()}
    budget = budgeted("periodic", runs, minutes)
    rows = {}
    for name, (config, changes) in runs.items():
        folder = RUNS / f"{SETS[name][2]}-{minutes:g}min"
        found = trained(folder, config, changes | budget[name], 0)
        rows[name] = {title: found["metrics"][metric] for title, metric in METRICS.items()}
    show("test RMSE", ("", *METRICS), [(name, *row.values()) for name, row in rows.items()])
    protocol = " ".join((__doc__ or "").split("\n\n")[1].split())
    content = {"protocol": protocol, "minutes": minutes, "rows": rows}
    sys.stdout.write(f"wrote {write_result('accuracy/periodic', content)}\n")


def table(found: dict[str, Any]) -> str:
    rows = [(name, *[f"{v:.3g}" for v in row.values()]) for name, row in found["rows"].items()]
    return markdown(("test RMSE", *METRICS), rows)


if __name__ == "__main__":
    main()
