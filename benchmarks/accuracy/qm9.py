"""A property of QM9: PONITA beside torch_geometric's SchNet at equal processor time.

Protocol: the usual split, 110 000 molecules for training, 10 000 for validation, the rest for
testing; configs/qm9_ponita.yaml, and SchNet with the defaults of torch_geometric (128 channels, 6
interactions, cutoff 10 angstrom) by the same recipe: L1 loss on the standardised target, batches of
32, one cosine schedule over the training steps that took {minutes} minutes of processor time,
averaged weights; the best epoch of validation is tested; mean over the seeds {seeds}, one thread.
Published PONITA trained for 1000 epochs.

    GEQLIB_DATA=FOLDER OMP_NUM_THREADS=1 python benchmarks/accuracy/qm9.py [--minutes 20] \\
        [--seeds 0 1 2] [--only NETWORK ...]

A row is written when its runs have ended, and the command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from math import hypot
from pathlib import Path
from statistics import mean
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.provenance import start
from benchmarks.rows import Cell, Column, Row, Table, joined, measured
from benchmarks.tables import publish
from benchmarks.training import QUIET, RUNS, budgeted, measured_by, metric, trained

MINUTES, SEEDS = 20.0, (0, 1, 2)
NAME = "accuracy/qm9"
CONFIG, BATCH = Path("configs/qm9_ponita.yaml"), 32
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
    for name in command.only or runs:
        word = f"qm9-alpha-{name.split()[1]}-{command.minutes:g}min"
        options = runs[name][1] | budget[name]
        results = [
            trained(RUNS / f"{word}-seed{seed}", CONFIG, options, seed) for seed in command.seeds
        ]
        row = replace(own_row(name, cells_of(results)), **measured_by(results))
        table = compared(list(joined(NAME, Table(("",), COLUMNS, (row,))).rows))
        publish(measured("accuracy/qm9", __doc__, [table], {"minutes": command.minutes}))


def cells_of(results: list[dict[str, Any]]) -> dict[str, Cell]:
    fits = [run["fit"] for run in results]
    return {
        "mae": metric(results, "test/mae"),
        "parameters": fits[0]["parameters"],
        "molecules": fits[0]["steps"] * BATCH,
        "minutes": mean(fit["processor_seconds"] for fit in fits) / 60,
        "runs": len(fits),
    }


def own_row(name: str, cells: dict[str, Cell]) -> Row:
    setup = (
        f"{cells['runs']} seeds, {cells['minutes']:.0f} CPU minutes of one thread each, validation "
        f"included; {cells['molecules']} molecules seen"
    )
    return Row((name,), cells, "geqlib" if name.startswith("geqlib") else "peer", setup)


def compared(rows: list[Row]) -> Table:
    published = Row(("PONITA",), {"mae": 0.0375}, "published", source="Bekkers et al. 2024")
    return Table(("",), COLUMNS, (*rows, published), "mae", note=ratio(rows))


def ratio(rows: list[Row]) -> str:
    """What PONITA's error is of SchNet's, with both deviations; "" unless seeds are as many."""
    errors = {row.labels[0]: row.value("mae") for row in rows}
    seeds = {row.cells.get("runs") for row in rows}
    if not errors.keys() >= CHANGES.keys() or None in seeds or len(seeds) > 1:
        return ""
    ours, theirs = (errors[name] for name in CHANGES)
    relative = [(e.deviation or 0.0) / e.mean for e in (ours, theirs)]
    share = ours.mean / theirs.mean
    return f"PONITA's error is {share:.2f} ± {share * hypot(*relative):.2f} times SchNet's."


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--minutes", type=float, default=MINUTES, help="of processor time per run")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--only", nargs="+", choices=list(CHANGES), help="train these runs alone")
    return parser.parse_args()


if __name__ == "__main__":
    start(main)
