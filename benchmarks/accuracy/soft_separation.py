"""Which graphs do soft node orders distinguish, beside hard ones, and do they learn to?

Protocol: that of benchmarks/accuracy/separation.py, on the same graphs, for `FAMLP` in canonical
and in soft orders: graph8c (all pairs of the 11 117 connected graphs of 8 nodes) and EXP (600
pairs), untrained networks, at most {most} seeds; then classification of EXP, {epochs} epochs,
{seeds} seeds. Scores of soft orders are those of `geqlib.frames.node_scores.WalkScores`, trained
with the perceptron; "T" is their temperature. Nodes that a symmetry of the graph exchanges have one
score, and a soft order leaves them mixed: rows of soft orders are expected below the canonical one.

The whole takes about half an hour of a CPU core.

    GEQLIB_DATA=FOLDER python benchmarks/accuracy/soft_separation.py [--graphs 40] [--epochs 1]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.accuracy.separation import (
    COLUMNS,
    OUT,
    SETS,
    classification,
    labelled_batches,
    read,
    separation,
)
from benchmarks.provenance import start
from benchmarks.rows import Cell, Row, Table, measured, over
from benchmarks.tables import drawn, markdown, publish
from geqlib.frames.graph_networks import FAMLP

EPOCHS, SEEDS, MOST = 40, 3, 10  # by default
MODELS: dict[str, dict[str, Any]] = {
    "FA-MLP": {"orders": "canonical"},
    "SoftSort-MLP, T=0.1": {"orders": "softsort", "temperature": 0.1},
    "SoftSort-MLP, T=0.01": {"orders": "softsort", "temperature": 0.01},
    "Sinkhorn-MLP, T=0.01": {"orders": "sinkhorn", "temperature": 0.01},
}


def builders(name: str, out: int, act: Any) -> dict[str, Callable[[], FAMLP]]:
    """Networks for the graphs of a set."""
    kinds, nodes = (1, 8) if name == "graph8c" else (2, 73)
    build = partial(FAMLP, kinds, out, max_nodes=nodes, act=act)
    return {model: partial(build, **options) for model, options in MODELS.items()}


def cells(command: argparse.Namespace) -> dict[str, dict[str, Cell]]:
    """What is measured of each model."""
    measures: dict[str, dict[str, Cell]] = {model: {} for model in MODELS}
    for name in SETS:
        graphs, pairs = read(name)
        if command.graphs:
            graphs = graphs[: command.graphs]
            pairs = None if pairs is None else [p for p in pairs if max(p) < len(graphs)]
        networks = builders(name, OUT, "tanh")
        for model, counts in separation(graphs, pairs, networks, most=command.most).items():
            measures[model] |= {f"{name}, {key}": count for key, count in counts.items()}
    for model, build in builders("EXP", 1, "relu").items():
        batches = labelled_batches(build(), graphs=command.graphs)
        seeds = range(command.seeds)
        accuracies = [classification(build, batches, seed, command.epochs) for seed in seeds]
        measures[model]["accuracy"] = over(accuracies)
    return measures


def table(measures: dict[str, dict[str, Cell]]) -> Table:
    rows = tuple(Row((model,), of_model) for model, of_model in measures.items())
    return Table(("",), COLUMNS, rows, "accuracy")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--most", type=int, default=MOST, help="seeds of untrained networks")
    parser.add_argument("--graphs", type=int, help="the first of each set, and print alone")
    command = parser.parse_args()
    found = table(cells(command))
    if command.graphs:
        sys.stdout.write(markdown(*drawn(found)))
    else:
        settings = {"epochs": command.epochs, "seeds": command.seeds, "most": command.most}
        publish(measured("accuracy/soft_separation", __doc__, [found], settings))


if __name__ == "__main__":
    start(main)
