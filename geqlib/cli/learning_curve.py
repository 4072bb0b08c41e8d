"""`geqlib learning-curve`: errors at several sizes of the training set, resumable."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from geqlib.report.size_curves import write_size_curves
from geqlib.train.cli import TrainCLI
from geqlib.train.stages import complete

DESCRIPTION = """Train and test a configuration with several numbers of training examples
(data.init_args.num_train), of which a smaller one is a part of a larger one. Options that are not
listed go to `geqlib fit`. The same command goes on where it was stopped."""


@dataclass(frozen=True)
class SizeRun:
    """One training run of a learning curve.

    Args:
        folder: of the run.
        size: of the training set.
        seed: of everything but the data.
        arguments: `--config=...` and changes to it.
    """

    folder: Path
    size: int
    seed: int
    arguments: tuple[str, ...]

    @property
    def done(self) -> bool:
        return (self.folder / "results.json").exists()


def main(args: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    parser = ArgumentParser("geqlib learning-curve", description=DESCRIPTION)
    parser.add_argument("--config", required=True, help="configuration, as for `geqlib fit`")
    parser.add_argument("--sizes", type=int, nargs="+", required=True, help="training examples")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="seeds, 0 by default")
    parser.add_argument("--out", type=Path, help="folder; by default runs/curve-NAME")
    parser.add_argument(
        "--metrics", nargs="+", help="such as forces_mae; by default those like the monitored one"
    )
    given, rest = parser.parse_known_args(args)
    out = given.out or Path("runs") / f"curve-{Path(given.config).stem}"
    arguments = (f"--config={given.config}", *rest)
    monitor = _check(arguments, given.sizes)
    runs = plan_runs(out, arguments, given.sizes, given.seeds)
    if code := run_all(runs):
        return code
    results = {(run.size, run.seed): _metrics(run) for run in runs}
    path = write_size_curves(out, results, given.metrics or like(monitor, results))
    sys.stdout.write(f"wrote {path}\n")
    return 0


def plan_runs(
    out: Path, arguments: Sequence[str], sizes: Sequence[int], seeds: Sequence[int]
) -> list[SizeRun]:
    """All runs of a learning curve, finished or not, small ones first."""
    return [
        SizeRun(out / f"size{size}-seed{seed}", size, seed, tuple(arguments))
        for size in sorted(set(sizes))
        for seed in dict.fromkeys(seeds)
    ]


def run_all(runs: Sequence[SizeRun]) -> int:
    """Make the missing runs; returns the exit code of the first that failed."""
    missing = [run for run in runs if not run.done]
    console = Console(stderr=True)
    for k, run in enumerate(missing):
        console.print(f"{run.folder.name}, {k + 1} of {len(missing)}", highlight=False)
        arguments = [*run.arguments, f"--data.init_args.num_train={run.size}"]
        if code := complete(run.folder, arguments, seed=run.seed):
            return code
    return 0


def like(monitor: str, results: dict[Any, dict[str, float]]) -> list[str]:
    """The metrics that end as the monitored one does: every `..._rmse` for `val/forces_rmse`."""
    kind = monitor.partition("/")[2].rpartition("_")[2]
    return [name for name in next(iter(results.values())) if name.rpartition("_")[2] == kind]


def _check(arguments: Sequence[str], sizes: Sequence[int]) -> str:
    """Raise what is wrong with a command before hours are spent; returns the monitored metric."""
    if min(sizes) < 1:
        raise ValueError(f"--sizes must be at least 1, got {min(sizes)}.")
    settings: Any = TrainCLI([*arguments, "--trainer.logger=false"], run=False)
    if not hasattr(settings.datamodule, "num_train"):
        raise ValueError(
            f"{type(settings.datamodule).__name__} has no num_train: geqlib learning-curve needs "
            "data such as MoleculeData."
        )
    return settings.config["monitor"]


def _metrics(run: SizeRun) -> dict[str, float]:
    """Of the test set, without `test/`."""
    path = run.folder / "results.json"
    try:
        metrics = json.loads(path.read_text())["metrics"]
        return {key.removeprefix("test/"): float(value) for key, value in metrics.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged: delete it to test the run again.") from error
