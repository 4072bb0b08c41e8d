"""Graph algorithms on random graphs: the PNA multitask benchmark, and graphs of other sizes.

Protocol: Corso et al. (NeurIPS 2020) with their mixture and all six targets; 5120 training graphs
of 15 to 24 nodes, 640 for validation, 320 (theirs: 1280) for each test range; the epoch with the
best validation score is tested; the score is the mean over targets of log10(mean squared error),
lower is better. Every run has the same processor time for its training steps and, but for its
aggregations, the network and the recipe of configs/multitask_monoid.yaml (16 channels, four towers,
n // 2 layers of which the second is repeated, GRU update). Published: Ong and Velickovic (LoG
2022), 1000 epochs, three seeds; here the number of epochs is what the time allows, and stands in
the table.

The result file is written after every run; runs that are complete are read.

    python benchmarks/accuracy/multitask.py [--minutes 6] [--seeds 0] [--methods ...]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.budget import budgeted
from benchmarks.curves import plot_curves
from benchmarks.markdown import markdown
from benchmarks.measure import RESULTS, write_result
from benchmarks.training import RUNS, show, summary, trained_here
from geqlib.data import MultitaskData
from geqlib.data.graphs.multitask import SPAN, STARTS
from geqlib.train.tasks import GRAPH_TASKS, NODE_TASKS

CONFIG = Path("configs/multitask_monoid.yaml")
CHANNELS = 16
TEST = 64  # graphs of each size, five of which are a range
METHODS = ("monoid", "monoid, learnt", "monoid, exact", "PNA", "max", "sum")
# of those whose operators are not the configuration's
OPERATORS: dict[str, Any] = {"monoid, learnt": "gru", "monoid, exact": ["topk", "sum"]}
SCORES = ("log_mse", *NODE_TASKS, *GRAPH_TASKS)
Results = dict[str, list[dict[str, Any]]]  # of each method, seed by seed
PUBLISHED = {
    "PNA, 128 channels": (-3.09, -2.94, -2.88, -3.82, -2.42, -3.00, -3.48),
    "PNA, 16 channels": (-3.04, -2.99, -2.81, -2.83, -2.91, -2.98, -3.71),
    "Binary-GRU": (-3.00, -2.85, -2.77, -3.87, -2.34, -2.88, -3.29),
    "GRU": (-2.91, -2.84, -2.71, -3.73, -2.20, -2.88, -3.11),
    "max": (-2.53, -2.36, -2.16, -2.59, -2.54, -2.67, -2.87),
    "sum": (-2.50, -2.33, -2.26, -2.37, -1.82, -2.69, -3.52),
}


def main() -> None:
    given = _arguments()
    options = {name: _options(name) for name in given.methods}
    runs = {name: (CONFIG, options[name]) for name in options}
    budget = budgeted("multitask", runs, given.minutes)
    results: Results = {name: [] for name in options}
    for seed in given.seeds:
        for name in options:
            changes = options[name] | budget[name]
            results[name].append(_run(name, changes, seed, given.minutes))
            _write(results, given.minutes)
    lines = [
        (name, *(f"{row['15-19'][k]['mean']:.2f}" for k in SCORES), row["epochs"])
        for name, row in _rows(results).items()
    ]
    show("log10 of errors, graphs of 15 to 19", ("", *SCORES, "epochs"), lines)


def table(found: dict[str, Any]) -> str:
    lines: list[tuple[object, ...]] = [
        (name, *(f"{value:.2f}" for value in values), "published")
        for name, values in found["published"].items()
    ]
    lines += [
        (
            f"**geqlib, {name}**" if name.startswith("monoid") else name,
            *(f"{row['15-19'][key]['mean']:.2f}" for key in SCORES),
            f"measured, {row['epochs']} epochs",
        )
        for name, row in found["rows"].items()
    ]
    header = ("", "mean", *(task.replace("_", " ") for task in SCORES[1:]), "")
    image = "![score against graph size](../benchmarks/results/accuracy/multitask.png)\n"
    return f"{markdown(header, lines)}\n{image}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--minutes", type=float, default=6.0, help="of processor time a run")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    return parser.parse_args()


def _options(name: str) -> dict[str, object]:
    net = "model.init_args.model.init_args"
    options: dict[str, object] = {"data.init_args.test": TEST, "trainer.enable_progress_bar": False}
    if name == "monoid":
        return options
    aggr: Any = name
    if name in OPERATORS:
        aggr = {
            "class_path": "geqlib.nn.MonoidAggregation",
            "init_args": {"channels": CHANNELS, "operator": OPERATORS[name]},
        }
    if name == "PNA":
        data = MultitaskData()
        data.prepare_data()
        data.setup()
        aggr = {
            "class_path": "benchmarks.peers.aggregations.PNAAggregation",
            "init_args": {"channels": CHANNELS, "degrees": data.degrees()},
        }
    readout = aggr if name in OPERATORS else "sum"
    return options | {f"{net}.aggr": aggr, f"{net}.readout": readout}


def _run(name: str, options: dict[str, object], seed: int, minutes: float) -> dict[str, Any]:
    words = name.replace(",", "").replace(" ", "-")
    folder = RUNS / f"multitask-{words}-{minutes:g}min-seed{seed}"
    return trained_here(folder, CONFIG, options, seed)


def _write(results: Results, minutes: float) -> None:
    rows = _rows(results)
    content = {
        "protocol": " ".join((__doc__ or "").split("\n\n")[1].split()),
        "minutes": minutes,
        "rows": rows,
        "published": PUBLISHED,
    }
    write_result("accuracy/multitask", content)
    curves = {
        name: {start + SPAN / 2 - 0.5: row[_range(start)]["log_mse"] for start in STARTS}
        for name, row in rows.items()
    }
    plot_curves(
        RESULTS / "accuracy" / "multitask.png",
        {"six targets": curves},
        x="nodes of the graph",
        y="mean log10 of squared errors",
        trained=(15, 24),
    )


def _rows(results: Results) -> dict[str, Any]:
    return {name: _row(runs) for name, runs in results.items() if runs}


def _row(results: list[dict[str, Any]]) -> dict[str, Any]:
    parts = {
        _range(start): {key: summary(results, f"test/{key}_{_range(start)}") for key in SCORES}
        for start in STARTS
    }
    fit = results[0]["fit"]
    return parts | {"parameters": fit["parameters"], "epochs": fit["epochs"]}


def _range(start: int) -> str:
    return f"{start}-{start + SPAN - 1}"


if __name__ == "__main__":
    main()
