"""`geqlib cv`: cross-validation, folds x seeds, resumable."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geqlib.cli.own_options import OF_ONE_RUN, refuse_set_options

if TYPE_CHECKING:
    from geqlib.train.runs.sweep import SweepRun

DESCRIPTION = """Train and test a configuration on every fold and seed, and report it two ways:
with the epoch whose test accuracy (or error) is best in the mean over all folds (as most published
tables do), and with each fold's epoch chosen by its validation split. Options that are not listed
go to `geqlib fit`. The same command goes on where it was stopped; runs in the folder that were made
with other settings, data or code are refused."""
SET = OF_ONE_RUN | {"seed_everything": "name seeds by --seeds", "data.fold": "name it by --folds"}


def main(args: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    parser = ArgumentParser("geqlib cv", description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument("--config", required=True, help="configuration, as for `geqlib fit`")
    parser.add_argument("--out", type=Path, help="folder; by default runs/cv-NAME")
    parser.add_argument("--folds", type=int, nargs="+", help="which folds; all by default")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="seeds, 0 by default")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument(
        "--against", type=Path, nargs="*", default=[], help="other folders, for a paired test"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="make runs again that were made otherwise"
    )
    options, overrides = parser.parse_known_args(args)
    refuse_set_options(overrides, SET)
    if options.jobs < 1:
        raise ValueError(f"--jobs must be at least 1, got {options.jobs}.")
    from geqlib.report.cross_validation import read_folds, write_summary
    from geqlib.train.runs.sweep import check_recipes, complete_all

    out = options.out or Path("runs") / f"cv-{Path(options.config).stem}"
    runs = plan_runs(out, options.config, overrides, options.folds, options.seeds, options.jobs)
    for folder in options.against:
        read_folds(folder)  # a wrong name should not come to light after hours
    check_recipes(runs, overwrite=options.overwrite)
    complete_all(runs, options.jobs, announce)
    folders = [run.folder for run in runs]
    selected = runs[0].checkpoint == "best"
    page = write_summary(out, folders, options.against, selected=selected)
    sys.stdout.write(f"wrote {page}. Next: geqlib report {out}\n")
    return 0


def plan_runs(
    out: Path,
    config: str | Path,
    overrides: Sequence[str],
    folds: Sequence[int] | None,
    seeds: Sequence[int],
    jobs: int = 1,
) -> list[SweepRun]:
    """All runs of a cross-validation, finished or not.

    Where a validation split chooses the epoch, the best checkpoint is tested, else the last one.

    Raises:
        ValueError: if the configuration has no folds, or not those.
    """
    import torch

    from geqlib.train.runs.configuration import read_run
    from geqlib.train.runs.recipe import read_recipe
    from geqlib.train.runs.sweep import SweepRun

    data: Any = read_run(config, overrides).data
    count = getattr(data, "num_folds", None)
    if count is None and getattr(data, "predict", None) == "links":
        raise ValueError(
            "Links have no folds, as they are held back within each graph: measure them by geqlib "
            "fit and geqlib test, with several data_seed."
        )
    if count is None:
        raise ValueError(
            f"{type(data).__name__} has no folds: geqlib cv needs data such as GraphData or "
            "MoleculeTableData."
        )
    folds = list(range(count)) if folds is None else list(folds)
    wrong = next((k for k in folds if not 0 <= k < count), None)
    if wrong is not None:
        raise ValueError(f"--folds names {wrong}: choose from 0 to {count - 1}.")
    recipe = read_recipe(config, overrides)
    return [
        SweepRun(
            out / f"fold{fold}-seed{seed}",
            config,
            (*overrides, f"--data.init_args.fold={fold}"),
            seed,
            checkpoint="best" if data.validation > 0 else "last",
            predict=True,
            threads=max(torch.get_num_threads() // jobs, 1),  # which knows OMP_NUM_THREADS
            recipe=recipe | {"fold": fold, "seed": seed},
        )
        for seed in dict.fromkeys(seeds)
        for fold in dict.fromkeys(folds)
    ]


def announce(line: str) -> None:
    """Print the progress of a sweep."""
    sys.stderr.write(f"{line}\n")
