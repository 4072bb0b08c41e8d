"""Properties of molecules: a learnt aggregation beside torch_geometric's PNA and GIN.

Protocol: MoleculeNet's lipo and esol, scaffold split (80, 10 and 10 %, the same for every seed) or
random split (another one for every seed), seeds {seeds}; four residual layers of 64 channels (PNA
68, in two towers; GIN with 320 inside its layers) with BatchNorm, bonds as edge features, mean
readout, and parameters within 3 % of each other; the same recipe, and the steps that took {minutes}
minutes of processor time where they were timed; the epoch with the best validation error is tested.

The result file is written after every seed; runs that are complete are read.

    python benchmarks/accuracy/moleculenet.py [--minutes 0.75] [--splits scaffold] [--seeds 0 1 ...]
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.provenance import start
from benchmarks.rows import Column, Row, Table, measured
from benchmarks.tables import publish
from benchmarks.training import QUIET, RUNS, budgeted, measured_by, metric, trained_here
from geqlib.data import MoleculeNetData

CONFIG = Path("configs/lipo_monoid.yaml")
SETS = ("lipo", "esol")
MINUTES, SEEDS = 0.75, (0, 1, 2, 3, 4)
SPLITS = ("scaffold", "random")
METHODS = ("monoid", "PNA", "GIN")
WIDTHS = {"PNA": 68, "GIN": 64}  # that make parameters equal
COLUMNS = (
    Column("rmse", "test RMSE", "", ".3f"),
    Column("mae", "test MAE", "", ".3f"),
    Column("parameters", "parameters"),
    Column("epochs", "epochs"),
)
ATOMS, BONDS = [119, 9, 11, 12, 9, 5, 8, 2, 2], [22, 6, 2]


def main() -> None:
    command = _arguments()
    done: dict[tuple[str, str], list[dict[str, Any]]] = {}  # runs, seed by seed
    for name in command.sets:
        options = {method: _options(name, method) for method in METHODS}
        runs = {f"{name}/{method}": (CONFIG, options[method]) for method in METHODS}
        budget = budgeted("moleculenet", runs, command.minutes)
        for split in command.splits:
            for seed in command.seeds:
                for method in METHODS:
                    changes = options[method] | budget[f"{name}/{method}"]
                    run = _run(name, split, method, changes, seed, command.minutes)
                    done.setdefault((f"{name}, {split}", method), []).append(run)
                table = compared(
                    [
                        replace(own_row(*labels, cells(runs)), **measured_by(runs))
                        for labels, runs in done.items()
                    ]
                )
                settings = {"minutes": command.minutes, "seeds": command.seeds}
                publish(measured("accuracy/moleculenet", __doc__, [table], settings))


def cells(runs: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "rmse": metric(runs, "test/rmse"),
        "mae": metric(runs, "test/mae"),
        "parameters": runs[0]["fit"]["parameters"],
        "epochs": runs[0]["fit"]["epochs"],
    }


def own_row(data: str, method: str, cells: dict[str, Any]) -> Row:
    return Row((data, method), cells, "geqlib" if method == "monoid" else "peer")


def compared(rows: list[Row]) -> Table:
    return Table(("", ""), COLUMNS, tuple(rows), "rmse")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--minutes", type=float, default=MINUTES, help="of processor time per run")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    parser.add_argument("--splits", nargs="+", default=["scaffold"], choices=SPLITS)
    return parser.parse_args()


def _options(name: Literal["lipo", "esol"], method: str) -> dict[str, object]:
    options = QUIET | {"data.init_args.name": name}
    if method == "monoid":
        return options
    data = MoleculeNetData(name)
    data.prepare_data()
    data.setup()
    arguments = {
        "conv": method.lower(),
        "in_channels": ATOMS,
        "edge_dim": BONDS,
        "channels": WIDTHS[method],
        "degrees": data.degrees(),
    }
    path = "benchmarks.peers.molecule_gnn.MoleculeGNN"
    return options | {"model.init_args.model": {"class_path": path, "init_args": arguments}}


def _run(
    name: str, split: str, method: str, options: dict[str, object], seed: int, minutes: float
) -> dict[str, Any]:
    folder = RUNS / f"{name}-{split}-{method}-{minutes:g}min-seed{seed}"
    split_options = {"data.init_args.split": split, "data.init_args.data_seed": seed}
    return trained_here(folder, CONFIG, options | split_options, seed)


if __name__ == "__main__":
    start(main)
