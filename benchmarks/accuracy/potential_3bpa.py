"""Energies and forces of 3BPA at 300 K: GauntNet, PONITA and MACE at equal processor time.

Protocol: {minutes} CPU minutes of one thread each, validation included: as many epochs as take them
by the seconds of an epoch, measured before and kept in benchmarks/budgets, of
configs/3bpa_gaunt.yaml and configs/3bpa_ponita.yaml, seed {seed}, and of MACE (32x0e + 32x1o,
max_ell 2, correlation 3, two interactions, batch 5, learning rate 0.01) by its own command. Every
learning rate falls until the last epoch (cosine; MACE, which has none, exponentially by a factor of
1, 0.1 or 0.01: trained with each, for these minutes, and that of least force error in validation is
tested). The same 450 / 50 frames of train_300K; weights averaged with decay 0.99,
the epoch of least force error in validation (MACE: of its loss, a thousand times that of the
energies) tested on the 1669 frames of test_300K and, out of distribution, on train_mixedT. Learning
rates are those of the configurations and of MACE's own example; none was searched here. Published
rows used all of the 2000 epochs.

    make peers
    GEQLIB_DATA=FOLDER OMP_NUM_THREADS=1 python benchmarks/accuracy/potential_3bpa.py [RUN]

With RUN, gaunt, ponita or mace, only that run is trained: two of them can go side by side. Each row
is written when its run has ended.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.peers import mace
from benchmarks.pictures import draw_curves
from benchmarks.provenance import machine, recorded, running, start
from benchmarks.rows import Cell, Column, Curve, Row, Table, joined, measured
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
from geqlib.data import MoleculeData

CONFIGS = {name: Path(f"configs/3bpa_{name}.yaml") for name in ("gaunt", "ponita")}
MINUTES, SEED = 20, 0  # of processor time
TIMED_EPOCHS = 3
FRAMES = {"300 K": "3bpa/test_300K.xyz.xz", "mixed": "3bpa/train_mixedT.xyz.xz"}
PUBLISHED = {
    "MACE": (3.0, 8.8, "Batatia et al. 2022"),
    "NequIP": (3.3, 10.8, "Batatia et al. 2022"),
    "MACE-Gaunt": (2.9, 9.2, "Luo et al. 2024"),
}
COLUMNS = (
    Column("energy, 300 K", "energy RMSE at 300 K", "meV", ".1f"),
    Column("forces, 300 K", "force RMSE at 300 K", "meV/Å", ".1f"),
    Column("energy, mixed", "energy RMSE, mixed", "meV", ".1f"),
    Column("forces, mixed", "force RMSE, mixed", "meV/Å", ".1f"),
)
CURVE = "force RMSE in validation"


def main() -> None:
    makers: dict[str, Callable[[], Row]] = {
        "gaunt": lambda: _ours("gaunt", "geqlib GauntNet"),
        "ponita": lambda: _ours("ponita", "geqlib PONITA"),
    }
    if mace.available():
        makers["mace"] = _mace
    else:
        sys.stdout.write("MACE is left out: make peers installs it\n")
    for name in sys.argv[1:] or makers:
        write_row(makers[name]())


def write_row(row: Row) -> None:
    """Add a row to those that this machine has measured, and draw all of them.

    Minutes of other machines are no equal budget: their rows go.
    """
    earlier = joined("accuracy/potential_3bpa", Table(("3BPA",), COLUMNS, (row,)))
    own = [r for r in earlier.rows if r is row or r.stamp.endswith(machine())]
    table = compared([r for r in own if r.origin != "published"])
    publish(measured("accuracy/potential_3bpa", __doc__, [table]), draw(table))


def own_row(name: str, cells: Mapping[str, Cell], curve: Curve) -> Row:
    setup = f"{cells['minutes']:.0f} CPU minutes of one thread of {machine()}"
    origin = "geqlib" if name.startswith("geqlib") else "peer"
    return Row((name,), cells, origin, setup, curves={CURVE: curve})


def compared(rows: list[Row]) -> Table:
    published = (
        Row((name,), {"energy, 300 K": energy, "forces, 300 K": force}, "published", source=source)
        for name, (energy, force, source) in PUBLISHED.items()
    )
    return Table(("3BPA",), COLUMNS, (*rows, *published), "forces, 300 K")


def draw(table: Table) -> Figure:
    return draw_curves(
        table.rows,
        CURVE,
        title="3BPA at 300 K: error against processor time",
        x="CPU minutes of one thread",
        y="force RMSE, meV/Å, validation",
    )


def trained_on_frames(run: str) -> tuple[Path, dict[str, dict[str, Any]]]:
    """The folder of our run, and its results on each test set."""
    folder = RUNS / f"3bpa-{run}-{MINUTES}min"
    epochs = _epochs(f"{run} epoch", partial(_epoch_seconds, run))
    options = QUIET | {"trainer.max_epochs": epochs}
    return folder, {
        frames: trained(
            folder,
            CONFIGS[run],
            options,
            SEED,
            None if frames == "300 K" else {"data.init_args.test": path},
        )
        for frames, path in FRAMES.items()
    }


def _epochs(key: str, measure: Callable[[], float]) -> int:
    return epochs_within(MINUTES, "potential_3bpa", key, measure)


def _epoch_seconds(run: str) -> float:
    return epoch_seconds(RUNS / f"3bpa-{run}-timing", CONFIGS[run], QUIET, SEED, TIMED_EPOCHS)


def _ours(run: str, name: str) -> Row:
    folder, runs = trained_on_frames(run)
    fit = runs["300 K"]["fit"]
    cells: dict[str, Cell] = {}
    for frames, outcome in runs.items():
        cells[f"energy, {frames}"] = outcome["metrics"]["test/energy_rmse"]
        cells[f"forces, {frames}"] = outcome["metrics"]["test/forces_rmse"]
    cells |= {"parameters": fit["parameters"], "minutes": fit["processor_seconds"] / 60}
    row = own_row(name, cells, validation_curve(folder, "val/forces_rmse"))
    return replace(row, **measured_by(list(runs.values())))


def _mace() -> Row:
    train = "3bpa/train_300K.xyz.xz"
    data = {
        name: MoleculeData(train, 50, path, reference_file="3bpa/iso_atoms.xyz", cutoff=5.0)
        for name, path in FRAMES.items()
    }
    for part in data.values():
        part.setup()
    splits = {part: mace.frames(data["300 K"], part) for part in ("train", "val")}
    splits["test"] = [
        atoms for name in FRAMES for atoms in mace.frames(data[name], "test", _word(name))
    ]
    energies = data["300 K"].reference_energies
    folder = RUNS / f"3bpa-mace-{MINUTES}min"
    timed = partial(mace.epoch_seconds, folder.with_name("3bpa-mace-timing"), splits, energies)
    epochs = _epochs("MACE epoch", timed)
    begun = recorded(folder, running())
    run = mace.best_of_decays(folder, splits, energies, epochs)
    cells: dict[str, Cell] = {"minutes": run["curve"][-1][0]}
    for frames in FRAMES:
        cells[f"energy, {frames}"], cells[f"forces, {frames}"] = run["test"][_word(frames)]
    cells["epochs"] = run["epochs"]
    return replace(own_row("MACE", cells, run["curve"]), **begun)


def _word(name: str) -> str:
    return name.replace(" ", "")


if __name__ == "__main__":
    start(main)
