"""A potential of aspirin, fine-tuned to another molecule with {frames} structures.

Protocol: the first model is the run of configs/rmd17_gaunt.yaml with seed {seed} that
accuracy/rmd17 trains for its minutes, on 950 frames of aspirin (revised MD17). Two pairs of data
sets, named before any of the second ones was trained on: aspirin to ethanol (MD17: another molecule
of the same elements) and aspirin to 3BPA at 300 K (another level of theory, and nitrogen, which the
first model does not know). {frames} frames for training and {validation} for validation are drawn
from the new molecule's training file, and all frames of its test are measured. Three runs for each
of the learning rates {rates}, with averaged weights, a cosine to 0 and equal numbers of steps,
{steps} ({epochs} epochs in batches of {batch}): GauntNet from scratch; beginning with the first
model; the same with replay of 950 frames of aspirin, which take half of the steps. The rate of the
least force error in validation counts, by the new molecule alone. Each chosen run is tested once:
forces of the new molecule, "share" of the error from scratch, and forces of aspirin's 1800 test
frames, of which "growth" is the change against the first model's.

    GEQLIB_DATA=FOLDER OMP_NUM_THREADS=1 python benchmarks/accuracy/fine_tuning.py [PAIR ...]

With PAIR, ethanol or 3bpa, that pair alone is trained. Each row is written when its runs have
ended, and the command goes on where it was stopped.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.accuracy.rmd17 import folder_of, trained_on_aspirin
from benchmarks.provenance import start
from benchmarks.rows import Column, Row, Table, joined, measured
from benchmarks.tables import publish
from benchmarks.training import QUIET, RUNS, chosen_rate, finished, fitted, measured_by, trained
from geqlib.data.download import find_files
from geqlib.train.predictor import load_predictor

CONFIG = Path("configs/rmd17_gaunt.yaml")
OLD, OLD_TEST = "md17/rmd17_aspirin_train.xyz.xz", "md17/rmd17_aspirin_test.xyz.xz"
FRAMES, VALIDATION, OLD_FRAMES, SEED = 50, 50, 950, 0
BATCH, EPOCHS = 5, 400
STEPS = 4000  # EPOCHS times FRAMES / BATCH
RATES = (1e-2, 3e-3, 1e-3)
METRIC = "val/forces_mae"
COLUMNS = (
    Column("forces", "force MAE, new molecule", "meV/Å", ".1f"),
    Column("share", "share", "of that from scratch", ".2f"),
    Column("old", "force MAE, aspirin", "meV/Å", ".1f"),
    Column("growth", "growth", "%", "+.0f"),
)
WAYS = {
    "scratch": "from scratch",
    "tuned": "fine-tuned",
    "replay": "fine-tuned, with replay",
}


@dataclass(frozen=True)
class Pair:
    """The new data of a pair, whose old data is aspirin.

    Args:
        title: of its rows.
        train: the file that training and validation frames are drawn from.
        test: file of the test, or the number of frames of the training file.
        elements: of the network.
        settings: of the data, which differ from those of aspirin.
    """

    title: str
    train: str
    test: str | int
    elements: tuple[str, ...]
    settings: Mapping[str, object]


PAIRS = {
    "ethanol": Pair(
        "aspirin to ethanol",
        "md17/md17_ethanol_2000.xyz.xz",
        1500,
        ("H", "C", "O"),
        {"energy_unit": "kcal/mol"},
    ),
    "3bpa": Pair(
        "aspirin to 3BPA",
        "3bpa/train_300K.xyz.xz",
        "3bpa/test_300K.xyz.xz",
        ("H", "C", "N", "O"),
        {},
    ),
}


def main() -> None:
    for name in sys.argv[1:] or PAIRS:
        for row in measure(name):
            write_row(row)


def write_row(row: Row) -> None:
    """Add a row to those that were measured before, or replace that of its training."""
    table = joined("accuracy/fine_tuning", Table(("pair", "training"), COLUMNS, (row,), "forces"))
    publish(measured("accuracy/fine_tuning", __doc__, [table]))


def measure(name: str) -> Iterator[Row]:
    """The three rows of a pair, one after the other."""
    before = trained_on_aspirin("gaunt")["metrics"]["test/forces_mae"]
    scratch = 0.0
    for way, title in WAYS.items():
        folder = best_folder(name, way)
        outcome = trained(folder, CONFIG, settings(name, way, rate_of(folder)), SEED)
        error = outcome["metrics"]["test/forces_mae"]
        cells = {"forces": error}
        if way == "scratch":
            scratch = error
        else:
            task = f"fine_tuning/{name}-{way}-old"
            old = finished(task, partial(old_error, folder))["forces_mae"]
            growth = 100 * (old / before - 1)
            cells |= {"share": error / scratch, "old": old, "growth": growth}
        setup = f"learning rate {rate_of(folder):g}"
        row = Row((PAIRS[name].title, title), cells, setup=setup)
        yield replace(row, **measured_by([outcome]))


def best_folder(name: str, way: str) -> Path:
    """The run with the learning rate of the least force error in validation."""
    folders = {
        rate: fitted(
            RUNS / "fine_tuning" / f"{name}-{way}-{rate:g}",
            CONFIG,
            settings(name, way, rate),
            SEED,
        )
        for rate in RATES
    }
    return folders[chosen_rate(folders, METRIC)]


def rate_of(folder: Path) -> float:
    return float(folder.name.split("-", 2)[2])


def settings(name: str, way: str, rate: float) -> dict[str, Any]:
    """Changes to the configuration of aspirin."""
    pair = PAIRS[name]
    changes: dict[str, Any] = {
        "data.train": pair.train,
        "data.val": VALIDATION,
        "data.test": pair.test,
        "data.num_train": FRAMES,
        "data.batch_size": BATCH,
        "model.lr": rate,
        "model.model.elements": list(pair.elements),
        "trainer.max_epochs": EPOCHS // 2 if way == "replay" else EPOCHS,
        **{f"data.{key}": value for key, value in pair.settings.items()},
    }
    if way != "scratch":
        changes["init"] = str(folder_of("gaunt"))
    if way == "replay":
        changes["data.replay"] = {
            "train": OLD,
            "val": VALIDATION,
            "num_train": OLD_FRAMES,
            "energy_unit": "eV",
            "weight": 1.0,
        }
    return QUIET | changes


def old_error(folder: Path) -> dict[str, float]:
    """Errors of a fine-tuned model on the test frames of aspirin."""
    (path,) = find_files([OLD_TEST])
    return load_predictor(folder).test(path, energy_unit="eV")


if __name__ == "__main__":
    start(main)
