"""Penalised log P of molecules: networks of one size, with and without counts of cycles.

Protocol: ZINC's target, log P less synthetic accessibility less long rings, each standardised over
the training molecules, of the molecules of MoleculeNet's lipo and esol in a random split of their
own (80, 10 and 10 %): numbers are not comparable with published ones of ZINC. All networks have
about 500 000 parameters (configs/logp_*.yaml), features of bonds, batches of 128, and the steps
that took {minutes} minutes of processor time where they were timed, validation on top; the learning
rate of each is the one of {rates} with the best validation error of seed {first}; seeds {seeds}.
"Cycles": the numbers of cycles of 3 to 8 atoms through every atom beside its features.

Runs that are complete are read, and the result file is written after every row.

    python benchmarks/accuracy/logp.py [--minutes 30] [--seeds 0 1 2] [--networks GIN ...]
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.provenance import start
from benchmarks.rows import Cell, Column, Row, Table, joined, measured
from benchmarks.tables import publish
from benchmarks.training import (
    QUIET,
    RUNS,
    budgeted,
    chosen_rate,
    fitted_here,
    measured_by,
    metric,
    trained_here,
)
from benchmarks.variants import options

NAME = "accuracy/logp"
CONFIGS = {
    "PPGN++": Path("configs/logp_ppgn.yaml"),
    "SPEN": Path("configs/logp_spen.yaml"),
    "MonoidGNN": Path("configs/logp_monoid.yaml"),
    "PNA": Path("configs/logp_pna.yaml"),
    "GIN": Path("configs/logp_gin.yaml"),
}
PEERS = ("PNA", "GIN")
COUNTED = ", cycles"
NETWORKS = tuple(name + end for name in CONFIGS for end in (COUNTED, ""))
MINUTES, SEEDS = 30.0, (0, 1, 2)
RATES = (5e-4, 1e-3, 2e-3)
FIRST = 0  # seed by which learning rates are chosen
COLUMNS = (
    Column("mae", "mean absolute error", "", ".3f"),
    Column("parameters", "parameters"),
    Column("epochs", "epochs"),
    Column("rate", "learning rate", "", "g"),
)


def main() -> None:
    parser = ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=MINUTES, help="of processor time per run")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    command = parser.parse_args()
    runs = {name: settings(name) for name in command.networks}
    budget = budgeted("logp", runs, command.minutes)
    rows: list[Row] = []
    for name, (config, changes) in runs.items():
        rows.append(row(name, config, changes | budget[name], command.minutes, command.seeds))
        table = joined(NAME, Table(("network",), COLUMNS, tuple(rows), "mae"))
        ordered = sorted(table.rows, key=lambda row: NETWORKS.index(row.labels[0]))
        facts = {"minutes": command.minutes, "seeds": command.seeds}
        publish(measured("accuracy/logp", __doc__, [replace(table, rows=tuple(ordered))], facts))


def settings(name: str) -> tuple[Path, dict[str, object]]:
    """Configuration of a row, and changes to it."""
    config = CONFIGS[name.removesuffix(COUNTED)]
    return config, QUIET | (options(config, "cycles") if name.endswith(COUNTED) else {})


def row(name: str, config: Path, changes: dict[str, Any], minutes: float, seeds: list[int]) -> Row:
    """A network at its best learning rate, over seeds."""
    word = "".join(c if c.isalnum() else "-" for c in name.lower()).strip("-")

    def run(rate: float, seed: int) -> tuple[Path, Path, dict[str, Any], int]:
        folder = RUNS / f"logp-{word}-{minutes:g}min-lr{rate:g}-seed{seed}"
        return folder, config, changes | {"model.lr": rate}, seed

    rate = chosen_rate({rate: fitted_here(*run(rate, FIRST)) for rate in RATES}, "val/mae")
    done = [trained_here(*run(rate, seed)) for seed in seeds]
    fit = {key: done[0]["fit"][key] for key in ("parameters", "epochs")}
    cells: dict[str, Cell] = {"mae": metric(done, "test/mae"), "rate": rate, **fit}
    setup = f"{len(seeds)} seeds, {minutes:g} CPU minutes of one thread"
    origin = "peer" if name.removesuffix(COUNTED) in PEERS else "geqlib"
    return Row((name,), cells, origin, setup, **measured_by(done))


if __name__ == "__main__":
    start(main)
