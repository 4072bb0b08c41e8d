"""How to give a network rotations: a constraint, augmentation or frames, at equal minutes.

Protocol: one message passing network that sees offsets as three numbers (3 layers of 64 channels;
translations are built in, rotations are not) on two tasks whose labels turn with their inputs. The
charged 5-body benchmark, 3000 / 2000 / 2000 simulations, frame 30 to frame 40, free flight added to
the prediction, mean over simulations of the root mean squared error as the loss; and aspirin of
revised MD17, 950 / 50 frames, forces as derivatives, 1000 times the squared error of forces as the
loss. Plain training; training on random rotations (augmentation); InvarianceConstraint of SO(3),
one step of Metropolis-Hastings, eps = {eps}; and the network averaged over the four frames of
SE(3). Each trains for the steps that took {minutes} minutes of processor time, with Adam at 2e-3,
one cosine schedule and averaged weights; the validated epoch of least error is tested, as the test
graphs are and with each turned by a random rotation. Aspirin is tested on the first {frames} frames
of its test file. Seeds {seeds}, one thread: about {total} minutes of processor time in all, and
a third more for validation and tests.

Finished runs stay in runs/, and the result file is written after every row.

    GEQLIB_DATA=FOLDER OMP_NUM_THREADS=1 python benchmarks/accuracy/ways_to_rotations.py
        [--minutes 1.5] [--seeds 0 1 2] [--tasks nbody] [--methods frames] [--tiny]

--tiny trains two steps on a few simulations and prints the table.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torchmetrics import Metric

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.provenance import start
from benchmarks.rows import Cell, Column, Row, Table, joined, measured, over
from benchmarks.tables import drawn, markdown, publish
from benchmarks.training import QUIET, RUNS, budgeted, finished, measured_by, metric, trained_here
from geqlib.files.checkpoint import read_checkpoint
from geqlib.symmetry.groups import parse_group
from geqlib.train.runs.configuration import read_run
from geqlib.train.steps.precision import cast_to

NAME = "accuracy/ways_to_rotations"
MINUTES, SEEDS, FRAMES = 1.5, (0, 1, 2), 300
EPS = "0.1 and 20, in units of these losses"
TOTAL = 36  # minutes
MODEL, PEERS = "model.init_args.model", "benchmarks.peers.offset_messages"
PLAIN, AUGMENTED, CONSTRAINED, FRAMED = "plain", "augmentation", "constraint", "frames"
METHODS = (PLAIN, AUGMENTED, CONSTRAINED, FRAMED)
COLUMNS = (
    Column("as is", "test error", "", "error"),
    Column("turned", "turned test error", "", "error"),
    Column("dual", "dual variable", "", ".2f"),
    Column("steps", "steps", "", ".0f"),
    Column("minutes", "CPU minutes of one thread", "", ".1f"),
)


class Problem(NamedTuple):
    """A task.

    Args:
        title: in the table.
        config: its configuration.
        options: changes to it.
        network: arguments of the network.
        error: name of the metric.
        constraint: arguments of InvarianceConstraint.
    """

    title: str
    config: Path
    options: Mapping[str, object]
    network: Mapping[str, object]
    error: str
    constraint: Mapping[str, object]


PROBLEMS = {
    "nbody": Problem(
        "5 bodies, MSE",
        Path("configs/nbody_fagnn.yaml"),
        {"ema": 0.99},
        {"in_vectors": 1, "edge_dim": 1, "output": "vector"},
        "mse",
        {"eps": 0.1, "dual_lr": 1e-2},
    ),
    "aspirin": Problem(
        "aspirin, force RMSE in meV/Å",
        Path("configs/rmd17_ponita.yaml"),
        {
            "model.init_args.lr": 2e-3,
            "trainer.limit_test_batches": FRAMES // 50,  # of 50 frames
            "trainer.check_val_every_n_epoch": 1,
        },
        {"in_scalars": 16, "output": "scalar", "cutoff": 5.0},
        "forces_rmse",
        {"eps": 20.0, "dual_lr": 2e-5},
    ),
}
TINY = {
    "nbody": {
        "data.init_args.train": 8,
        "data.init_args.val": 4,
        "data.init_args.test": 4,
        "data.init_args.batch_size": 4,
        "data.init_args.input_frame": 0,
        "data.init_args.target_frame": 1,
        "trainer.check_val_every_n_epoch": 1,
    },
    "aspirin": {
        "data.init_args.num_train": 6,
        "data.init_args.val": 4,
        "data.init_args.batch_size": 3,
        "data.init_args.eval_batch_size": 5,
        "trainer.limit_test_batches": 1,
    },
}


def main() -> None:
    command = arguments()
    torch.set_num_threads(1)
    rows = []
    for problem in command.tasks:
        budget = budget_of(problem, command)
        for method in command.methods:
            runs = [run(problem, method, seed, budget[method], command) for seed in command.seeds]
            rows.append(row(problem, method, runs))
            if not command.tiny:
                settings = {"minutes": command.minutes, "seeds": tuple(command.seeds)}
                everything = joined(NAME, table(rows))
                publish(measured("accuracy/ways_to_rotations", __doc__, [everything], settings))
    if command.tiny:
        sys.stdout.write(markdown(*drawn(table(rows))))


def arguments() -> Namespace:
    parser = ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=MINUTES, help="of processor time per run")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--tasks", nargs="+", choices=list(PROBLEMS), default=list(PROBLEMS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--tiny", action="store_true", help="two steps on a few graphs")
    return parser.parse_args()


def options_of(problem: str, method: str, *, tiny: bool) -> dict[str, object]:
    """Changes to the configuration of a problem."""
    chosen = PROBLEMS[problem]
    network = "FramedOffsetMessages" if method == FRAMED else "OffsetMessages"
    described = {"class_path": f"{PEERS}.{network}", "init_args": dict(chosen.network)}
    options = QUIET | dict(chosen.options) | {MODEL: described}
    options["model.init_args.rotate"] = method == AUGMENTED
    if method == CONSTRAINED:
        settings = {"group": "SO(3)", "bound": 1e9, **chosen.constraint}
        callback = {"class_path": "geqlib.train.InvarianceConstraint", "init_args": settings}
        options["trainer.callbacks"] = [callback]
    return options | (TINY[problem] if tiny else {})


def budget_of(problem: str, command: Namespace) -> dict[str, dict[str, float]]:
    """Trainer options of each method: two steps if tiny, else those of the minutes."""
    if command.tiny:
        two: dict[str, float] = {"trainer.max_epochs": 1, "trainer.limit_train_batches": 2}
        return {method: two for method in METHODS}
    config = PROBLEMS[problem].config
    runs = {
        f"{problem}-{method}": (config, options_of(problem, method, tiny=False))
        for method in METHODS
    }
    steps = budgeted("ways-to-rotations", runs, command.minutes)
    return {method: steps[f"{problem}-{method}"] for method in METHODS}


def run(
    problem: str, method: str, seed: int, budget: Mapping[str, float], command: Namespace
) -> dict[str, Any]:
    """Results of a run that is read, or trained and tested, with "turned" errors."""
    options = options_of(problem, method, tiny=command.tiny) | dict(budget)
    size = "tiny" if command.tiny else f"{command.minutes:g}min"
    folder = RUNS / f"ways-to-rotations-{problem}-{method}-{size}-seed{seed}"
    outcome = trained_here(folder, PROBLEMS[problem].config, options, seed)
    turned = finished(f"{folder.name}-turned", partial(turned_error, folder, problem))
    return outcome | {"turned": turned["error"], "dual": turned["dual"]}


def turned_error(folder: Path, problem: str) -> dict[str, float | None]:
    """The error of test graphs under random rotations, and the dual variable of the run."""
    read = read_run(folder / "config.yaml")
    task, data = read.task.eval(), read.data
    checkpoint = read_checkpoint(folder / "checkpoints" / "best.ckpt")
    task.load_state_dict(checkpoint["state_dict"])
    data.prepare_data()
    data.setup("test")
    torch.manual_seed(0)
    group, name = parse_group("SO(3)"), PROBLEMS[problem].error
    limit = read.trainer.get("limit_test_batches")
    error: Any = None
    for k, batch in enumerate(data.test_dataloader()):
        if limit is not None and k >= limit:
            break
        cast_to(task.model, batch, task.inputs)
        turned = task.transformed(batch, task.random_elements(batch, group))
        with torch.no_grad():
            error = cast(Metric, task.metrics(turned, "test")[name])
    last = read_checkpoint(folder / "checkpoints" / "last.ckpt")["callbacks"]
    duals = [state["dual"] for key, state in last.items() if key.startswith("InvarianceConstraint")]
    return {"error": float(error.compute()), "dual": duals[0] if duals else None}


def table(rows: list[Row]) -> Table:
    return Table(("task", ""), COLUMNS, tuple(rows), "turned")


def row(problem: str, method: str, runs: list[dict[str, Any]]) -> Row:
    chosen = PROBLEMS[problem]
    fit = runs[0]["fit"]
    cells: dict[str, Cell] = {
        "as is": metric(runs, f"test/{chosen.error}"),
        "turned": over([run["turned"] for run in runs]),
        "steps": fit["steps"],
        "minutes": sum(run["fit"]["processor_seconds"] for run in runs) / 60 / len(runs),
    }
    if method == CONSTRAINED:
        cells["dual"] = over([run["dual"] for run in runs])
    setup = f"{len(runs)} seeds"
    return Row((chosen.title, method), cells, "geqlib", setup, **measured_by(runs))


if __name__ == "__main__":
    start(main)
