"""Graph classification on TU sets with counts of motifs: SPEN and PPGN++, and GIN beside them.

Protocol: the ten usual index files. With counts: cycles of 3 to 6 nodes through every node beside
its labels, the 28 orbit adjacencies of every pair of nodes (SPEN, PPGN++), and cliques of 3 to 6
nodes of every graph, exact and as log(1 + count). All rows have one recipe: {channels} channels,
{layers} layers, learning rate {rate}, batches of {batch} and dropout {dropout} (PPGN++ has none);
`--choose` compares it with others on validation parts. GIN has the width that comes nearest to
SPEN's number of parameters. "As in the papers": GIN's protocol, {epochs} epochs on the whole
training part, and one epoch for all folds, that with the best mean test accuracy; mean and standard
deviation over folds. "Fold-wise": 10 % of the training part are held out, and the epoch of each
fold is that of least loss on them: no test graph chooses anything. Seeds {small_seeds} on MUTAG and
PTC, {large_seeds} on the others. Tests are paired over folds, against SPEN with counts.

Finished folds are not trained again, and the result file is written after each set.

    python benchmarks/accuracy/tu_motifs.py [MUTAG ...] [--models SPEN ...] [--epochs 350]
        [--protocols papers fold-wise] [--jobs J]
    python benchmarks/accuracy/tu_motifs.py --choose [MUTAG PTC] [--epochs 100]
"""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.accuracy.tu import PUBLISHED, SETS, SOURCES, Recipe
from benchmarks.provenance import oldest, recorded, running, start
from benchmarks.rows import Cell, Column, Row, Table, Value, joined, measured
from benchmarks.tables import publish
from benchmarks.training import RUNS, least
from benchmarks.variants import options
from geqlib.cli.cv import main as cross_validate
from geqlib.models import SPEN, MessagePassingNet
from geqlib.motifs.features import motif_features
from geqlib.report.cross_validation import paired_test
from geqlib.train.runs.configuration import as_arguments

NAME = "accuracy/tu_motifs"
CONFIGS = {
    "SPEN": Path("configs/tu_spen.yaml"),
    "GIN": Path("configs/tu_gin.yaml"),
    "PPGN++": Path("configs/tu_ppgn.yaml"),
}
COUNTS: dict[str, Any] = {"nodes": ["C3", "C4", "C5", "C6"], "graph": "cliques"}
OF_PAIRS = {"pairs": "orbits"}
# row -> network, and whether it has counts
MODELS = {
    "SPEN, counts": ("SPEN", True),
    "PPGN++, counts": ("PPGN++", True),
    "GIN, counts": ("GIN", True),
    "SPEN": ("SPEN", False),
    "GIN": ("GIN", False),
}
FIRST = "SPEN, counts"
CHANNELS, LAYERS, RATE = 32, 3, 1e-3
RECIPE = Recipe(CHANNELS, LAYERS, RATE)
RECIPES = (RECIPE, Recipe(32, 4, 1e-3), Recipe(16, 3, 1e-3), Recipe(32, 3, 5e-3))
BATCH, DROPOUT, EPOCHS = 32, 0.5, 350
SMALL = ("MUTAG", "PTC")
SMALL_SEEDS, LARGE_SEEDS = (0, 1, 2), (0,)
VALIDATION = {"papers": 0.0, "fold-wise": 0.1}
WIDTHS = range(8, 257, 4)  # of GIN
COLUMNS = (
    Column("papers", "as in the papers", "%", ".1f", 100),
    Column("papers, difference", "SPEN with counts less this", "%", "+.1f", 100),
    Column("papers, p", "p", "", ".2g"),
    Column("fold-wise", "fold-wise", "%", ".1f", 100),
    Column("fold-wise, difference", "SPEN with counts less this", "%", "+.1f", 100),
    Column("fold-wise, p", "p", "", ".2g"),
    Column("parameters", "parameters"),
    Column("minutes", "minutes of training", "", ".0f"),
)


def main() -> None:
    parser = ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("sets", nargs="*", help=f"some of {', '.join(SETS)}; all by default")
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--protocols", nargs="+", default=list(VALIDATION), choices=VALIDATION)
    parser.add_argument("--seeds", type=int, nargs="+", help="by default as the protocol says")
    parser.add_argument("--folds", type=int, nargs="+", help="all by default")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--jobs", type=int, default=1, help="folds at a time")
    parser.add_argument("--choose", action="store_true", help="compare recipes on validation parts")
    command = parser.parse_args()
    if strange := set(command.sets) - set(SETS):
        parser.error(f"unknown sets {', '.join(sorted(strange))}: choose from {', '.join(SETS)}")
    if command.choose:
        for line in choice(command):
            sys.stdout.write(f"{line}\n")
        return
    for name in command.sets or SETS:
        outcomes = {model: outcome(name, model, command) for model in command.models}
        own = tuple(own_row(name, model, outcomes) for model in outcomes)
        table = joined(NAME, Table(("", "model"), COLUMNS, own, "fold-wise"))
        whole = replace(table, rows=with_published(table.rows))
        publish(measured("accuracy/tu_motifs", __doc__, [whole], {"epochs": command.epochs}))


def choice(command: Namespace) -> list[str]:
    """The mean of the least validation losses of each recipe, over models, sets and folds: the
    recipe of all rows is the one with the smallest, written into this script and committed."""
    losses = {
        recipe: np.mean(
            [
                cross_validated(name, model, recipe, "fold-wise", command)["losses"]
                for name in command.sets or SMALL
                for model in command.models
            ]
        )
        for recipe in RECIPES
    }
    best = min(losses, key=lambda recipe: losses[recipe])
    return [f"{r.name}: {loss:.4f}{' (best)' * (r == best)}" for r, loss in losses.items()]


