"""Classes of clouds under affine maps: what does training on GL+ buy, beside plain augmentation?

Protocol: the 40 meshes of GeometricShapes by 128 points, configs/shapes_pointnet.yaml; a PointNet,
which has no symmetry of space, trained on clouds as they are, on clouds that are turned anew in
each step (rotations), on clouds under random matrices of GL+(3) (stretches of scale 0.2 times
rotations), and on clouds as they are subject to a mean loss of at most {eps} under GL+(3), by
InvarianceConstraint with one step of Metropolis-Hastings and a dual rate of {dual_rate}. All take
the number of training steps that took {minutes} minutes of processor time, where a step under the
constraint has its two passes without and one with gradients besides; one learning rate schedule
over them, averaged weights; the epoch of the lowest validation loss, on clouds as they are, is
tested. Test clouds as they are, and under {turns} random elements each of GL+(3) with stretches of
scale 0 (rotations alone), 0.2 (as in training) and 0.4: the share of right classes, and of clouds
that are right under all of them. Seeds {seeds}.

    GEQLIB_DATA=FOLDER python benchmarks/accuracy/affine_robustness.py [--minutes 1] [--seeds 0 1 2]
    python benchmarks/accuracy/affine_robustness.py --tiny       # some steps, nothing is written
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.measure import interleaved
from benchmarks.provenance import start
from benchmarks.rows import Cell, Column, Row, Table, measured, over
from benchmarks.tables import drawn, markdown, publish
from benchmarks.training import (
    QUIET,
    ROUNDS,
    RUNS,
    finished,
    kept_seconds,
    measured_by,
    schedule,
    trained_here,
)
from geqlib.files.checkpoint import load, read_checkpoint
from geqlib.symmetry.groups import parse_group
from geqlib.train.runs.configuration import read_run
from geqlib.train.steps.constraint import InvarianceConstraint, dual_prices

NAME = "affine_robustness"
CONFIG = Path("configs/shapes_pointnet.yaml")
MINUTES, SEEDS = 1.0, (0, 1, 2)
GROUP = "GL+(3)"
EPS, DUAL_RATE = 0.5, 1e-3
SCALES, TURNS = (0.0, 0.2, 0.4), 8
CONSTRAINT = {
    "class_path": "geqlib.train.InvarianceConstraint",
    "init_args": {"group": GROUP, "eps": EPS, "dual_lr": DUAL_RATE, "steps": 1, "bound": 1e9},
}
METHODS: dict[str, dict[str, object]] = {
    "clouds as they are": {},
    "rotations": {"model.init_args.rotate": True},
    "GL+ augmentation": {"model.init_args.rotate": GROUP},
    "GL+ constraint": {"trainer.callbacks+": CONSTRAINT},
}
TINY: dict[str, object] = {
    "data.init_args.source": "surfaces",
    "data.init_args.points": 8,
    "data.init_args.train": 32,
    "data.init_args.val": 16,
    "data.init_args.test": 16,
    "trainer.max_epochs": 1,
}
PERCENT = {"unit": "%", "format": ".1f", "scale": 100}
COLUMNS = (
    Column("clean", "as they are", **PERCENT),
    Column("mean, 0.0", "turned", **PERCENT),
    Column("mean, 0.2", "GL+, 0.2", **PERCENT),
    Column("all, 0.2", "all of GL+, 0.2", **PERCENT),
    Column("mean, 0.4", "GL+, 0.4", **PERCENT),
    Column("dual", "dual variable", "", ".2f"),
    Column("steps", "steps", "", ".0f"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=MINUTES, help="of processor time per run")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--tiny", action="store_true", help="a test of the script")
    options = parser.parse_args()
    torch.set_num_threads(1)
    budgets = {name: TINY for name in options.methods}
    if not options.tiny:
        budgets = {name: budget(name, options.minutes) for name in options.methods}
    label = "tiny" if options.tiny else f"{options.minutes:g}min"
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in options.methods}
    for seed in options.seeds:
        for name in options.methods:
            runs[name].append(result(name, label, seed, budgets[name]))
    shown = table({name: several for name, several in runs.items() if several})
    if options.tiny or options.methods != list(METHODS):
        sys.stdout.write(markdown(*drawn(shown)))
        return
    settings = {"minutes": options.minutes, "seeds": options.seeds}
    publish(measured("accuracy/affine_robustness", __doc__, [shown], settings))


def result(method: str, label: str, seed: int, changes: Mapping[str, object]) -> dict[str, Any]:
    """Numbers of a run that is read, or trained and tested."""
    words = f"{method.replace(' ', '-')}-{label}-seed{seed}"
    folder, options = RUNS / f"{NAME}-{words}", settings_of(method) | dict(changes)

    def tested() -> dict[str, Any]:
        return accuracies(folder, options) | price(folder) | {"steps": float(run["fit"]["steps"])}

    run = trained_here(folder, CONFIG, options, seed)
    return finished(f"{NAME}/{words}", tested) | {"provenance": run["provenance"]}


def settings_of(method: str) -> dict[str, object]:
    return QUIET | {"data.init_args.rotations": "I/I"} | METHODS[method]


@torch.no_grad()
def accuracies(folder: Path, options: Mapping[str, object]) -> dict[str, float]:
    """Shares of test clouds that the best checkpoint of a run classifies rightly."""
    run = read_run(CONFIG, options)
    task: Any = run.task.eval()
    task.model = load(folder / "checkpoints" / "best.ckpt")
    run.data.prepare_data()
    run.data.setup("test")
    torch.manual_seed(0)
    group, hits = parse_group(GROUP), {}
    for batch in run.data.test_dataloader():
        hits.setdefault("clean", []).append(right(task, batch))
        for scale in SCALES:
            moved = (under_a_draw(task, batch, group, scale) for _ in range(TURNS))
            draws = torch.stack([right(task, one) for one in moved])
            hits.setdefault(f"mean, {scale}", []).append(draws.float().mean(0))
            hits.setdefault(f"all, {scale}", []).append(draws.all(0))
    return {name: float(torch.cat(parts).float().mean()) for name, parts in hits.items()}


def under_a_draw(task: Any, batch: Any, group: Any, scale: float) -> Any:
    return task.transformed(batch, task.random_elements(batch, group, scale=scale))


def right(task: Any, batch: Any) -> Tensor:
    """[clouds] whether the most probable class is the class."""
    return task.predict_outputs(batch)["logits"].argmax(1) == batch.y


def price(folder: Path) -> dict[str, float]:
    """The dual variable of a run's constraint, if it has one."""
    prices = dual_prices(read_checkpoint(folder / "checkpoints" / "last.ckpt"))
    return {"dual": sum(one["dual"] for one in prices.values())} if prices else {}


