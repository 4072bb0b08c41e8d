"""Training runs of benchmarks: resumable, one folder each, at equal budgets of steps."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import cycle, islice
from math import ceil, isnan
from multiprocessing import get_context
from pathlib import Path
from shutil import copyfile
from statistics import median
from typing import Any, Literal

import torch

from benchmarks.provenance import UNRECORDED, oldest, present, recorded, running
from benchmarks.rows import Curve, Value, over
from geqlib.files.atomic import replace_file
from geqlib.train import InvarianceConstraint
from geqlib.train.runs.configuration import as_arguments, read_run
from geqlib.train.runs.sweep import SweepRun, complete, train
from geqlib.train.steps.peak_memory import PeakMemory

RUNS = Path(os.environ.get("GEQLIB_RUNS", "runs"))
BUDGETS = Path(__file__).parent / "budgets"
ROUNDS = 12  # of timing the steps of all runs
QUIET: dict[str, object] = {"trainer.enable_progress_bar": False}


def trained(
    folder: Path,
    config: Path,
    options: Mapping[str, object],
    seed: int,
    tested: Mapping[str, object] | None = None,
) -> dict[str, Any]:
    """Results of a run: read if it is complete, resumed if it was interrupted, else trained.

    They hold the "provenance" of the run: what it was begun with, not what reads it now.

    Args:
        folder: of the run.
        config: configuration file.
        options: changes to it, by dotted name.
        seed: of weights, augmentation and the order of the data.
        tested: changes for the test alone, whose results go to a folder of their own in the run's.
    """
    variant = "-".join(str(value).replace("/", "-") for value in (tested or {}).values())
    results = folder / variant / "results.json"
    begun = {"provenance": recorded(folder, running())}
    if not results.exists():
        fitted(folder, config, options, seed)
        changes = dict(tested or {}) | {"trainer.default_root_dir": str(results.parent)}
        best = f"--ckpt_path={folder / 'checkpoints' / 'best.ckpt'}"
        _geqlib("test", f"--config={folder / 'config.yaml'}", best, *as_arguments(changes))
    # results in a folder of their own know nothing of the training
    fit = {"fit": json.loads((folder / "fit.json").read_text())}
    return json.loads(results.read_text()) | fit | begun


def fitted(folder: Path, config: Path, options: Mapping[str, object], seed: int) -> Path:
    """The folder of a run that is trained, and not tested by this; arguments as of `trained`."""
    recorded(folder, running())
    last = folder / "checkpoints" / "last.ckpt"
    if not (folder / "fit.json").exists():
        arguments = as_arguments(options)
        arguments += [f"--seed_everything={seed}", f"--trainer.default_root_dir={folder}"]
        # without a checkpoint there is nothing to lose but the log of part of an epoch
        resume = [f"--ckpt_path={last}"] if last.exists() else ["--overwrite"]
        _geqlib("fit", f"--config={config}", *arguments, *resume)
    return folder


def extended(
    folder: Path, config: Path, options: Mapping[str, object], seed: int, epochs: int
) -> Path:
    """The folder of a run of at least these epochs, which goes on from fewer.

    Args:
        folder: of the run.
        config, options, seed: as of `trained`; the schedule should not depend on the length.
        epochs: so many.
    """
    fit = folder / "fit.json"
    if fit.exists() and json.loads(fit.read_text())["epochs"] >= epochs:
        return folder
    fit.unlink(missing_ok=True)
    return fitted(folder, config, {**options, "trainer.max_epochs": epochs}, seed)


def branched(
    trunk: Path,
    folder: Path,
    config: Path,
    options: Mapping[str, object],
    seed: int,
    epochs: tuple[int, int],
) -> Path:
    """The folder of a run at a constant rate that decays at the end, begun from a longer-lived one.

    The part at the constant rate is in the folder `trunk`, which runs of larger budgets go on with;
    that of a smaller budget than it has begins anew, with the same result.

    Args:
        trunk: of the run at a constant rate.
        folder: of this run.
        config, options, seed: as of `trained`; `options` without a schedule.
        epochs: at the constant rate, and in all.
    """
    constant, total = epochs
    last, own = (path / "checkpoints" / "last.ckpt" for path in (trunk, folder))
    if constant and not own.exists() and not (folder / "fit.json").exists():
        extended(trunk, config, {**options, "model.init_args.schedule": "constant"}, seed, constant)
        if json.loads((trunk / "fit.json").read_text())["epochs"] == constant:
            own.parent.mkdir(parents=True, exist_ok=True)
            replace_file(own, partial(copyfile, last))
    decay = {
        "model.init_args.schedule": {"cosine": {"after": constant / total}},
        "trainer.max_epochs": total,
    }
    return fitted(folder, config, {**options, **decay}, seed)


def trained_here(
    folder: Path, config: Path, options: Mapping[str, object], seed: int
) -> dict[str, Any]:
    """`trained` without processes of its own, for runs that take no longer than starting one."""
    begun = {"provenance": recorded(folder, running())}
    complete(SweepRun(folder, config, tuple(as_arguments(options)), seed))
    return json.loads((folder / "results.json").read_text()) | begun


def fitted_here(folder: Path, config: Path, options: Mapping[str, object], seed: int) -> Path:
    """`fitted` without processes of its own."""
    recorded(folder, running())
    train(SweepRun(folder, config, tuple(as_arguments(options)), seed))
    return folder


def finished(name: str, run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `run` returned when it was first called by this name, in runs/NAME.json.

    So an interrupted benchmark goes on where it was.

    Args:
        name: says all that the result depends on, such as "nbody_products/gaunt-1-40-0".
        run: returns JSON values.
    """
    path = RUNS / f"{name}.json"
    if path.exists():
        return {"provenance": UNRECORDED} | json.loads(path.read_text())
    begun = {"provenance": present(running())}
    result = run() | begun
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, lambda part: part.write_text(json.dumps(result) + "\n"))
    return result


