"""Equal budgets: how many epochs of each training run fit into some minutes of processor time."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from itertools import cycle, islice
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.training import RUNS
from geqlib.files.atomic import replace_file
from geqlib.train.configuration import read_run

ROUNDS = 12


def budgeted(
    name: str, runs: Mapping[str, tuple[Path, Mapping[str, object]]], minutes: float
) -> dict[str, dict[str, float]]:
    """Trainer options of each run that make its training steps take so many minutes.

    A step is forward, backward and update on batches of the training split; seconds are processor
    time of this process, medians of one interleaved measurement, kept in runs/NAME-MINUTESmin.json
    so that a run that was cut off goes on with the same schedule. Validation comes on top.

    Args:
        name: of the benchmark.
        runs: name -> configuration file and changes to it.
        minutes: of each run.
    """
    path = RUNS / f"{name}-{minutes:g}min.json"
    seconds = json.loads(path.read_text()) if path.exists() else {}
    if missing := {key: run for key, run in runs.items() if key not in seconds}:
        seconds |= _measured({key: _step(*run) for key, run in missing.items()})
        text = json.dumps(seconds, indent=1)
        replace_file(path, lambda part: part.write_text(text))
    return {key: _options(60 * minutes / seconds[key]["step"], seconds[key]) for key in runs}


def _options(steps: float, measured: Mapping[str, float]) -> dict[str, float]:
    epochs = ceil(steps / measured["steps_an_epoch"])
    return {
        "trainer.max_epochs": epochs,
        "trainer.limit_train_batches": max(round(steps / epochs), 1),
    }


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
    data.prepare_data()
    data.setup("fit")
    loader: Any = data.train_dataloader()
    batches = cycle(list(islice(iter(loader), ROUNDS)))
    optimizer = torch.optim.AdamW(task.parameters(), lr=1e-6)
    task.log = lambda *args, **keywords: None

    def step() -> None:
        optimizer.zero_grad()
        task.training_step(next(batches), 0).backward()
        optimizer.step()

    return len(loader), step