def budget(method: str, minutes: float) -> dict[str, float]:
    """Trainer options for the steps that took that many minutes where all were timed."""
    timed = kept_seconds(NAME, method, lambda: step_seconds()[method])
    an_epoch = kept_seconds(NAME, "steps an epoch", lambda: float(step({})[0]))
    return schedule(60 * minutes / timed, {"steps_an_epoch": an_epoch})


@cache
def step_seconds() -> dict[str, float]:
    """Processor seconds of a training step of each method, medians of an interleaved run."""
    steps = {method: step(METHODS[method])[1] for method in METHODS}
    return interleaved(steps, ROUNDS, clock=time.process_time)


def step(changes: Mapping[str, object]) -> tuple[int, Callable[[], None]]:
    """Steps of an epoch, and one of them, with the penalties of the run's constraints."""
    run = read_run(CONFIG, QUIET | {"data.init_args.rotations": "I/I"} | dict(changes))
    task: Any = run.task.train()
    task.log = lambda *args, **keywords: None
    for callback in constraints(run.trainer.get("callbacks") or ()):
        task.penalties.append(partial(callback.penalty, task))
    run.data.prepare_data()
    run.data.setup("fit")
    loader = run.data.train_dataloader()
    batches = cycle(list(islice(iter(loader), ROUNDS)))
    optimizer = torch.optim.AdamW(task.parameters(), lr=1e-6)

    def take() -> None:
        optimizer.zero_grad()
        task.training_step(next(batches), 0).backward()
        optimizer.step()

    return len(loader), take


def constraints(callbacks: Iterable[Any]) -> list[InvarianceConstraint]:
    return [one for one in callbacks if isinstance(one, InvarianceConstraint)]


def table(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> Table:
    rows = []
    for name, several in runs.items():
        keys = [column.key for column in COLUMNS if column.key in several[0]]
        cells: dict[str, Cell] = {key: over([run[key] for run in several]) for key in keys}
        origin = "geqlib" if name.startswith("GL+") else "peer"
        rows.append(Row((name,), cells, origin, **measured_by(several)))
    return Table(("PointNet trained on",), COLUMNS, tuple(rows), "mean, 0.2")


if __name__ == "__main__":
    start(main)
