"""Aspirin of revised MD17: the error of forces against processor time.

Protocol: configs/rmd17_gaunt.yaml and configs/rmd17_ponita.yaml, whose epochs take
about the minutes in the table, seed {seed}, one thread: 950 frames for training and 50 for
validation of the 1200 at hand, tested on the 1800 frames of the test file with averaged weights of
the epoch of lowest force error in validation. Published rows: 950 / 50 frames, thousands of
epochs, tested on the rest of 100 000; "positions alone" is the paper's network without
orientations.

    GEQLIB_DATA=FOLDER OMP_NUM_THREADS=1 python benchmarks/accuracy/rmd17.py [RUN ...]

With RUN, gaunt or ponita, that row alone is measured.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.pictures import draw_curves
from benchmarks.provenance import start
from benchmarks.rows import Column, Curve, Row, Table, joined, measured
from benchmarks.tables import publish
from benchmarks.training import QUIET, RUNS, measured_by, trained, validation_curve

RUNS_OF = {"gaunt": "geqlib GauntNet", "ponita": "geqlib PONITA"}
SEED = 0
PUBLISHED = {
    "PONITA": (1.7, 5.8, "Bekkers et al. 2024"),
    "NequIP": (2.3, 8.2, "Batzner et al. 2022"),
    "PONITA, positions alone": (4.7, 16.3, "Bekkers et al. 2024"),
}
COLUMNS = (
    Column("energy", "energy MAE", "meV", ".1f"),
    Column("forces", "force MAE", "meV/Å", ".1f"),
)
CURVE = "force MAE in validation"


def main() -> None:
    ours = [measure(run) for run in sys.argv[1:] or RUNS_OF]
    table = joined("accuracy/rmd17", compared(ours))
    levels = {
        f"{row.labels[-1]}, published": row.number("forces")
        for row in table.rows
        if row.origin == "published"
    }
    figure = draw_curves(
        table.rows,
        CURVE,
        title="Aspirin of revised MD17: error against processor time",
        x="CPU minutes of one thread",
        y="force MAE, meV/Å, validation",
        levels=levels,
    )
    publish(measured("accuracy/rmd17", __doc__, [table]), figure)


def measure(run: str) -> Row:
    folder, config = RUNS / f"rmd17-aspirin-{run}", Path(f"configs/rmd17_{run}.yaml")
    outcome = trained(folder, config, QUIET, SEED)
    metrics, fit = outcome["metrics"], outcome["fit"]
    cells = {
        "energy": metrics["test/energy_mae"],
        "forces": metrics["test/forces_mae"],
        "minutes": fit["processor_seconds"] / 60,
        "parameters": fit["parameters"],
    }
    row = own_row(RUNS_OF[run], cells, validation_curve(folder, "val/forces_mae"))
    return replace(row, **measured_by([outcome]))


def own_row(name: str, cells: dict[str, Any], curve: Curve) -> Row:
    setup = f"{cells['minutes']:.0f} CPU minutes of one thread"
    return Row((name,), cells, setup=setup, curves={CURVE: curve})


def compared(rows: list[Row]) -> Table:
    published = (
        Row((name,), {"energy": energy, "forces": forces}, "published", source=source)
        for name, (energy, forces, source) in PUBLISHED.items()
    )
    return Table(("aspirin",), COLUMNS, (*rows, *published), "forces")


if __name__ == "__main__":
    start(main)
