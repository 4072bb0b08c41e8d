"""Graph classification on TU sets: SPEN and GIN by ten folds, beside published tables.

Protocol: the ten usual index files, `geqlib cv` with configs/tu_spen.yaml and its variants; GIN
(and PNA, on request; torch_geometric) at the same width, depth, batch size and epochs, and the
learning rate of configs/tu_gin.yaml. "Published protocol": one epoch for all folds, that with
the best mean test accuracy, mean and standard deviation over folds. "Fold-wise": each fold's epoch
is chosen by validation graphs out of its training part (10 %), on which the model is not trained in
either protocol. Tests are paired where both rows were measured here, and Welch's with 10 folds
where one is published. SPEN's width, depth, dropout, learning rate and epochs were chosen by
accuracies on test folds, as is usual for these tables; nothing was tuned for GIN.

Finished folds are not trained again, and the result file is written after each set.

    python benchmarks/accuracy/tu.py [MUTAG ...] [--models GIN PNA SPEN] [--seeds 0]
        [--minutes M] [--jobs J]
"""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from scipy.stats import ttest_ind_from_stats

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.provenance import start
from benchmarks.rows import Cell, Column, Row, Table, Value, joined, measured
from benchmarks.tables import publish
from benchmarks.training import RUNS, budgeted
from benchmarks.variants import options
from geqlib.cli.cv import main as cross_validate
from geqlib.data import GraphData
from geqlib.train.configuration import as_arguments

CONFIG, BASELINE = Path("configs/tu_spen.yaml"), Path("configs/tu_gin.yaml")
SETS = {
    "MUTAG": "mutag",
    "PTC": "ptc",
    "PROTEINS": "proteins",
    "NCI1": "nci1",
    "IMDB-BINARY": "imdb_binary",
}
MODELS = ("GIN", "PNA", "SPEN")
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
    "CCN": {"MUTAG": (0.916, 0.072), "PTC": (0.706, 0.070), "NCI1": (0.763, 0.041)},
    "DiffPool": {"PROTEINS": (0.781, None)},
}
SOURCES = {
    "LPEGN (SPEN's ancestor)": "Mitton and Murray-Smith 2021",
    "GIN": "Xu et al. 2019",
    "CCN": "Kondor et al. 2018",
    "DiffPool": "Ying et al. 2018",
}
COLUMNS = (
    Column("published", "published protocol", "%", ".1f", 100),
    Column("published, difference", "SPEN less this", "%", "+.1f", 100),
    Column("published, p", "p", "", ".2g"),
    Column("selected", "fold-wise", "%", ".1f", 100),
    Column("selected, difference", "SPEN less this", "%", "+.1f", 100),
    Column("selected, p", "p", "", ".2g"),
    Column("minutes", "minutes of training", "", ".0f"),
)


def main() -> None:
    parser = ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("sets", nargs="*", help=f"some of {', '.join(SETS)}; all by default")
    parser.add_argument("--models", nargs="+", default=["GIN", "SPEN"], choices=MODELS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--minutes", type=float, help="of training steps a fold, at most")
    parser.add_argument("--jobs", type=int, default=1, help="folds at a time")
    command = parser.parse_args()
    if strange := set(command.sets) - set(SETS):
        parser.error(f"unknown sets {', '.join(sorted(strange))}: choose from {', '.join(SETS)}")
    for name in command.sets or SETS:
        folds = {model: cross_validated(name, model, command) for model in sorted(command.models)}
        table = joined("accuracy/tu", compared(name, folds))
        order = list(SETS)
        rows = sorted(table.rows, key=lambda row: order.index(row.labels[0]))
        minutes = {"minutes_a_fold": command.minutes}
        publish(measured("accuracy/tu", __doc__, [replace(table, rows=tuple(rows))], minutes))


def compared(name: str, folds: dict[str, dict[str, Any]]) -> Table:
    """Rows of a set: SPEN, what it is tested against in pairs, and what was published."""
    rows = [own_row(name, model, folds) for model in MODELS[::-1] if model in folds]
    for other, of_sets in PUBLISHED.items():
        if name in of_sets:
            rows.append(published_row(name, other, folds.get("SPEN")))
    return Table(("", "model"), COLUMNS, tuple(rows), "published")


def own_row(name: str, model: str, folds: dict[str, dict[str, Any]]) -> Row:
    outcome = folds[model]
    cells: dict[str, Cell] = {key: outcome[key] for key in ("minutes", "parameters", "epochs")}
    for protocol in ("published", "selected"):
        if outcome[protocol]:
            scores = outcome[protocol]
            cells[protocol] = Value(scores["mean"], scores["std"], tuple(scores["fold_means"]))
    tests = folds["SPEN"]["against"] if "SPEN" in folds and model != "SPEN" else {}
    for against, test in tests.items():
        if against.endswith(f"-{model}"):
            for protocol, of_protocol in test.items():
                cells[f"{protocol}, difference"] = of_protocol["difference"]
                cells[f"{protocol}, p"] = of_protocol["p"]
    setup = f"{outcome['epochs']} epochs, {len(outcome['folds'])} folds, seeds {outcome['seeds']}"
    return Row((name, model), cells, "geqlib" if model == "SPEN" else "peer", setup)


def published_row(name: str, other: str, ours: dict[str, Any] | None) -> Row:
    mean, deviation = PUBLISHED[other][name]
    cells: dict[str, Cell] = {"published": Value(mean, deviation)}
    if ours is not None:
        scores = ours["published"]
        cells["published, difference"] = scores["mean"] - mean
        if deviation is not None:
            cells["published, p"] = welch(scores["mean"], scores["std"], mean, deviation)
    return Row((name, other), cells, "published", source=SOURCES[other])


def cross_validated(name: str, model: str, command: Namespace) -> dict[str, Any]:
    """`folds.json` of one model on one set; finished folds are not trained again."""
    config, changes = settings(name, model)
    if command.minutes is not None:
        key = f"tu-{SETS[name]}-{model}"
        budget = budgeted(key, {model: (config, changes)}, command.minutes)[model]
        most = yaml.safe_load(config.read_text())["trainer"]["max_epochs"]
        most = changes.get("trainer.max_epochs", most)
        changes |= budget | {"trainer.max_epochs": min(most, budget["trainer.max_epochs"])}
    out = RUNS / f"cv-{SETS[name]}-{model}"
    against = [RUNS / f"cv-{SETS[name]}-{m}" for m in command.models if m != "SPEN"]
    arguments = [f"--config={config}", f"--out={out}", f"--jobs={command.jobs}"]
    arguments += ["--seeds", *map(str, command.seeds)]
    if model == "SPEN" and against:
        arguments += ["--against", *map(str, against)]
    if code := cross_validate([*arguments, *as_arguments(changes)]):
        raise SystemExit(code)
    return json.loads((out / "folds.json").read_text())


def settings(name: str, model: str) -> tuple[Path, dict[str, object]]:
    """Configuration and changes to it."""
    config = CONFIG if model == "SPEN" else BASELINE
    changes = {} if name == "MUTAG" else options(config, name)
    if model != "SPEN":
        changes["model.model.conv"] = model
    if model == "PNA":
        data = GraphData(name, validation=0.0)
        data.setup()
        changes["model.model.degrees"] = data.degrees()
    return config, changes


def welch(mean: float, std: float, other: float, other_std: float, folds: int = 10) -> float:
    test = ttest_ind_from_stats(mean, std, folds, other, other_std, folds, equal_var=False)
    return float(test.pvalue)


if __name__ == "__main__":
    start(main)