def metric(results: Sequence[Mapping[str, Any]], name: str) -> Value:
    """A metric of the test over seeds."""
    return over([run["metrics"][name] for run in results])


def measured_by(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Arguments `stamp` and `hashes` of the row that shows these runs."""
    return oldest(results, running())


def validation_curve(folder: Path, column: str) -> Curve:
    """Minutes of the processor, and a validation metric, of every validation of a run."""
    curve: list[tuple[float, float]] = []
    minutes = 0.0
    for path in sorted(folder.glob("metrics/version_*/metrics.csv")):
        with path.open(newline="") as file:
            for line in csv.DictReader(file):
                minutes = float(line.get("processor_minutes") or minutes)
                if line.get(column):
                    curve.append((minutes, float(line[column])))
    return tuple(curve)


def _geqlib(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "geqlib", *arguments], check=True)


def budgeted(
    name: str, runs: Mapping[str, tuple[Path, Mapping[str, object]]], minutes: float
) -> dict[str, dict[str, float]]:
    """Trainer options of each run: steps that took that many minutes where they were timed.

    A budget is a number of steps, so that a rerun gives the same number: see `step_seconds`.
    Validation comes on top.

    Args:
        name: of the benchmark.
        runs: name -> configuration file and changes to it.
        minutes: of each run.
    """
    timed = step_seconds(name, runs)
    return {key: schedule(60 * minutes / timed[key]["step"], timed[key]) for key in runs}


def step_seconds(
    name: str, runs: Mapping[str, tuple[Path, Mapping[str, object]]]
) -> dict[str, dict[str, float]]:
    """Processor seconds of a training step of each run, and steps an epoch.

    A step is forward, backward and update on batches of the training split, on one thread; seconds
    are medians of one interleaved measurement. They are measured once and kept in
    benchmarks/budgets/NAME.json, which belongs to the repository: with the environment variable
    GEQLIB_RUNS, in that folder.
    """
    seconds = _budgets(name)
    if missing := {key: run for key, run in runs.items() if key not in seconds}:
        seconds |= _measured({key: _step(*run) for key, run in missing.items()})
        _keep(name, seconds)
    return seconds


def step_memory(config: Path, options: Mapping[str, object]) -> dict[str, float | None]:
    """The most memory of some training steps above that before them, in MiB.

    Data and weights are there before; gradients and the state of the optimiser are not. It is
    measured in a process of its own, as one that trained before has memory that it uses again.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return {"mebibytes": pool.submit(_peak_of_steps, config, options).result()}


def _peak_of_steps(config: Path, options: Mapping[str, object]) -> float | None:
    _, step = _step(config, options)
    memory = PeakMemory()
    for _ in range(3):
        step()
    return memory.mebibytes()


def kept_seconds(name: str, key: str, measure: Callable[[], float]) -> float:
    """A time in the same file, measured the first time."""
    seconds = _budgets(name)
    if key not in seconds:
        seconds[key] = measure()
        _keep(name, seconds)
    return seconds[key]


def epochs_within(minutes: float, name: str, key: str, measure: Callable[[], float]) -> int:
    """Epochs that take these minutes, by the seconds of one: see `kept_seconds`."""
    return max(round(60 * minutes / kept_seconds(name, key, measure)), 1)


def epoch_seconds(
    folder: Path, config: Path, options: Mapping[str, object], seed: int, epochs: int
) -> float:
    """Processor seconds of an epoch with its validation, in the mean over a run of some epochs."""
    fitted(folder, config, {**options, "trainer.max_epochs": epochs}, seed)
    fit = json.loads((folder / "fit.json").read_text())
    return fit["processor_seconds"] / epochs


def _budgets(name: str) -> dict[str, Any]:
    path = _budget_file(name)
    return json.loads(path.read_text()) if path.exists() else {}


def _keep(name: str, seconds: Mapping[str, Any]) -> None:
    text, path = json.dumps(seconds, indent=1) + "\n", _budget_file(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, lambda part: part.write_text(text))


def _budget_file(name: str) -> Path:
    return (RUNS if "GEQLIB_RUNS" in os.environ else BUDGETS) / f"{name}.json"


def schedule(steps: float, timed: Mapping[str, float]) -> dict[str, float]:
    """Epochs, and steps in each, that make about that many steps."""
    epochs = ceil(steps / timed["steps_an_epoch"])
    return {
        "trainer.max_epochs": epochs,
        "trainer.limit_train_batches": max(round(steps / epochs), 1),
    }


def chosen_rate(
    folders: Mapping[float, Path], column: str, mode: Literal["min", "max"] = "min"
) -> float:
    """The learning rate whose run has the best validation metric; the first of equal ones.

    Args:
        folders: of finished runs, by learning rate.
        column: of the metric.
        mode: whether it is an error or a score.
    """
    values = {rate: least(folder, column, mode) for rate, folder in folders.items()}
    return (min if mode == "min" else max)(values, key=lambda rate: values[rate])


def least(folder: Path, column: str, mode: Literal["min", "max"] = "min") -> float:
    """The best value of a validation metric over the epochs of a run."""
    values = [value for _, value in validation_curve(folder, column) if not isnan(value)]
    if not values:
        raise ValueError(f"{folder} has no {column} in its metrics: train it first.")
    return min(values) if mode == "min" else max(values)


def decaying_schedule(
    steps: float, timed: Mapping[str, float], *, every: int, share: float
) -> tuple[dict[str, float], tuple[int, int]]:
    """Trainer options that do not depend on the budget, and epochs at a constant rate and in all.

    Args:
        steps: of the budget.
        timed: of `step_seconds`.
        every: steps between two validations, about; epochs are no longer.
        share: of all steps, at a constant rate.

    Example:
        >>> decaying_schedule(5000, {"steps_an_epoch": 1562}, every=250, share=0.8)[1]
        (16, 20)
        >>> decaying_schedule(2000, {"steps_an_epoch": 1}, every=250, share=0.8)[1]
        (1500, 2000)
    """
    epoch = min(every, int(timed["steps_an_epoch"]))
    together = max(every // epoch, 1)  # epochs of a validation
    validations = max(round(steps / (epoch * together)), 1)
    options: dict[str, float] = {
        "trainer.limit_train_batches": epoch,
        "trainer.check_val_every_n_epoch": together,
    }
    return options, (int(share * validations) * together, validations * together)


def _measured(
    steps: Mapping[str, tuple[int, Callable[[], None]]],
) -> dict[str, dict[str, float]]:
    times: dict[str, list[float]] = {key: [] for key in steps}
    for k in range(ROUNDS + 1):
        for key, (_, step) in steps.items():
            start = time.process_time()
            step()
            if k:  # the first round allocates
                times[key].append(time.process_time() - start)
    return {
        key: {"step": median(times[key]), "steps_an_epoch": count}
        for key, (count, _) in steps.items()
    }


def _step(config: Path, options: Mapping[str, object]) -> tuple[int, Callable[[], None]]:
    """Steps of an epoch, and one of them."""
    run = read_run(config, options)
    task, data = run.task.train(), run.data
    callbacks = run.trainer.get("callbacks") or []
    constraints = [c for c in callbacks if isinstance(c, InvarianceConstraint)]
    task.penalties += [partial(constraint.penalty, task) for constraint in constraints]
    data.prepare_data()
    data.setup("fit")
    loader = data.train_dataloader()
    batches = cycle(list(islice(iter(loader), ROUNDS)))
    optimizer = torch.optim.AdamW(task.parameters(), lr=1e-6)
    task.log = lambda *args, **keywords: None

    def step() -> None:
        optimizer.zero_grad()
        task.training_step(next(batches), 0).backward()
        optimizer.step()

    return len(loader), step
