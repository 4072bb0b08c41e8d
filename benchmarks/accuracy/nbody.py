"""PONITA on the charged 5-body benchmark, three seeds, beside baselines and published numbers.

Protocol: configs/nbody_ponita.yaml (what `make demo` runs) with seeds 0, 1, 2; 3000 / 2000 / 2000
simulations, frame 30 to frame 40; the epoch with the best validation error under averaged weights
is tested once. Published rows are from the papers, after up to 10 000 epochs.

    python benchmarks/accuracy/nbody.py
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.provenance import start
from benchmarks.rows import Column, Row, Table, measured
from benchmarks.tables import publish
from benchmarks.training import RUNS, metric, trained

CONFIG = Path("configs/nbody_ponita.yaml")
SEEDS = (0, 1, 2)
PUBLISHED = {
    "EGNN": (0.0070, "Satorras et al. 2021"),
    "FA-GNN": (0.0057, "Puny et al. 2022"),
    "SEGNN": (0.0043, "Brandstetter et al. 2022"),
    "PONITA": (0.0043, "Bekkers et al. 2024"),
    "CGENN": (0.0039, "Ruhe et al. 2023"),
}
COLUMNS = (Column("mse", "test MSE", "", "error"), Column("median", "median", "", "error"))


def main() -> None:
    runs = [trained(RUNS / f"nbody-seed{s}", CONFIG, {}, s) for s in SEEDS]
    cells = {"mse": metric(runs, "test/mse"), "median": metric(runs, "test/median").mean}
    minutes = [run["fit"]["seconds"] / 60 for run in runs]
    ours = own_row(cells, minutes, runs[0]["environment"]["threads"])
    table = compared(ours, runs[0]["baselines"])
    settings = {"minutes": minutes, "fit": runs[0]["fit"], "trained_on": runs[0]["environment"]}
    publish(measured("accuracy/nbody", __doc__, [table], settings))


def own_row(cells: dict[str, Any], minutes: list[float], threads: str) -> Row:
    times = ", ".join(f"{m:.1f}" for m in minutes)
    setup = f"{len(minutes)} seeds, {times} minutes on {threads} core(s)"
    return Row(("geqlib PONITA",), cells, setup=setup)


def compared(ours: Row, baselines: dict[str, dict[str, float]]) -> Table:
    rows = [Row((name,), errors, "peer") for name, errors in baselines.items()]
    rows += [
        Row((name,), {"mse": error}, "published", source=source)
        for name, (error, source) in PUBLISHED.items()
    ]
    return Table(("",), COLUMNS, (*rows, ours), "mse")


if __name__ == "__main__":
    start(main)
