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
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from scipy.stats import ttest_ind_from_stats

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.budget import budgeted
from benchmarks.markdown import markdown
from benchmarks.measure import RESULTS, read_result, write_result
from benchmarks.training import RUNS, as_arguments, show
from benchmarks.variants import options
from geqlib.cli.cv import main as cross_validate
from geqlib.data import GraphData

CONFIG, BASELINE = Path("configs/tu_spen.yaml"), Path("configs/tu_gin.yaml")
SETS = {
    "MUTAG": "mutag",
    "PTC": "ptc",
    "PROTEINS": "proteins",
    "NCI1": "nci1",
    "IMDB-BINARY": "imdb_binary",
}
MODELS = ("GIN", "PNA", "SPEN")
# mean and standard deviation in percent, as printed in the papers; no deviation was given for
# DiffPool
PUBLISHED: dict[str, dict[str, tuple[float, float | None]]] = {
    "LPEGN (SPEN's ancestor)": {
        "MUTAG": (89.5, 6.1),
        "PTC": (70.0, 11.3),
        "PROTEINS": (74.5, 2.3),
        "NCI1": (83.7, 1.5),
        "IMDB-BINARY": (74.3, 3.7),
    },
    "GIN": {
        "MUTAG": (89.4, 5.6),
        "PTC": (64.6, 7.0),
        "PROTEINS": (76.2, 2.8),
        "NCI1": (82.7, 1.7),
        "IMDB-BINARY": (75.1, 5.1),
    },
    "CCN": {"MUTAG": (91.6, 7.2), "PTC": (70.6, 7.0), "NCI1": (76.3, 4.1)},
    "DiffPool": {"PROTEINS": (78.1, None)},
}


def main() -> None:
    parser = ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("sets", nargs="*", help=f"some of {', '.join(SETS)}; all by default")
    parser.add_argument("--models", nargs="+", default=["GIN", "SPEN"], choices=MODELS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--minutes", type=float, help="of training steps a fold, at most")
    parser.add_argument("--jobs", type=int, default=1, help="folds at a time")
    given = parser.parse_args()
    if strange := set(given.sets) - set(SETS):
        parser.error(f"unknown sets {', '.join(sorted(strange))}: choose from {', '.join(SETS)}")
    for name in given.sets or SETS:
        row = {model: measured(name, model, given) for model in sorted(given.models)}
        row |= {"tests": compared(name, row), "minutes_a_fold": given.minutes}
        report(name, row)
        sys.stdout.write(f"wrote {written(name, row)}\n")


def written(name: str, row: dict[str, Any]) -> Path:
    """The result file with this set's row, and the rows of other sets that it has already."""
    known = read_result("accuracy/tu") if (RESULTS / "accuracy/tu.json").exists() else {}
    rows = known.get("rows", {}) | {name: row}
    protocol = " ".join((__doc__ or "").split("\n\n")[1].split())
    content = {"protocol": protocol, "rows": {k: rows[k] for k in SETS if k in rows}}
    return write_result("accuracy/tu", content | {"published": PUBLISHED})


def measured(name: str, model: str, given: Namespace) -> dict[str, Any]:
    """`folds.json` of one model on one set; finished folds are not trained again."""
    config, changes = settings(name, model)
    if given.minutes is not None:
        key = f"tu-{SETS[name]}-{model}"
        budget = budgeted(key, {model: (config, changes)}, given.minutes)[model]
        most = yaml.safe_load(config.read_text())["trainer"]["max_epochs"]
        most = changes.get("trainer.max_epochs", most)
        changes |= budget | {"trainer.max_epochs": min(most, budget["trainer.max_epochs"])}
    out = RUNS / f"cv-{SETS[name]}-{model}"
    against = [RUNS / f"cv-{SETS[name]}-{m}" for m in given.models if m != "SPEN"]
    arguments = [f"--config={config}", f"--out={out}", f"--jobs={given.jobs}"]
    arguments += ["--seeds", *map(str, given.seeds)]
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


def compared(name: str, row: dict[str, Any]) -> dict[str, Any]:
    """Welch's test of what was measured against what was published, protocol by protocol."""
    found: dict[str, Any] = {}
    for model in row:
        ours = row[model]["published"]
        for other, published in PUBLISHED.items():
            mean, std = published.get(name, (None, None))
            if mean is None:
                continue
            difference = 100 * ours["mean"] - mean
            p = None if std is None else welch(100 * ours["mean"], 100 * ours["std"], mean, std)
            found.setdefault(model, {})[other] = {"difference": difference, "p": p}
    return found


def welch(mean: float, std: float, other: float, other_std: float, folds: int = 10) -> float:
    test = ttest_ind_from_stats(mean, std, folds, other, other_std, folds, equal_var=False)
    return float(test.pvalue)


def report(name: str, row: dict[str, Any]) -> None:
    lines: list[tuple[object, ...]] = []
    for model, found in _models(row).items():
        tests = row["tests"].get(model, {})
        cells = [_test(test) for test in tests.values()]
        epochs = f"{found['epochs']} epochs, {found['minutes']:.0f} min"
        lines.append(
            (model, _spread(found["published"]), _spread(found["selected"]), *cells, epochs)
        )
    others = [other for other, known in PUBLISHED.items() if name in known]
    show(
        f"{name}: accuracy in %, 10 folds",
        ("", "published protocol", "fold-wise", *(f"less {other}" for other in others), ""),
        lines,
    )


def table(found: dict[str, Any]) -> str:
    rows: list[tuple[object, ...]] = []
    for name, row in found["rows"].items():
        if not {"GIN", "SPEN"} <= set(row):
            continue
        known = {k: v[name] for k, v in found["published"].items() if name in v}
        best = max(known, key=lambda k: known[k][0])
        ours, gin = row["SPEN"], row["GIN"]
        paired = next(test for key, test in ours["against"].items() if key.endswith("-GIN"))
        rows.append(
            (
                name,
                f"**{_spread(ours['published'])}**",
                f"{_spread(gin['published'])}, {_test(_percent(paired['published']))}",
                _printed(known["LPEGN (SPEN's ancestor)"]),
                f"{best} {_printed(known[best])}, {_test(row['tests']['SPEN'][best])}",
                _spread(ours["selected"]),
                f"{_spread(gin['selected'])}, {_test(_percent(paired['selected']))}",
                f"{ours['minutes']:.0f}, {gin['minutes']:.0f}",
            )
        )
    head = ("", "SPEN", "GIN, same run", "LPEGN, published", "best published")
    return markdown((*head, "SPEN fold-wise", "GIN fold-wise", "minutes of training"), rows)


def _percent(test: Mapping[str, float]) -> dict[str, float]:
    return {"difference": 100 * test["difference"], "p": test["p"]}


def _models(row: Mapping[str, Any]) -> dict[str, Any]:
    return {model: row[model] for model in MODELS if model in row}


def _test(test: Mapping[str, Any]) -> str:
    p = "" if test["p"] is None else f" (p {test['p']:.2g})"
    return f"{test['difference']:+.1f}{p}"


def _printed(published: tuple[float, float | None]) -> str:
    mean, std = published
    return f"{mean}" if std is None else f"{mean} ± {std}"


def _spread(found: dict[str, Any] | None) -> str:
    return "-" if found is None else f"{100 * found['mean']:.1f} ± {100 * found['std']:.1f}"


if __name__ == "__main__":
    main()
