"""`geqlib cv`: cross-validation, folds x seeds, resumable."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from geqlib.report.cross_validation import read_folds, write_summary
from geqlib.train.cli import TrainCLI
from geqlib.train.stages import complete

DESCRIPTION = """Train and test a configuration on every fold and seed, and report it two ways:
with the epoch whose test accuracy is highest in the mean over all folds (as most published tables
do), and with each fold's epoch chosen by its validation graphs. Options that are not listed go to
`geqlib fit`. The same command goes on where it was stopped."""


@dataclass(frozen=True)
class FoldRun:
    """One training run of a cross-validation.

    Args:
        folder: of the run.
        fold, seed: of the data, and of everything else.
        arguments: `--config=...` and changes to it.
        selected: whether validation graphs choose the epoch that is tested; the last one otherwise.
        threads: that it may use.
    """

    folder: Path
    fold: int
    seed: int
    arguments: tuple[str, ...]
    selected: bool
    threads: int

    @property
    def done(self) -> bool:
        return (self.folder / "predictions.safetensors").exists()


def main(args: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    parser = ArgumentParser("geqlib cv", description=DESCRIPTION)
    parser.add_argument("--config", required=True, help="configuration, as for `geqlib fit`")
    parser.add_argument("--out", type=Path, help="folder; by default runs/cv-NAME")
    parser.add_argument("--folds", type=int, nargs="+", help="which folds; all by default")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="seeds, 0 by default")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument(
        "--against", type=Path, nargs="*", default=[], help="other folders, for a paired test"
    )
    given, rest = parser.parse_known_args(args)
    if given.jobs < 1:
        raise ValueError(f"--jobs must be at least 1, got {given.jobs}.")
    out = given.out or Path("runs") / f"cv-{Path(given.config).stem}"
    arguments = (f"--config={given.config}", *rest)
    runs = plan_runs(out, arguments, given.folds, given.seeds, given.jobs)
    for folder in given.against:
        read_folds(folder)  # a wrong name should not come to light after hours
    return run_all(runs, given.jobs) or _summarise(out, runs, given.against)


def plan_runs(
    out: Path,
    arguments: Sequence[str],
    folds: Sequence[int] | None,
    seeds: Sequence[int],
    jobs: int = 1,
) -> list[FoldRun]:
    """All runs of a cross-validation, finished or not.

    Raises:
        ValueError: if the configuration has no folds, or not those.
    """
    settings: Any = TrainCLI([*arguments, "--trainer.logger=false"], run=False)
    data = settings.datamodule
    count = getattr(data, "num_folds", None)
    if count is None:
        raise ValueError(
            f"{type(data).__name__} has no folds: geqlib cv needs data such as GraphData."
        )
    chosen = list(range(count)) if folds is None else list(folds)
    strange = next((k for k in chosen if not 0 <= k < count), None)
    if strange is not None:
        raise ValueError(f"--folds names {strange}: choose from 0 to {count - 1}.")
    threads = max(torch.get_num_threads() // jobs, 1)  # which knows OMP_NUM_THREADS
    return [
        FoldRun(out / f"fold{k}-seed{s}", k, s, tuple(arguments), data.validation > 0, threads)
        for s in dict.fromkeys(seeds)
        for k in dict.fromkeys(chosen)
    ]


def run_all(runs: Sequence[FoldRun], jobs: int = 1) -> int:
    """Make the missing runs, so many at a time; returns the exit code of the first that failed."""
    missing = [run for run in runs if not run.done]
    console = Console(stderr=True)
    if jobs == 1:
        for k, run in enumerate(missing):
            console.print(f"{run.folder.name}, {k + 1} of {len(missing)}", highlight=False)
            if code := make(run):
                return code
        return 0
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        started = {pool.submit(make, run): run for run in missing}
        for k, done in enumerate(as_completed(started)):
            if code := done.result():
                pool.shutdown(wait=True, cancel_futures=True)
                return code
            name = started[done].folder.name
            console.print(f"{name}, {k + 1} of {len(missing)}", highlight=False)
    return 0


def make(run: FoldRun) -> int:
    """Train, test and predict, whatever of that is missing; returns the exit code."""
    torch.set_num_threads(run.threads)
    return complete(
        run.folder,
        [*run.arguments, f"--data.init_args.fold={run.fold}"],
        seed=run.seed,
        checkpoint="best" if run.selected else "last",
        predict=True,
    )


def _summarise(out: Path, runs: Sequence[FoldRun], against: Sequence[Path]) -> int:
    folders = [run.folder for run in runs]
    page = write_summary(out, folders, against, selected=runs[0].selected)
    sys.stdout.write(f"wrote {page}\n")
    return 0
