"""Graph algorithms on random graphs: the PNA multitask benchmark, and graphs of other sizes.

Protocol: Corso et al. (NeurIPS 2020) with their mixture and all six targets; 5120 training graphs
of 15 to 24 nodes, 640 for validation, 320 (theirs: 1280) for each test range; the epoch with the
best validation score is tested; the score is the mean over targets of log10(mean squared error),
lower is better. Every run has the steps that took {minutes} minutes of processor time where they
were timed and, but for its aggregations and its learning rate, the network and the recipe of
configs/multitask_monoid.yaml (16 channels, four towers, n // 2 layers of which the second is
repeated, GRU update); the learning rate of each is the one of {rates} with the best validation
score of seed {first}; seeds {seeds}. A row "PNA aggregators" has these in that network, which is
not the published PNA. Published: Ong and Velickovic (LoG 2022), 1000 epochs, means of three runs;
here the number of epochs is what the time allows, and stands in the table. Methods without a row
were not measured.

The result file is written after every run; runs that are complete are read.

    python benchmarks/accuracy/multitask.py [--minutes 6] [--seeds 0] [--methods ...]
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.pictures import draw_sizes
from benchmarks.provenance import start
from benchmarks.rows import Cell, Column, Row, Table, measured
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
from geqlib.data import MultitaskData
from geqlib.data.graphs.multitask import SPAN, STARTS
from geqlib.train.tasks.generated import GRAPH_TASKS, NODE_TASKS

CONFIG = Path("configs/multitask_monoid.yaml")
CHANNELS = 16
TEST = 64  # graphs of each size, five of which are a range
METHODS = ("monoid", "monoid, learnt", "monoid, exact", "PNA aggregators", "max", "sum")
MINUTES, SEEDS = 6.0, (0,)
RATES = (1e-3, 3e-3, 1e-2)
FIRST = 0  # seed by which learning rates are chosen
# of those whose operators are not the configuration's
OPERATORS: dict[str, Any] = {"monoid, learnt": "gru", "monoid, exact": ["topk", "sum"]}
SCORES = ("log_mse", *NODE_TASKS, *GRAPH_TASKS)
COLUMNS = (
    Column("15-19 log_mse", "mean", "", ".2f"),
    *(Column(f"15-19 {key}", key.replace("_", " "), "", ".2f") for key in SCORES[1:]),
)
SOURCE = "Ong and Veličković 2022"
PUBLISHED = {
    "PNA, 128 channels": (-3.09, -2.94, -2.88, -3.82, -2.42, -3.00, -3.48),
    "PNA, 16 channels": (-3.04, -2.99, -2.81, -2.83, -2.91, -2.98, -3.71),
    "Binary-GRU": (-3.00, -2.85, -2.77, -3.87, -2.34, -2.88, -3.29),
    "GRU": (-2.91, -2.84, -2.71, -3.73, -2.20, -2.88, -3.11),
    "max": (-2.53, -2.36, -2.16, -2.59, -2.54, -2.67, -2.87),
    "sum": (-2.50, -2.33, -2.26, -2.37, -1.82, -2.69, -3.52),
}


def main() -> None:
    command = _arguments()
    options = {name: _options(name) for name in command.methods}
    budget = budgeted("multitask", {k: (CONFIG, options[k]) for k in options}, command.minutes)
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in options}  # seed by seed
    changes = {name: options[name] | budget[name] for name in options}
    rates = {name: searched_rate(name, changes[name], command.minutes) for name in options}
    for seed in command.seeds:
        for name in options:
            run = trained_here(*_run(name, changes[name], rates[name], seed, command.minutes))
            runs[name].append(run | {"rate": rates[name]})
            rows = [
                replace(own_row(k, cells(done)), **measured_by(done))
                for k, done in runs.items()
                if done
            ]
            table = compared(rows)
            settings = {"minutes": command.minutes, "seeds": command.seeds}
            picture = "score against graph size"
            result = measured("accuracy/multitask", __doc__, [table], settings, picture)
            publish(result, draw(table))


def searched_rate(name: str, changes: dict[str, object], minutes: float) -> float:
    """The learning rate with the best validation score; its runs are full ones, without a test."""
    folders = {rate: fitted_here(*_run(name, changes, rate, FIRST, minutes)) for rate in RATES}
    return chosen_rate(folders, "val/log_mse")


def cells(runs: list[dict[str, Any]]) -> dict[str, Cell]:
    scores: dict[str, Cell] = {
        f"{_range(start)} {key}": metric(runs, f"test/{key}_{_range(start)}")
        for start in STARTS
        for key in SCORES
    }
    fit = {key: runs[0]["fit"][key] for key in ("parameters", "epochs", "steps")}
    return scores | fit | {"rate": runs[0]["rate"]}


def own_row(name: str, cells: dict[str, Cell]) -> Row:
    setup = f"{cells['epochs']} epochs, learning rate {cells['rate']:g}"
    if name.startswith("monoid"):
        return Row((f"geqlib, {name}",), cells, setup=setup)
    return Row((name,), cells, "peer", setup)


def compared(rows: list[Row]) -> Table:
    keys = [column.key for column in COLUMNS]
    published = (
        Row((name,), dict(zip(keys, scores, strict=True)), "published", source=SOURCE)
        for name, scores in PUBLISHED.items()
    )
    return Table(("",), COLUMNS, (*published, *rows), keys[0])


def draw(table: Table) -> Figure:
    curves = {
        row.labels[0]: {s + SPAN / 2 - 0.5: row.value(f"{_range(s)} log_mse") for s in STARTS}
        for row in table.rows
        if row.origin != "published"
    }
    return draw_sizes(
        {"six targets": curves},
        x="nodes of the graph",
        y="mean log10 of squared errors",
        trained=(15, 24),
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--minutes", type=float, default=MINUTES, help="of processor time per run")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    return parser.parse_args()


def _options(name: str) -> dict[str, object]:
    net = "model.init_args.model.init_args"
    options = QUIET | {"data.init_args.test": TEST}
    if name == "monoid":
        return options
    aggr: Any = name
    if name in OPERATORS:
        aggr = {
            "class_path": "geqlib.nn.MonoidAggregation",
            "init_args": {"channels": CHANNELS, "operator": OPERATORS[name]},
        }
    if name == "PNA aggregators":
        data = MultitaskData()
        data.prepare_data()
        data.setup()
        aggr = {
            "class_path": "benchmarks.peers.aggregations.PNAAggregation",
            "init_args": {"channels": CHANNELS, "degrees": data.degrees()},
        }
    readout = aggr if name in OPERATORS else "sum"
    return options | {f"{net}.aggr": aggr, f"{net}.readout": readout}


def _run(
    name: str, options: dict[str, object], rate: float, seed: int, minutes: float
) -> tuple[Path, Path, dict[str, object], int]:
    """Folder, configuration, changes to it and seed."""
    words = name.replace(",", "").replace(" ", "-")
    folder = RUNS / f"multitask-{words}-{minutes:g}min-lr{rate:g}-seed{seed}"
    return folder, CONFIG, options | {"model.init_args.lr": rate}, seed


def _range(start: int) -> str:
    return f"{start}-{start + SPAN - 1}"


if __name__ == "__main__":
    start(main)
