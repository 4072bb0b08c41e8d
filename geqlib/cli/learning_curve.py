"""`geqlib learning-curve`: errors at several sizes of the training set, resumable."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geqlib.cli.cv import announce
from geqlib.cli.own_options import OF_ONE_RUN, refuse_set_options

if TYPE_CHECKING:
    from geqlib.train.runs.sweep import SweepRun

DESCRIPTION = """Train and test a configuration with several numbers of training examples
(data.init_args.num_train), of which a smaller one is a part of a larger one. Options that are not
listed go to `geqlib fit`. The same command goes on where it was stopped; runs in the folder that
were made with other settings, data or code are refused."""
SET = OF_ONE_RUN | {
    "seed_everything": "name seeds by --seeds",
    "data.num_train": "name sizes by --sizes",
}


def main(args: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    parser = ArgumentParser("geqlib learning-curve", description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument("--config", required=True, help="configuration, as for `geqlib fit`")
    parser.add_argument("--sizes", type=int, nargs="+", required=True, help="training examples")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="seeds, 0 by default")
    parser.add_argument("--out", type=Path, help="folder; by default runs/curve-NAME")
    parser.add_argument(
        "--metrics", nargs="+", help="such as forces_mae; by default those like the monitored one"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="make runs again that were made otherwise"
    )
    options, overrides = parser.parse_known_args(args)
    refuse_set_options(overrides, SET)
    if min(options.sizes) < 1:
        raise ValueError(f"--sizes must be at least 1, got {min(options.sizes)}.")
    from geqlib.report.size_curves import write_size_curves
    from geqlib.train.runs.recipe import read_recipe
    from geqlib.train.runs.sweep import check_recipes, complete_all

    monitor = _monitored(options.config, overrides)
    out = options.out or Path("runs") / f"curve-{Path(options.config).stem}"
    recipe = read_recipe(options.config, overrides)
    runs = plan_runs(out, options.config, overrides, options.sizes, options.seeds, recipe)
    check_recipes(list(runs.values()), overwrite=options.overwrite)
    complete_all(list(runs.values()), announce=announce)
    results = {key: _metrics(run.folder) for key, run in runs.items()}
    path = write_size_curves(out, results, options.metrics or like(monitor, results))
    sys.stdout.write(f"wrote {path}\n")
    return 0


def plan_runs(
    out: Path,
    config: str | Path,
    overrides: Sequence[str],
    sizes: Sequence[int],
    seeds: Sequence[int],
    recipe: Mapping[str, Any] | None = None,
) -> dict[tuple[int, int], SweepRun]:
    """All runs of a learning curve by size and seed, finished or not, small ones first."""
    from geqlib.train.runs.sweep import SweepRun

    return {
        (size, seed): SweepRun(
            out / f"size{size}-seed{seed}",
            config,
            (*overrides, f"--data.init_args.num_train={size}"),
            seed,
            recipe=None if recipe is None else {**recipe, "size": size, "seed": seed},
        )
        for size in sorted(set(sizes))
        for seed in dict.fromkeys(seeds)
    }


def like(monitor: str, results: Mapping[Any, Mapping[str, float]]) -> list[str]:
    """The metrics that end as the monitored one does: every `..._rmse` for `val/forces_rmse`."""
    kind = monitor.partition("/")[2].rpartition("_")[2]
    return [name for name in next(iter(results.values())) if name.rpartition("_")[2] == kind]


def _monitored(config: str | Path, overrides: Sequence[str]) -> str:
    """The monitored metric; raises what is wrong with a configuration before hours are spent."""
    from geqlib.train.runs.configuration import read_run

    run = read_run(config, overrides)
    if not hasattr(run.data, "num_train"):
        raise ValueError(
            f"{type(run.data).__name__} has no num_train: geqlib learning-curve needs "
            "data such as MoleculeData."
        )
    return run.monitor


def _metrics(folder: Path) -> dict[str, float]:
    """Of the test set, without `test/`."""
    path = folder / "results.json"
    try:
        metrics = json.loads(path.read_text("utf-8-sig"))["metrics"]
        return {key.removeprefix("test/"): float(value) for key, value in metrics.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged: delete it to test the run again.") from error
