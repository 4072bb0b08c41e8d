"""A property of QM9: PONITA beside torch_geometric's SchNet at equal processor time.

Protocol: the usual split, 110 000 molecules for training, 10 000 for validation, the rest for
testing; configs/qm9_ponita.yaml, and SchNet with the defaults of torch_geometric (128 channels, 6
interactions, cutoff 10 angstrom) by the same recipe: L1 loss on the standardised target, batches of
32, one cosine schedule over the training steps that took {minutes} minutes of processor time,
averaged weights; the best epoch of validation is tested; seed {seed}, one thread. Published PONITA
trained for 1000 epochs.

    GEQLIB_DATA=FOLDER OMP_NUM_THREADS=1 python benchmarks/accuracy/qm9.py [--minutes 20]
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.provenance import start
from benchmarks.rows import Cell, Column, Row, Table, measured
from benchmarks.tables import publish
from benchmarks.training import QUIET, RUNS, budgeted, measured_by, trained

MINUTES, SEED = 20.0, 0
CONFIG = Path("configs/qm9_ponita.yaml")
SCHNET = {
    "model.init_args.model": {"class_path": "benchmarks.peers.schnet.GivenEdgesSchNet"},
    "model.init_args.lr": 1e-3,
    "model.init_args.rotate": False,
    "data.init_args.cutoff": 10.0,
}
CHANGES: dict[str, dict[str, object]] = {"geqlib PONITA": {}, "PyG SchNet": SCHNET}
COLUMNS = (Column("mae", "alpha, test MAE", "a0³", ".3g"), Column("parameters", "parameters"))


def main() -> None:
    command = _arguments()
    runs = {name: (CONFIG, QUIET | options) for name, options in CHANGES.items()}
    budget = budgeted("qm9-alpha", runs, command.minutes)
    rows = []
    for name in command.only or runs:
        folder = RUNS / f"qm9-alpha-{name.split()[1]}-{command.minutes:g}min"
        run = trained(folder, CONFIG, runs[name][1] | budget[name], SEED)
        fit, error = run["fit"], run["metrics"]["test/mae"]
        cells = {"mae": error, "parameters": fit["parameters"], "molecules": fit["steps"] * 32}
        cells |= {"minutes": fit["processor_seconds"] / 60}
        rows.append(replace(own_row(name, cells), **measured_by([run])))
    if not command.only:
        publish(measured("accuracy/qm9", __doc__, [compared(rows)], {"minutes": command.minutes}))


def own_row(name: str, cells: dict[str, Cell]) -> Row:
    setup = (
        f"{cells['minutes']:.0f} CPU minutes of one thread, validation included; "
        f"{cells['molecules']} molecules seen"
    )
    return Row((name,), cells, "geqlib" if name.startswith("geqlib") else "peer", setup)


def compared(rows: list[Row]) -> Table:
    published = Row(("PONITA",), {"mae": 0.0375}, "published", source="Bekkers et al. 2024")
    return Table(("",), COLUMNS, (*rows, published), "mae")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--minutes", type=float, default=MINUTES, help="of processor time per run")
    parser.add_argument("--only", nargs="+", choices=list(CHANGES), help="train these runs alone")
    return parser.parse_args()


if __name__ == "__main__":
    start(main)
