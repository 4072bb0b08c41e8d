"""Aspirin of revised MD17: the error of forces against processor time.

Protocol: {minutes} CPU minutes of one thread for each network, validation included: as many epochs
of configs/rmd17_gaunt.yaml and configs/rmd17_ponita.yaml as take them by the seconds of an epoch,
measured before and kept in benchmarks/budgets, seed {seed}; the cosine of the learning rate ends
with the last one. 950 frames for training and 50 for validation of the 1200 at hand, tested on the
1800 frames of the test file with averaged weights of the epoch of lowest force error in validation.
Published rows: 950 / 50 frames, thousands of epochs, tested on the rest of 100 000; "positions
alone" is the paper's network without orientations.

    GEQLIB_DATA=FOLDER OMP_NUM_THREADS=1 python benchmarks/accuracy/rmd17.py [RUN ...]

With RUN, gaunt or ponita, that row alone is measured. Each row is written when its run has ended,
and the command goes on where it was stopped.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.pictures import draw_curves
from benchmarks.provenance import start
from benchmarks.rows import Column, Curve, Row, Table, joined, measured
from benchmarks.tables import publish
from benchmarks.training import (
    QUIET,
    RUNS,
    epoch_seconds,
    epochs_within,
    measured_by,
    trained,
    validation_curve,
)

RUNS_OF = {"gaunt": "geqlib GauntNet", "ponita": "geqlib PONITA"}
MINUTES, SEED = 60, 0
TIMED_EPOCHS = 2
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
    for run in sys.argv[1:] or RUNS_OF:
        write_row(measure(run))


def write_row(row: Row) -> None:
    """Add a row to those that were measured before, or replace that of its network."""
    table = joined("accuracy/rmd17", compared([row]))
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
    folder, outcome = folder_of(run), trained_on_aspirin(run)
    metrics, fit = outcome["metrics"], outcome["fit"]
    cells = {
        "energy": metrics["test/energy_mae"],
        "forces": metrics["test/forces_mae"],
        "minutes": fit["processor_seconds"] / 60,
        "parameters": fit["parameters"],
    }
    row = own_row(RUNS_OF[run], cells, validation_curve(folder, "val/forces_mae"))
    return replace(row, **measured_by([outcome]))


def folder_of(run: str) -> Path:
    return RUNS / f"rmd17-aspirin-{run}-{MINUTES}min"


def trained_on_aspirin(run: str) -> dict[str, Any]:
    """Results of a network's run, which is trained where it is missing."""
    config, folder = Path(f"configs/rmd17_{run}.yaml"), folder_of(run)
    timing = folder.with_name(f"rmd17-aspirin-{run}-timing")
    seconds = partial(epoch_seconds, timing, config, QUIET, SEED, TIMED_EPOCHS)
    epochs = epochs_within(MINUTES, "rmd17", f"{run} epoch", seconds)
    return trained(folder, config, QUIET | {"trainer.max_epochs": epochs}, SEED)


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
