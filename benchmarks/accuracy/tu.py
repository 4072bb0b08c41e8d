"""Graph classification on TU sets: SPEN and GIN by ten folds, beside published tables.

Protocol: the ten usual index files. SPEN and GIN (and PNA, on request, with the degrees of the
training graphs of the first fold; both of torch_geometric) are given
the same search: {recipes} of the {all_recipes} recipes of {channels} channels, {layers} layers and
learning rates {rates}, drawn once for all sets; batches of {batch}, dropout {dropout}, {steps}
steps. Recipe by recipe GIN has the width that comes nearest to SPEN's number of parameters.
"Fold-wise": recipe and epoch of each fold are those of least loss on validation graphs out of its
training part (10 %), on which nothing is trained: no test graph chooses anything. "Published
protocol": the recipe of least validation loss in the mean over folds, and one epoch for all folds,
that with the best mean test accuracy, as in most published tables; mean and standard deviation over
folds. Tests are paired where both rows were measured here, and Welch's with 10 folds where one is
published. "Best published" is the highest accuracy of the published rows of that set.

Finished folds are not trained again, and the result file is written after each set.

    python benchmarks/accuracy/tu.py [MUTAG ...] [--models GIN PNA SPEN] [--seeds 0]
        [--recipes 4] [--minutes M] [--jobs J]
"""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from math import ceil
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
from scipy.stats import ttest_ind_from_stats

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.provenance import oldest, recorded, running, start
from benchmarks.rows import Cell, Column, Row, Table, Value, joined, measured
from benchmarks.tables import publish
from benchmarks.training import RUNS, least, step_seconds
from benchmarks.variants import options
from geqlib.cli.cv import main as cross_validate
from geqlib.data import GraphData
from geqlib.models import SPEN, MessagePassingNet
from geqlib.report.cross_validation import paired_test
from geqlib.train.runs.configuration import as_arguments

CONFIG, BASELINE = Path("configs/tu_spen.yaml"), Path("configs/tu_gin.yaml")
SETS = {
    "MUTAG": "mutag",
    "PTC": "ptc",
    "PROTEINS": "proteins",
    "NCI1": "nci1",
    "IMDB-BINARY": "imdb_binary",
}
MODELS = ("GIN", "PNA", "SPEN")
CHANNELS, LAYERS, RATES = (16, 32), (2, 4), (1e-3, 5e-3)
RECIPES, ALL_RECIPES = 4, 8
BATCH, DROPOUT, STEPS = 32, 0.5, 2000
WIDTHS = range(8, 257, 4)  # of GIN
# mean and standard deviation; no deviation was given for DiffPool
PUBLISHED: dict[str, dict[str, tuple[float, float | None]]] = {
    "LPEGN (SPEN's ancestor)": {
        "MUTAG": (0.895, 0.061),
        "PTC": (0.700, 0.113),
        "PROTEINS": (0.745, 0.023),
        "NCI1": (0.837, 0.015),
        "IMDB-BINARY": (0.743, 0.037),
    },
    "GIN": {
        "MUTAG": (0.894, 0.056),
        "PTC": (0.646, 0.070),
        "PROTEINS": (0.762, 0.028),
        "NCI1": (0.827, 0.017),
        "IMDB-BINARY": (0.751, 0.051),
    },
    "CIN": {
        "MUTAG": (0.927, 0.061),
        "PTC": (0.682, 0.056),
        "PROTEINS": (0.770, 0.043),
        "NCI1": (0.836, 0.014),
        "IMDB-BINARY": (0.756, 0.037),
    },
    "CCN": {"MUTAG": (0.916, 0.072), "PTC": (0.706, 0.070), "NCI1": (0.763, 0.041)},
    "DiffPool": {"PROTEINS": (0.781, None)},
}
SOURCES = {
    "LPEGN (SPEN's ancestor)": "Mitton and Murray-Smith 2021",
    "GIN": "Xu et al. 2019",
    "CCN": "Kondor et al. 2018",
    "DiffPool": "Ying et al. 2018",
    "CIN": "Bodnar et al. 2021, arXiv 2106.12575; not checked against the paper",
}
CHOSEN_ON_TEST_FOLDS = (
    "Recipes of the rows of the first edition were chosen by accuracies on test folds, and their "
    "GIN has the width of SPEN and five to seven times fewer parameters; nothing was tuned for it."
)
COLUMNS = (
    Column("published", "published protocol", "%", ".1f", 100),
    Column("published, difference", "SPEN less this", "%", "+.1f", 100),
    Column("published, p", "p", "", ".2g"),
    Column("best", "best published"),
    Column("selected", "fold-wise", "%", ".1f", 100),
    Column("selected, difference", "SPEN less this", "%", "+.1f", 100),
    Column("selected, p", "p", "", ".2g"),
    Column("parameters", "parameters"),
    Column("minutes", "minutes of training", "", ".0f"),
)


@dataclass(frozen=True)
class Recipe:
    """A point of the search."""

    channels: int
    layers: int
    lr: float

    @property
    def name(self) -> str:
        return f"{self.channels}x{self.layers}-lr{self.lr:g}"


