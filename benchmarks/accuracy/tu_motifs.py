"""Graph classification on TU sets with counts of motifs: SPEN and PPGN++, and GIN beside them.

Protocol: the ten usual index files. With counts: cycles of 3 to 6 nodes through every node beside
its labels, the 28 orbit adjacencies of every pair of nodes (SPEN, PPGN++), and cliques of 3 to 6
nodes of every graph, exact and as log(1 + count). Every model has one recipe for all sets, named
beside its rows (channels x layers and learning rate), batches of {batch} and dropout {dropout}
(PPGN++ has none). Recipes are those of least loss on validation parts, model by model, of a search
(`--choose`) that is the same for all and is kept in the table of losses; without it, {channels}
channels, {layers} layers and a learning rate of {rate}. GIN has, in every recipe, the width that
comes nearest to SPEN's number of parameters. "As in the papers": GIN's protocol, {epochs} epochs
on the whole training part, and one epoch for all folds, that with the best mean test accuracy; mean
and standard deviation over folds. "Fold-wise": 10 % of the training part are held out, and the
epoch of each fold is that of least loss on them: no test graph chooses anything. Seeds
{small_seeds} on MUTAG and PTC, {large_seeds} on the others. Tests are paired over folds, with
SPEN with counts.

Finished folds are not trained again, and the result file is written after each set. Runs of other
epochs, seeds, or some of the folds, models or protocols alone are printed, and not published.

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
from benchmarks.tables import drawn, markdown, publish
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
CHOSEN = dict.fromkeys(MODELS, RECIPE)  # what `--choose` found for each model
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
LOSSES = (
    *(Column(recipe.name, recipe.name, "", ".4f") for recipe in RECIPES),
    Column("best", "best"),
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
        show(command, (), tuple(choice(model, command) for model in command.models))
        return
    for name in command.sets or SETS:
        outcomes = {model: outcome(name, model, command) for model in command.models}
        show(command, tuple(own_row(name, model, outcomes) for model in outcomes), ())


def show(command: Namespace, own: tuple[Row, ...], losses: tuple[Row, ...]) -> None:
    """Publish rows beside those of an earlier result, or print those of a run in part."""
    tables = [
        Table(("", "model"), COLUMNS, own, "fold-wise"),
        Table(("losses of recipes",), LOSSES, losses),
    ]
    if not is_whole(command):
        sys.stdout.write("\n".join(markdown(*drawn(table)) for table in tables if table.rows))
        return
    rows, recipes = (joined(NAME, table, k) for k, table in enumerate(tables))
    rows = replace(rows, rows=with_published(rows.rows))
    publish(measured("accuracy/tu_motifs", __doc__, [rows, recipes]))


def is_whole(command: Namespace) -> bool:
    """Whether a run is what the protocol says, so that its rows may replace others.

    Models are compared in one run, and a recipe is chosen once for all sets; sets may come one by
    one, and the epochs of the search are free.
    """
    of_protocol = command.seeds is None and command.folds is None
    every = set(command.models) == set(MODELS) and set(command.protocols) == set(VALIDATION)
    free = not command.sets if command.choose else command.epochs == EPOCHS
    return of_protocol and every and free


def choice(model: str, command: Namespace) -> Row:
    """The mean of the least validation losses of a model with each recipe, over sets and folds; the
    recipe with the smallest is written into `CHOSEN` and committed."""
    runs = {
        recipe: [
            cross_validated(name, model, recipe, "fold-wise", command)
            for name in command.sets or SMALL
        ]
        for recipe in RECIPES
    }
    losses = {
        recipe.name: float(np.mean([run["losses"] for run in of_recipe]))
        for recipe, of_recipe in runs.items()
    }
    best = min(losses, key=losses.__getitem__)
    every = [run for of_recipe in runs.values() for run in of_recipe]
    setup = f"{', '.join(command.sets or SMALL)}, {command.epochs} epochs"
    return Row((model,), {**losses, "best": best}, setup=setup, **oldest(every, running()))


def outcome(name: str, model: str, command: Namespace) -> dict[str, Any]:
    """`folds.json` of each protocol."""
    return {
        protocol: cross_validated(name, model, CHOSEN[model], protocol, command)
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
    setup = f"{CHOSEN[model].name}, {len(some['folds'])} folds, seeds {some['seeds']}"
    origin = "peer" if MODELS[model][0] == "GIN" else "geqlib"
    return Row((name, model), cells, origin, setup, **oldest(by_protocol.values(), running()))


if __name__ == "__main__":
    start(main)
