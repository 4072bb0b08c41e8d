"""What bfloat16 costs a trained network: the same training in float32 and in bf16-mixed.

Protocol: each pair of runs has the same seeds, steps and order of batches, and is tested in the
precision of its training, with averaged weights of the best epoch in validation where the
configuration asks for them. 5-body: configs/nbody_ponita.yaml, {nbody_epochs} epochs. 3BPA:
configs/3bpa_ponita.yaml and configs/3bpa_gaunt.yaml, {epochs_3bpa} epochs, tested at 300 K. Both:
seeds {seeds}. MUTAG: configs/tu_spen.yaml, {tu_epochs} epochs, all ten folds, each with the first
seed; there ± is over folds. "More than in float32" is a difference paired by seed or fold. Minutes
are of one thread. Processors have no TF32, and their bfloat16 says nothing of the time on a GPU:
for both, `python benchmarks/gpu.py --stages precision`.

    GEQLIB_DATA=FOLDER OMP_NUM_THREADS=1 python benchmarks/accuracy/precision.py [TASK ...]

TASK is nbody, 3bpa-ponita, 3bpa-gaunt or mutag; all by default. Finished runs are not trained
again.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.provenance import start
from benchmarks.rows import RESULTS, Column, Row, Table, measured, over, read_result
from benchmarks.tables import publish
from benchmarks.training import QUIET, RUNS, measured_by, trained

SEEDS = (0, 1, 2)
FOLDS = range(10)
NBODY_EPOCHS, EPOCHS_3BPA, TU_EPOCHS = 30, 12, 20
PRECISIONS = {"float32": "32-true", "bf16-mixed": "bf16-mixed"}


@dataclass(frozen=True)
class Subject:
    """What is trained in both precisions.

    Args:
        title: of its table.
        config: its configuration.
        epochs: of training.
        column: of the table, whose key is the metric of the test.
        fold: whether runs are folds of the data, or seeds.
    """

    title: str
    config: str
    epochs: int
    column: Column
    fold: bool = False


FORCES = Column("test/forces_rmse", "force RMSE", "meV/Å", ".1f")
SUBJECTS = {
    "nbody": Subject(
        "5-body, PONITA",
        "configs/nbody_ponita.yaml",
        NBODY_EPOCHS,
        Column("test/mse", "test MSE", "", "error"),
    ),
    "3bpa-ponita": Subject("3BPA, PONITA", "configs/3bpa_ponita.yaml", EPOCHS_3BPA, FORCES),
    "3bpa-gaunt": Subject("3BPA, GauntNet", "configs/3bpa_gaunt.yaml", EPOCHS_3BPA, FORCES),
    "mutag": Subject(
        "MUTAG, SPEN",
        "configs/tu_spen.yaml",
        TU_EPOCHS,
        Column("test/loss", "cross entropy", "", ".3f"),
        fold=True,
    ),
}


def main() -> None:
    parser = ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=", ".join(SUBJECTS))
    tasks = parser.parse_args().tasks or list(SUBJECTS)
    if unknown := sorted(set(tasks) - set(SUBJECTS)):
        parser.error(f"unknown task {unknown[0]}: choose from {', '.join(SUBJECTS)}")
    for task in tasks:
        runs = {name: trained_in(task, precision) for name, precision in PRECISIONS.items()}
        measured_now = table(SUBJECTS[task], runs)
        others = [t for t in earlier() if t.heads != measured_now.heads]
        publish(measured("accuracy/precision", __doc__, [*others, measured_now]))


def trained_in(task: str, precision: str) -> list[dict[str, Any]]:
    """Results of all seeds, or folds, of a task in a precision."""
    subject = SUBJECTS[task]
    options = QUIET | {"trainer.precision": precision, "trainer.max_epochs": subject.epochs}
    results = []
    for number in FOLDS if subject.fold else SEEDS:
        folder = RUNS / "precision" / f"{task}-{subject.epochs}epochs-{precision}-{number}"
        changes = {"data.fold": number} if subject.fold else {}
        seed = 0 if subject.fold else number
        results.append(trained(folder, Path(subject.config), options | changes, seed))
    return results


def table(subject: Subject, runs: dict[str, list[dict[str, Any]]]) -> Table:
    """A row for each precision, and what the second has more than the first."""
    metric = subject.column.key
    values = {name: [run["metrics"][metric] for run in done] for name, done in runs.items()}
    rows = []
    for name, done in runs.items():
        cells: dict[str, Any] = {
            metric: over(values[name]),
            "minutes": over([run["fit"]["processor_seconds"] / 60 for run in done]),
        }
        if name != "float32":
            cells["more"] = over(differences(values["float32"], values[name]))
        rows.append(Row((name,), cells, **measured_by(done)))
    more = Column("more", "more than in float32", subject.column.unit, subject.column.format)
    minutes = Column("minutes", "minutes of training", "", ".1f")
    return Table((subject.title,), (subject.column, more, minutes), tuple(rows), metric)


def differences(first: Sequence[float], second: Sequence[float]) -> list[float]:
    return [b - a for a, b in zip(first, second, strict=True)]


def earlier() -> Sequence[Table]:
    """Tables that were measured before."""
    path = RESULTS / "accuracy" / "precision.json"
    return read_result("accuracy/precision").tables if path.exists() else ()


if __name__ == "__main__":
    start(main)