def outcome(name: str, model: str, command: Namespace) -> dict[str, Any]:
    """`folds.json` of each protocol."""
    return {
        protocol: cross_validated(name, model, RECIPE, protocol, command)
        for protocol in command.protocols
    }


def cross_validated(
    name: str, model: str, recipe: Recipe, protocol: str, command: Namespace
) -> dict[str, Any]:
    """`folds.json` of a row, with the least validation losses of its runs."""
    config, changes = settings(name, model, recipe)
    changes |= {
        "data.validation": VALIDATION[protocol],
        "trainer.max_epochs": command.epochs,
    }
    word = "-".join(model.replace(",", "").replace("+", "p").lower().split())
    out = RUNS / f"cv-motifs-{SETS[name]}-{word}-{recipe.name}-{protocol}-{command.epochs}epochs"
    begun = {"provenance": recorded(out, running())}
    arguments = [f"--config={config}", f"--out={out}", f"--jobs={command.jobs}"]
    seeds = command.seeds or (SMALL_SEEDS if name in SMALL else LARGE_SEEDS)
    arguments += ["--seeds", *map(str, seeds)]
    if command.folds is not None:
        arguments += ["--folds", *map(str, command.folds)]
    if code := cross_validate([*arguments, *as_arguments(changes)]):
        raise SystemExit(code)
    summary = json.loads((out / "folds.json").read_text())
    if VALIDATION[protocol]:
        folders = [out / f"fold{k}-seed{s}" for k in summary["folds"] for s in seeds]
        summary["losses"] = [least(folder, "val/loss") for folder in folders]
    return summary | begun


def settings(name: str, model: str, recipe: Recipe) -> tuple[Path, dict[str, Any]]:
    """Configuration and changes to it, of which a set's labels are those of tu_gin.yaml."""
    network, counted = MODELS[model]
    net = "model.model"
    variant: dict[str, Any] = {} if name == "MUTAG" else options(CONFIGS["GIN"], name)
    inputs = int(variant.get(f"{net}.in_channels", 7))
    features = COUNTS | (OF_PAIRS if network != "GIN" else {}) if counted else {}
    counts = motif_features(features).channels if features else {}
    changes: dict[str, Any] = {
        "data.name": name,
        "data.batch_size": BATCH,
        "model.lr": recipe.lr,
        f"{net}.in_channels": inputs + counts.get("x", 0),
        f"{net}.channels": recipe.channels,
        f"{net}.layers": recipe.layers,
    }
    if network != "PPGN++":
        changes[f"{net}.dropout"] = DROPOUT
    if counted:
        changes |= {"data.features": features, f"{net}.graph_dim": counts["motifs"]}
    if "pair_attr" in counts:
        changes[f"{net}.pair_dim"] = counts["pair_attr"]
    if network == "GIN":
        changes[f"{net}.channels"] = width_like(recipe, inputs, counted=counted)
    return CONFIGS[network], changes


def width_like(recipe: Recipe, inputs: int, *, counted: bool) -> int:
    """The width at which GIN has about as many parameters as SPEN, both with counts or without."""
    size: dict[str, Any] = {"layers": recipe.layers}
    more: dict[str, Any] = {"graph_dim": 4} if counted else {}
    inputs += 4 * counted
    of_pairs: dict[str, Any] = {"pair_dim": 28} if counted else {}
    target = _parameters(
        SPEN(inputs, 2, channels=recipe.channels, symmetric=True, **size, **more, **of_pairs)
    )
    sizes = {
        w: _parameters(MessagePassingNet(inputs, 2, channels=w, **size, **more)) for w in WIDTHS
    }
    return min(sizes, key=lambda width: abs(sizes[width] - target))


def _parameters(net: Any) -> int:
    return sum(p.numel() for p in net.parameters() if p.requires_grad)


def with_published(own: Sequence[Row]) -> tuple[Row, ...]:
    """Rows set by set, each with those that were published of it."""
    measured_sets = {row.labels[0] for row in own}
    published = [
        Row((name, other), {"papers": Value(*of_sets[name])}, "published", source=SOURCES[other])
        for other, of_sets in PUBLISHED.items()
        for name in of_sets
        if name in measured_sets
    ]
    order = list(SETS)
    return tuple(sorted([*own, *published], key=lambda row: order.index(row.labels[0])))


def own_row(name: str, model: str, outcomes: Mapping[str, Mapping[str, Any]]) -> Row:
    by_protocol = outcomes[model]
    some = next(iter(by_protocol.values()))
    minutes = sum(summary["minutes"] for summary in by_protocol.values())
    cells: dict[str, Cell] = {"parameters": some["parameters"], "minutes": minutes}
    for protocol, summary in by_protocol.items():
        scores = summary["selected" if VALIDATION[protocol] else "published"]
        means = tuple(scores["fold_means"])
        cells[protocol] = Value(scores["mean"], scores["std"], means)
        first = outcomes.get(FIRST, {}).get(protocol)
        if first is not None and model != FIRST and len(means) > 1:
            key = "selected" if VALIDATION[protocol] else "published"
            test = paired_test(first[key]["fold_means"], means)
            cells[f"{protocol}, difference"], cells[f"{protocol}, p"] = test.values()
    setup = f"{RECIPE.name}, {len(some['folds'])} folds, seeds {some['seeds']}"
    origin = "peer" if MODELS[model][0] == "GIN" else "geqlib"
    return Row((name, model), cells, origin, setup, **oldest(by_protocol.values(), running()))


if __name__ == "__main__":
    start(main)
