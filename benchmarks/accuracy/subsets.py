"""Choosing a subset: does it help to see the whole set, on sets of 100 and on larger ones?

Protocol: two moons and two Gaussians, 1000 sets each for training, validation and testing, 10 of
100 points chosen, the same share of test sets of 200, 400 and 1000; {channels} channels, width
{hidden} (the papers: 256 and 500), one mean-field step, Adam with rate {rate}, batches of 128,
{epochs} epochs, of which the one with the highest validation index is tested; seeds {seeds} of
weights and of the sets. Mean Jaccard index of the subsets of the |S*| highest marginals, which are
told the true size; a random subset of a tenth has {random}. DeepSet scores elements beside a sum
over their set and is trained by the same loss. Points are drawn by the papers' rules, and are not
theirs.

The result file is written after every run; runs that are complete are read.

    python benchmarks/accuracy/subsets.py [--seeds 0 1] [--epochs 2] [--sets moons]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.provenance import start
from benchmarks.rows import Cell, Column, Row, Table, measured
from benchmarks.tables import drawn, markdown, publish
from benchmarks.training import QUIET, RUNS, measured_by, metric, trained_here
from geqlib.data.subsets import TEST_SIZES

INSET, EQUIVSET = Path("configs/moons_inset.yaml"), Path("configs/moons_equivset.yaml")
SETS = ("moons", "gaussians")
SEEDS = (0, 1, 2, 3, 4)
EPOCHS, RATE, CHANNELS, HIDDEN = 30, 1e-3, 64, 128
RANDOM = 0.055  # mean of k / (20 - k), k of a hypergeometric draw of 10 from 10 of 100
COLUMNS = (
    *(Column(f"{n}", f"sets of {n}", "", ".3f") for n in TEST_SIZES),
    Column("half_100", "marginals above 1/2, sets of 100", "", ".3f"),
    Column("parameters", "parameters"),
)
NETWORK = "model.init_args.model.init_args"
METHODS: dict[str, tuple[Path, dict[str, object]]] = {
    "INSET, superset": (INSET, {}),
    "INSET, complement": (INSET, {f"{NETWORK}.background": "complement"}),
    "INSET, superset, copula": (INSET, {f"{NETWORK}.start": "copula", f"{NETWORK}.rank": 8}),
    "EquiVSet, mean field": (EQUIVSET, {}),
    "EquiVSet, copula": (EQUIVSET, {f"{NETWORK}.start": "copula"}),
    "DeepSet": (
        EQUIVSET,
        {
            "model.init_args.model": {
                "class_path": "benchmarks.peers.deep_sets.DeepSet",
                "init_args": {"in_channels": 2, "channels": CHANNELS, "hidden": HIDDEN},
            }
        },
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of every run")
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    options = parser.parse_args()
    runs: dict[tuple[str, str], list[dict[str, Any]]] = {}
    whole = options.epochs == EPOCHS and options.methods == list(METHODS)
    for seed in options.seeds:
        for name in options.sets:
            for method in options.methods:
                done = run(name, method, seed, options.epochs)
                runs.setdefault((name, method), []).append(done)
                if whole:
                    settings = {"seeds": options.seeds}
                    publish(measured("accuracy/subsets", __doc__, [table(runs)], settings))
    if not whole:
        sys.stdout.write(markdown(*drawn(table(runs))))


def table(runs: dict[tuple[str, str], list[dict[str, Any]]]) -> Table:
    return Table(("sets", "method"), COLUMNS, tuple(map(row, runs, runs.values())), "100")


def row(labels: tuple[str, str], several: list[dict[str, Any]]) -> Row:
    cells: dict[str, Cell] = {str(n): metric(several, f"test/jaccard_{n}") for n in TEST_SIZES}
    cells["half_100"] = metric(several, "test/jaccard_half_100")
    cells["parameters"] = several[0]["fit"]["parameters"]
    origin = "peer" if labels[1] == "DeepSet" else "geqlib"
    return Row(labels, cells, origin, **measured_by(several))


def run(name: str, method: str, seed: int, epochs: int) -> dict[str, Any]:
    """Results of a run that is read, or trained and tested."""
    words = method.replace(",", "").replace(" ", "-")
    options: dict[str, object] = QUIET | {
        "data.init_args.name": name,
        "data.init_args.data_seed": seed,
        "model.init_args.lr": RATE,
        "trainer.max_epochs": epochs,
    }
    folder = RUNS / f"subsets-{name}-{words}-{epochs}-{seed}"
    config, changes = METHODS[method]
    return trained_here(folder, config, options | changes, seed)


if __name__ == "__main__":
    start(main)
