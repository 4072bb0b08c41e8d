"""Choosing a subset: does it help to see the whole set, on points and on compounds?

Protocol: two moons and two Gaussians, 10 of 100 points chosen, and the same share of test sets of
200, 400 and 1000 without further training; two moons with 3 of 10 points; and the 5 most lipophilic
of 30 compounds (lipo of MoleculeNet, fingerprints of 512 counts, scaffold split by molecule). 1000
sets for training, 200 for validation, 200 of points and 500 of compounds for testing;
configurations moons and lipo, _inset and _equivset: 32 channels, width 64 (compounds 64 and 64; the
papers 256 and 500), an embedding with a hidden layer where theirs is linear, one mean-field step,
{samples} samples (the papers 8 for INSET, 5 for EquiVSet), Adam at 3e-3 with a cosine schedule
(compounds 1e-3, constant), batches of 32, {moons}, {gaussians}, {few} and {compounds} epochs, of
which the one with the highest validation index is tested; seeds {seeds} of weights, sets and
points. Mean Jaccard index of the subsets of the |S*| highest marginals; beside it that of the
marginals above 1/2. "Best possible" is the ratio of the densities that points were drawn from, with
the true background; "random" a random subset. DeepSet scores elements beside a sum over their set,
by the same loss, with the channels, width and dropout of the configurations. Points are drawn by
the papers' rules, and are not theirs. At most {total} minutes of processor time in all.

The result file is written after every run; runs that are complete are read.

    GEQLIB_DATA=FOLDER OMP_NUM_THREADS=1 python benchmarks/accuracy/subsets.py
        [--seeds 0 1] [--tasks moons lipo] [--methods "EquiVSet"] [--epochs 2]

With other epochs the table is printed and not kept.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from math import comb
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.peers.densities import density_ratios
from benchmarks.provenance import start
from benchmarks.rows import Cell, Column, Row, Table, joined, measured, over
from benchmarks.tables import drawn, markdown, publish
from benchmarks.training import QUIET, RUNS, measured_by, metric, trained_here
from geqlib.data import SubsetData
from geqlib.data.subsets import TEST_SIZES
from geqlib.subsets.selection import jaccard, top_subsets

NAME = "accuracy/subsets"
POINTS, MOLECULES = "moons", "lipo"  # of configurations: configs/NAME_inset.yaml
SEEDS = (0, 1, 2, 3, 4)
MOONS, GAUSSIANS, FEW, COMPOUNDS = 8, 4, 25, 10  # epochs
SAMPLES, TOTAL = 8, 60
BEST_OF = 200  # sets
TASK, NETWORK = "model.init_args", "model.init_args.model.init_args"
DATA = "data.init_args"
LINEAR: dict[str, object] = {f"{NETWORK}.embed.init_args.channel_list": [2, 32]}
METHODS: dict[str, dict[str, object]] = {
    "INSET, superset": {},
    "INSET, complement": {f"{NETWORK}.background": "complement"},
    "INSET, all negatives": {f"{TASK}.negatives": "all"},
    "INSET, linear embedding": LINEAR,
    "EquiVSet": {},
    "EquiVSet, copula": {f"{NETWORK}.start": "copula"},
    "EquiVSet, linear embedding": LINEAR,
    "DeepSet": {},
}
MAIN = ("INSET, superset", "EquiVSet", "DeepSet")


class Problem(NamedTuple):
    """A kind of sets.

    Args:
        title: in the table.
        config: first word of the names of its configurations.
        options: changes to them.
        features: of an element.
        size, chosen: of the sets and of their subsets.
        epochs: of training.
        methods: that are compared.
    """

    title: str
    config: str
    options: Mapping[str, object]
    features: int
    size: int
    chosen: int
    epochs: int
    methods: tuple[str, ...] = MAIN


PROBLEMS = {
    "moons": Problem("moons, 10 of 100", POINTS, {}, 2, 100, 10, MOONS, tuple(METHODS)),
    "gaussians": Problem(
        "Gaussians, 10 of 100", POINTS, {f"{DATA}.name": "gaussians"}, 2, 100, 10, GAUSSIANS
    ),
    "few": Problem(
        "moons, 3 of 10",
        POINTS,
        {f"{DATA}.size": 10, f"{DATA}.chosen": 3, f"{DATA}.test_sizes": [10]},
        2,
        10,
        3,
        FEW,
        (MAIN[0], "INSET, complement", *MAIN[1:]),
    ),
    "lipo": Problem("compounds, 5 of 30", MOLECULES, {}, 512, 30, 5, COMPOUNDS),
}
LARGER = TEST_SIZES[1:]
COLUMNS = (
    Column("own", "sets as in training", "", ".3f"),
    *(Column(f"{n}", f"sets of {n}", "", ".3f") for n in LARGER),
    Column("half", "marginals above 1/2", "", ".3f"),
    Column("parameters", "parameters"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--tasks", nargs="+", choices=list(PROBLEMS), default=list(PROBLEMS))
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--epochs", type=int, help="of every run, for a trial")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[Row] = []
    for problem in options.tasks:
        rows += references(problem, options.seeds)
        for method in PROBLEMS[problem].methods:
            if method in options.methods:
                runs = [run(problem, method, seed, options.epochs) for seed in options.seeds]
                rows.append(row(problem, method, runs))
            if options.epochs is None:
                settings = {"seeds": tuple(options.seeds)}
                publish(
                    measured("accuracy/subsets", __doc__, [joined(NAME, table(rows))], settings)
                )
    if options.epochs is not None:
        sys.stdout.write(markdown(*drawn(table(rows))))


def table(rows: list[Row]) -> Table:
    return Table(("sets", "method"), COLUMNS, tuple(rows), "own")


def row(problem: str, method: str, runs: list[dict[str, Any]]) -> Row:
    chosen = PROBLEMS[problem]
    measures = runs[0]["metrics"]
    cells: dict[str, Cell] = {
        "own": metric(runs, f"test/jaccard_{chosen.size}"),
        "half": metric(runs, f"test/jaccard_half_{chosen.size}"),
        "parameters": runs[0]["fit"]["parameters"],
    }
    for n in LARGER:
        if f"test/jaccard_{n}" in measures:
            cells[f"{n}"] = metric(runs, f"test/jaccard_{n}")
    setup = f"{len(runs)} seeds"
    origin = "peer" if method == "DeepSet" else "geqlib"
    return Row((chosen.title, method), cells, origin, setup, **measured_by(runs))


def references(problem: str, seeds: list[int]) -> list[Row]:
    """A random subset and, of points, the best that can be done."""
    chosen = PROBLEMS[problem]
    random = {"own": random_index(chosen.size, chosen.chosen)}
    rows = [Row((chosen.title, "random"), random, "peer")]
    if chosen.config == POINTS:
        best: dict[str, Cell] = {"own": over([best_index(problem, seed) for seed in seeds])}
        rows.append(Row((chosen.title, "best possible"), best, "peer"))
    return rows


def random_index(size: int, chosen: int) -> float:
    """Mean Jaccard index of a random subset of the right size: k / (2 |S*| - k) over k, which is
    hypergeometric."""
    ways = [comb(chosen, k) * comb(size - chosen, chosen - k) for k in range(chosen + 1)]
    return sum(way * k / (2 * chosen - k) for k, way in enumerate(ways)) / comb(size, chosen)


def best_index(problem: str, seed: int) -> float:
    """Of the ratio of densities, with the background of each set, on the test sets of a seed."""
    chosen = PROBLEMS[problem]
    own = {key.removeprefix(f"{DATA}."): value for key, value in chosen.options.items()}
    sizes: Any = {"test_sizes": [chosen.size], "train": 1, "val": 1, "test": BEST_OF}
    data = SubsetData(**(own | sizes), data_seed=seed)
    data.setup()
    sets = data.splits[f"test {chosen.size}"]
    x, y = sets.x.view(len(sets), chosen.size, 2), sets.y.view(len(sets), chosen.size) > 0
    scores = torch.stack(
        [density_ratios(data.name, points, mask) for points, mask in zip(x, y, strict=True)]
    )
    top = top_subsets(
        scores.flatten(), torch.full((len(sets),), chosen.chosen), sets.batch, len(sets)
    )
    return float(jaccard(top, y.flatten(), sets.batch, len(sets)).mean())


def config_of(problem: str, method: str) -> Path:
    name = "inset" if method.startswith("INSET") else "equivset"
    return Path(f"configs/{PROBLEMS[problem].config}_{name}.yaml")


def options_of(problem: str, method: str) -> dict[str, object]:
    """Changes to the configuration of a method."""
    chosen = PROBLEMS[problem]
    options = QUIET | dict(chosen.options) | METHODS[method]
    if method == "DeepSet":
        sizes = {"in_channels": chosen.features, **sizes_of(config_of(problem, method))}
        peer = {"class_path": "benchmarks.peers.deep_sets.DeepSet", "init_args": sizes}
        return options | {"model.init_args.model": peer}
    return options | {f"{NETWORK}.samples": SAMPLES}


def sizes_of(config: Path) -> dict[str, object]:
    """Channels, width and dropout of the network of a configuration."""
    network = yaml.safe_load(config.read_text())["model"]["init_args"]["model"]["init_args"]
    dropout = network["embed"]["init_args"].get("dropout", 0.0)
    return {"channels": network["channels"], "hidden": network["hidden"], "dropout": dropout}


def run(problem: str, method: str, seed: int, epochs: int | None) -> dict[str, Any]:
    """Results of a run that is read, or trained and tested."""
    epochs = PROBLEMS[problem].epochs if epochs is None else epochs
    options = {f"{DATA}.data_seed": seed, "trainer.max_epochs": epochs}
    words = method.replace(",", "").replace(" ", "-")
    folder = RUNS / f"subsets-{problem}-{words}-{epochs}-{seed}"
    changes = options_of(problem, method) | options
    return trained_here(folder, config_of(problem, method), changes, seed)


if __name__ == "__main__":
    start(main)