def recipes(count: int) -> list[Recipe]:
    """The first of all recipes in an order that was drawn once."""
    every = [Recipe(*parts) for parts in product(CHANNELS, LAYERS, RATES)]
    return [every[k] for k in np.random.default_rng(0).permutation(len(every))[:count]]


def main() -> None:
    parser = ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("sets", nargs="*", help=f"some of {', '.join(SETS)}; all by default")
    parser.add_argument("--models", nargs="+", default=["GIN", "SPEN"], choices=MODELS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--recipes", type=int, default=RECIPES, help="of the search")
    parser.add_argument("--minutes", type=float, help="of training steps a fold, at most")
    parser.add_argument("--jobs", type=int, default=1, help="folds at a time")
    command = parser.parse_args()
    if strange := set(command.sets) - set(SETS):
        parser.error(f"unknown sets {', '.join(sorted(strange))}: choose from {', '.join(SETS)}")
    for name in command.sets or SETS:
        outcomes = {model: searched(name, model, command) for model in sorted(command.models)}
        table = of_all_sets(joined("accuracy/tu", compared(name, outcomes)))
        settings = {"minutes_a_fold": command.minutes, "recipes": command.recipes}
        publish(measured("accuracy/tu", __doc__, [table], settings))


def searched(name: str, model: str, command: Namespace) -> dict[str, Any]:
    """Accuracies of a model on a set by both protocols; recipes are chosen by validation."""
    tried = {
        recipe: cross_validated(name, model, recipe, command) for recipe in recipes(command.recipes)
    }
    return by_both_protocols(tried) | {
        "minutes": sum(summary["minutes"] for summary in tried.values()),
        "seeds": command.seeds,
        "recipes": len(tried),
        **oldest(tried.values(), running()),
    }


def by_both_protocols(tried: Mapping[Recipe, Mapping[str, Any]]) -> dict[str, Any]:
    """The published protocol of the best recipe, and the best recipe and epoch of each fold.

    Args:
        tried: `folds.json` of each recipe, with the keys "losses" and "accuracies", [folds, seeds]
            of the least validation loss and of the test accuracy of its epoch.
    """
    losses = {recipe: np.asarray(summary["losses"]) for recipe, summary in tried.items()}
    best = min(losses, key=lambda recipe: losses[recipe].mean())
    folds, seeds = losses[best].shape
    selected = [
        fmean(
            tried[min(losses, key=lambda recipe: losses[recipe][fold, seed])]["accuracies"][fold][
                seed
            ]
            for seed in range(seeds)
        )
        for fold in range(folds)
    ]
    return {
        "published": tried[best]["published"],
        "selected": {"mean": fmean(selected), "std": _std(selected), "fold_means": selected},
        "parameters": tried[best]["parameters"],
        "recipe": best.name,
    }


def cross_validated(name: str, model: str, recipe: Recipe, command: Namespace) -> dict[str, Any]:
    """`folds.json` of a recipe, with what its folds' validation graphs say."""
    config, changes = settings(name, model, recipe)
    changes["trainer.max_epochs"] = epochs(name, model, recipe, command.minutes)
    out = RUNS / f"cv-{SETS[name]}-{model}-{recipe.name}-{changes['trainer.max_epochs']}epochs"
    begun = {"provenance": recorded(out, running())}
    arguments = [f"--config={config}", f"--out={out}", f"--jobs={command.jobs}"]
    arguments += ["--seeds", *map(str, command.seeds)]
    if code := cross_validate([*arguments, *as_arguments(changes)]):
        raise SystemExit(code)
    summary = json.loads((out / "folds.json").read_text())
    folders = [[out / f"fold{k}-seed{s}" for s in command.seeds] for k in summary["folds"]]
    losses = [[least(run, "val/loss") for run in of_fold] for of_fold in folders]
    accuracies = [[_tested(run) for run in of_fold] for of_fold in folders]
    return summary | begun | {"losses": losses, "accuracies": accuracies}


def _tested(folder: Path) -> float:
    return json.loads((folder / "results.json").read_text())["metrics"]["test/accuracy"]


def epochs(name: str, model: str, recipe: Recipe, minutes: float | None) -> int:
    """Epochs of `STEPS` steps, fewer if these took more than some minutes where they were timed."""
    steps = float(STEPS)
    if minutes is not None:
        key = f"{SETS[name]}-{model}-{recipe.name}"
        timed = step_seconds("tu", {key: settings(name, model, recipe)})[key]
        steps = min(steps, 60 * minutes / timed["step"])
    return ceil(steps / ceil(_graphs(name) / BATCH))


@cache
def _graphs(name: str) -> int:
    """Training graphs of the first fold."""
    data = GraphData(name)
    data.prepare_data()
    data.setup()
    return len(data.splits["train"])


def settings(name: str, model: str, recipe: Recipe) -> tuple[Path, dict[str, object]]:
    """Configuration and changes to it: of the variants in its comments only what a set demands."""
    config = CONFIG if model == "SPEN" else BASELINE
    variant = {} if name == "MUTAG" else options(config, name)
    net = "model.model"
    changes: dict[str, object] = {
        key: variant[key] for key in ("data.name", f"{net}.in_channels") if key in variant
    }
    width = recipe.channels if model == "SPEN" else width_like(recipe, _inputs(variant))
    changes |= {
        "data.batch_size": BATCH,
        "model.lr": recipe.lr,
        f"{net}.channels": width,
        f"{net}.layers": recipe.layers,
        f"{net}.dropout": DROPOUT,
    }
    if model != "SPEN":
        changes[f"{net}.conv"] = model
    if model == "PNA":
        data = GraphData(name, validation=0.0)
        data.setup()
        changes[f"{net}.degrees"] = data.degrees()
    return config, changes


def _inputs(variant: Mapping[str, Any]) -> int:
    return int(variant.get("model.model.in_channels", 7))


@cache
def width_like(recipe: Recipe, inputs: int) -> int:
    """The width at which GIN has about as many parameters as SPEN by this recipe."""
    size: dict[str, Any] = {"channels": recipe.channels, "layers": recipe.layers}
    target = _parameters(SPEN(inputs, 2, symmetric=True, act="relu", **size))

    def count(width: int) -> int:
        return _parameters(MessagePassingNet(inputs, 2, channels=width, layers=recipe.layers))

    above = min(bisect_left(WIDTHS, target, key=count), len(WIDTHS) - 1)
    near = WIDTHS[max(above - 1, 0) : above + 1]
    return min(near, key=lambda width: abs(count(width) - target))


def _parameters(net: Any) -> int:
    return sum(p.numel() for p in net.parameters() if p.requires_grad)


def compared(name: str, outcomes: dict[str, dict[str, Any]]) -> Table:
    """Rows of a set: SPEN, what it is tested against in pairs, and what was published."""
    rows = [own_row(name, model, outcomes) for model in MODELS[::-1] if model in outcomes]
    return Table(("", "model"), COLUMNS, (*rows, *published_rows(name, rows)), "selected")


def of_all_sets(table: Table) -> Table:
    """With the published rows of the sets that were measured before, set by set."""
    rows: list[Row] = []
    for name in SETS:
        own = [row for row in table.rows if row.labels[0] == name and row.origin != "published"]
        rows += [*own, *(published_rows(name, own) if own else [])]
    note = CHOSEN_ON_TEST_FOLDS if any("first edition" in row.stamp for row in rows) else ""
    return replace(table, rows=tuple(rows), note=note)


def own_row(name: str, model: str, outcomes: dict[str, dict[str, Any]]) -> Row:
    outcome = outcomes[model]
    cells: dict[str, Cell] = {key: outcome[key] for key in ("minutes", "parameters", "recipe")}
    for protocol in ("published", "selected"):
        scores = outcome[protocol]
        cells[protocol] = Value(scores["mean"], scores["std"], tuple(scores["fold_means"]))
        if "SPEN" in outcomes and model != "SPEN":
            ours = outcomes["SPEN"][protocol]["fold_means"]
            test = paired_test(ours, scores["fold_means"])
            cells[f"{protocol}, difference"], cells[f"{protocol}, p"] = test.values()
    if model == "SPEN":
        cells["best"] = best_published(name)
    count, seeds = len(outcome["selected"]["fold_means"]), outcome["seeds"]
    setup = f"{outcome['recipes']} recipes, {count} folds, seeds {seeds}"
    proven = {key: outcome[key] for key in ("stamp", "hashes")}
    return Row((name, model), cells, "geqlib" if model == "SPEN" else "peer", setup, **proven)


def best_published(name: str) -> str:
    """The highest published accuracy of a set, with its source."""
    scores = {other: of_sets[name] for other, of_sets in PUBLISHED.items() if name in of_sets}
    best = max(scores, key=lambda other: scores[other][0])
    return f"{100 * scores[best][0]:.1f}, {best} ({SOURCES[best]})"


def published_rows(name: str, own: Sequence[Row]) -> list[Row]:
    """What was published of a set, with the tests against SPEN if it is among the own rows."""
    spen = next((row.value("published") for row in own if row.labels[1] == "SPEN"), None)
    sets = {other: of_sets[name] for other, of_sets in PUBLISHED.items() if name in of_sets}
    return [published_row(name, other, *scores, spen) for other, scores in sets.items()]


def published_row(
    name: str, other: str, mean: float, deviation: float | None, spen: Value | None
) -> Row:
    cells: dict[str, Cell] = {"published": Value(mean, deviation)}
    if spen is not None:
        cells["published, difference"] = spen.mean - mean
        if deviation is not None and spen.deviation is not None:
            cells["published, p"] = welch(spen.mean, spen.deviation, mean, deviation)
    return Row((name, other), cells, "published", source=SOURCES[other])


def welch(mean: float, std: float, other: float, other_std: float, folds: int = 10) -> float:
    test = ttest_ind_from_stats(mean, std, folds, other, other_std, folds, equal_var=False)
    return float(test.pvalue)


def _std(values: list[float]) -> float:
    return stdev(values) if len(values) > 1 else 0.0


if __name__ == "__main__":
    start(main)
