"""`geqlib sweep`: a configuration with several settings and seeds, resumable."""

from __future__ import annotations

import itertools
import re
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from geqlib.cli.cv import announce
from geqlib.cli.own_options import OF_ONE_RUN, refuse_set_options

if TYPE_CHECKING:
    from geqlib.train.runs.sweep import SweepRun

DESCRIPTION = """Train and test a configuration with every combination of the values that options
have, one run after the other, and compare them in a table:

  geqlib sweep --config FILE --model.lr 1e-3 3e-3 --seed_everything 0 1 2

Options are those of `geqlib fit`; one with a single value is that of all runs. Each run has its own
folder. The same command goes on where it was stopped, and with more values makes what is missing;
runs in the folder that were made with other settings, data or code are refused."""
SEED = "seed_everything"


def main(args: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    parser = ArgumentParser(
        "geqlib sweep",
        description=DESCRIPTION,
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--config", required=True, help="configuration, as for `geqlib fit`")
    parser.add_argument("--out", type=Path, help="folder; by default runs/sweep-NAME")
    parser.add_argument(
        "--overwrite", action="store_true", help="make runs again that were made otherwise"
    )
    options, rest = parser.parse_known_args(args)
    values = listed_values(rest)
    for value in values.get(SEED, []):
        _seed(value)
    from geqlib.report.sweeps import write_sweep
    from geqlib.train.runs.configuration import read_run
    from geqlib.train.runs.sweep import check_recipes, complete_all

    out = options.out or Path("runs") / f"sweep-{Path(options.config).stem}"
    first = read_run(options.config, [f"--{name}={choices[0]}" for name, choices in values.items()])
    runs = plan_runs(out, options.config, values, first.seed)
    check_recipes(list(runs.values()), overwrite=options.overwrite)
    complete_all(list(runs.values()), announce=announce)
    settings = [(run.folder, dict(point), run.seed) for point, run in runs.items()]
    path = write_sweep(out, settings, first.monitor, first.monitor_mode)
    sys.stdout.write(f"wrote {path}. Next: geqlib report {out}\n")
    return 0


def listed_values(words: Sequence[str]) -> dict[str, list[str]]:
    """The values of each option: `--model.lr 1e-3 3e-3` or `--model.lr=1e-3`.

    Raises:
        ValueError: for an option without a value, given twice, or that runs have themselves.

    Example:
        >>> listed_values(["--model.lr", "1e-3", "3e-3", "--ema=0.99"])
        {'model.lr': ['1e-3', '3e-3'], 'ema': ['0.99']}
    """
    refuse_set_options(words, OF_ONE_RUN)
    values: dict[str, list[str]] = {}
    for word in words:
        if not word.startswith("--"):
            if not values:
                raise ValueError(f"{word} belongs to no option: write --NAME VALUE...")
            next(reversed(values.values())).append(word)
            continue
        name, equals, value = word.removeprefix("--").partition("=")
        if name in values:
            raise ValueError(f"--{name} is given twice: list all of its values after one.")
        values[name] = [value] if equals else []
    bare = next((name for name, choices in values.items() if not choices), None)
    if bare is not None:
        raise ValueError(f"--{bare} has no value: write --{bare} VALUE...")
    twice = next((k for k, choices in values.items() if len(set(choices)) < len(choices)), None)
    if twice is not None:
        raise ValueError(f"--{twice} has a value twice: leave one of them out.")
    return values


def plan_runs(
    out: Path, config: str, values: Mapping[str, Sequence[str]], seed: int
) -> dict[tuple[tuple[str, str], ...], SweepRun]:
    """All runs of a sweep by their settings, finished or not, seeds one after the other.

    Args:
        out: folder of the sweep.
        config: that all runs share.
        values: of each option.
        seed: where none is listed.

    Raises:
        ValueError: what is wrong with any of the configurations.
    """
    from geqlib.train.runs.recipe import read_recipe
    from geqlib.train.runs.sweep import SweepRun

    seeds = [_seed(value) for value in values.get(SEED, [str(seed)])]
    common = [f"--{k}={v[0]}" for k, v in values.items() if len(v) == 1 and k != SEED]
    several = {k: v for k, v in values.items() if len(v) > 1 and k != SEED}
    same_data = not any(name.startswith("data") for name in several)
    labels = short_names(list(several))
    runs: dict[tuple[tuple[str, str], ...], SweepRun] = {}
    recipe = None
    for point in itertools.product(*several.values()):
        own = [f"--{name}={value}" for name, value in zip(several, point, strict=True)]
        recipe = read_recipe(config, [*common, *own], data_of=recipe if same_data else None)
        settings = dict(zip(labels, point, strict=True))
        for number in seeds:
            parts = [*(f"{k}{v}" for k, v in settings.items()), f"seed{number}"]
            folder = out / "-".join(re.sub(r"[^\w.+-]+", "_", part) for part in parts)
            key = (*settings.items(), ("seed", str(number)))
            runs[key] = SweepRun(
                folder, config, (*common, *own), number, recipe={**recipe, "seed": number}
            )
    folders = [run.folder for run in runs.values()]
    same = next((folder for folder in folders if folders.count(folder) > 1), None)
    if same is not None:
        raise ValueError(
            f"Two runs would be {same}: give their settings values that differ in text."
        )
    return runs


def short_names(options: Sequence[str]) -> list[str]:
    """The last part of each option, or more of it where that would be ambiguous.

    Example:
        >>> short_names(["model.lr", "model.model.channels", "data.channels"])
        ['lr', 'model.channels', 'data.channels']
    """
    names = []
    for option in options:
        parts = [part for part in option.split(".") if part != "init_args"]
        count = 1
        while count < len(parts) and any(
            other != option and other.endswith("." + ".".join(parts[-count:])) for other in options
        ):
            count += 1
        names.append(".".join(parts[-count:]))
    return names


def _seed(value: str) -> int:
    if not re.fullmatch(r"\d+", value):
        raise ValueError(f"--{SEED} is {value}: write whole numbers, such as 0 1 2.")
    return int(value)
