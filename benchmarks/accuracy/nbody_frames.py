"""FA-GNN beside PONITA on the charged 5-body benchmark, at equal processor time.

Protocol: configs/nbody_fagnn.yaml and configs/nbody_ponita.yaml, 3000 / 2000 / 2000 simulations,
frame 30 to frame 40; one cosine schedule over the training steps that took {minutes} minutes of
processor time, averaged weights, validation every 5 epochs on top; the best epoch of validation is
tested; seed {seed}, one thread. Published FA-GNN trained for 10 000 epochs.

    OMP_NUM_THREADS=1 python benchmarks/accuracy/nbody_frames.py [--minutes 4]
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.pictures import draw_curves
from benchmarks.provenance import start
from benchmarks.rows import Column, Curve, Row, Table, measured
from benchmarks.tables import publish
from benchmarks.training import QUIET, RUNS, budgeted, measured_by, trained, validation_curve

CONFIGS = {"FA-GNN": Path("configs/nbody_fagnn.yaml"), "PONITA": Path("configs/nbody_ponita.yaml")}
MINUTES, SEED = 4.0, 0
PUBLISHED = {"EGNN": 0.0071, "FA-GNN": 0.0057}  # both as Puny et al. print them
COLUMNS = (
    Column("mse", "test MSE", "", "error"),
    Column("median", "median", "", "error"),
    Column("parameters", "parameters"),
    Column("steps", "steps"),
    Column("minutes", "CPU minutes of one thread", "", ".1f"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--minutes", type=float, default=MINUTES, help="of processor time per run")
    minutes = parser.parse_args().minutes
    budget = budgeted("nbody-frames", {k: (path, QUIET) for k, path in CONFIGS.items()}, minutes)
    rows = []
    for name, config in CONFIGS.items():
        folder = RUNS / f"nbody-frames-{name}-{minutes:g}min"
        run = trained(folder, config, QUIET | budget[name], SEED)
        row = own_row(name, cells(run), validation_curve(folder, "val/mse"))
        rows.append(replace(row, **measured_by([run])))
    result = measured("accuracy/nbody_frames", __doc__, [compared(rows)], {"minutes": minutes})
    figure = draw_curves(
        rows,
        "validation MSE",
        title="Charged 5-body: error against processor time",
        x="CPU minutes of one thread",
        y="validation MSE; dots: test",
        main="mse",
    )
    publish(result, figure)


def cells(run: dict[str, Any]) -> dict[str, float]:
    return {
        "mse": run["metrics"]["test/mse"],
        "median": run["metrics"]["test/median"],
        "parameters": run["fit"]["parameters"],
        "steps": run["fit"]["steps"],
        "minutes": run["fit"]["processor_seconds"] / 60,
    }


def own_row(name: str, cells: dict[str, float], curve: Curve) -> Row:
    return Row((f"geqlib {name}",), cells, curves={"validation MSE": curve})


def compared(rows: list[Row]) -> Table:
    published = (
        Row((name,), {"mse": error}, "published", source="Puny et al. 2022")
        for name, error in PUBLISHED.items()
    )
    return Table(("",), COLUMNS, (*rows, *published), "mse")


if __name__ == "__main__":
    start(main)
