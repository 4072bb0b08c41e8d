"""`geqlib price`: what symmetries cost a model on its data, as dual variables side by side."""

from __future__ import annotations

import json
import re
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Mapping, Sequence
from math import isclose
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geqlib.cli.cv import announce
from geqlib.cli.own_options import OF_ONE_RUN, refuse_set_options

if TYPE_CHECKING:
    from rich.console import Console

    from geqlib.train.runs.sweep import SweepRun

DESCRIPTION = """Train a configuration once for each group, subject to a mean loss of at most EPS on
transformed inputs, and print the dual variables:

  geqlib price --config FILE --groups "SO(2)" "SO(3)" S_n --eps 0.1

A dual variable is the weight that the transformed loss needs. It returns to 0 where the task has
the symmetry, settles where the symmetry is at odds with the labels, and grows where no weights keep
EPS. EPS is in units of the training loss: begin a little above that of a run without constraints.
A network that has the symmetry exactly says nothing of its price: take one without it.
Options that are not listed go to `geqlib fit`. The same command goes on where it was stopped."""
CALLBACK = "geqlib.train.InvarianceConstraint"
SAME = 1e-5  # relative, of losses in float32
Price = dict[str, Any]


def main(args: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    parser = ArgumentParser(
        "geqlib price",
        description=DESCRIPTION,
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--config", required=True, help="configuration, as for `geqlib fit`")
    parser.add_argument("--groups", nargs="+", required=True, help="names, such as SO(3) or S_n")
    parser.add_argument("--eps", type=float, required=True, help="bound of the transformed loss")
    parser.add_argument("--dual_lr", type=float, default=1e-2, help="rate of dual variables")
    parser.add_argument("--steps", type=int, default=1, help="of Metropolis-Hastings")
    parser.add_argument(
        "--bound", type=float, help="dual variable above which a warning says so; by default 100"
    )
    parser.add_argument("--out", type=Path, help="folder; by default runs/price-NAME")
    parser.add_argument(
        "--overwrite", action="store_true", help="make runs again that were made otherwise"
    )
    options, overrides = parser.parse_known_args(args)
    refuse_set_options(overrides, OF_ONE_RUN)
    from geqlib.train.runs.sweep import check_recipes, complete_all

    out = options.out or Path("runs") / f"price-{Path(options.config).stem}"
    runs = plan_runs(out, options, overrides)
    check_recipes(list(runs.values()), overwrite=options.overwrite)
    complete_all(list(runs.values()), announce=announce)
    show_prices(out, {group: read_price(run.folder) for group, run in runs.items()})
    return 0


def plan_runs(out: Path, options: Namespace, overrides: Sequence[str]) -> dict[str, SweepRun]:
    """The run of each group, finished or not.

    Raises:
        ValueError: groups or numbers that `InvarianceConstraint` refuses, a group named twice, a
            configuration that has a constraint already, or what is wrong with it.
    """
    from geqlib.train import InvarianceConstraint
    from geqlib.train.runs.configuration import read_run
    from geqlib.train.runs.recipe import read_recipe
    from geqlib.train.runs.sweep import SweepRun

    settings = {"eps": options.eps, "dual_lr": options.dual_lr, "steps": options.steps}
    settings |= {} if options.bound is None else {"bound": options.bound}
    names = [InvarianceConstraint(group, **settings).name for group in options.groups]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"--groups names {twice} twice: leave one of them out.")
    first = read_run(options.config, overrides)
    callbacks = first.trainer.get("callbacks") or []
    callbacks = callbacks if isinstance(callbacks, list) else [callbacks]
    if any(isinstance(callback, InvarianceConstraint) for callback in callbacks):
        raise ValueError(
            f"{options.config} has an InvarianceConstraint among its callbacks, and geqlib price "
            "adds one for each group: leave it out."
        )
    seed = first.seed
    recipe, runs = None, {}
    for group, name in zip(options.groups, names, strict=True):
        described = {"class_path": CALLBACK, "init_args": {"group": group, **settings}}
        own = (*overrides, f"--trainer.callbacks+={json.dumps(described)}")
        recipe = read_recipe(options.config, own, data_of=recipe)
        folder = out / re.sub(r"[^\w.+-]+", "_", name).strip("_")
        runs[name] = SweepRun(folder, options.config, own, seed, recipe=recipe | {"seed": seed})
    return runs


def read_price(folder: Path) -> Price:
    """The dual variable of a run with one constraint, at the end and half way, and its losses.

    Returns:
        "dual", "half" (the dual variable half way; None if no curve says it), "rising" (whether it
        still rises at the end, see `geqlib.train.steps.constraint.still_rising`), "loss" (the mean
        transformed loss of the last epoch), "plain" (that of inputs as they are; None if no curve
        says it), "eps", and "metric", what the run monitors on its test
        split, as a pair of name and value, or None.
    """
    from geqlib.files.checkpoint import read_checkpoint
    from geqlib.report.runs import read_run
    from geqlib.train.steps.constraint import DUAL, LOSS, dual_prices, still_rising

    prices = dual_prices(read_checkpoint(folder / "checkpoints" / "last.ckpt"))
    ((name, price),) = prices.items()
    run = read_run(folder)
    curve, losses = (run.history.get(f"{part}_{name}") for part in (DUAL, LOSS))
    half = None if curve is None else float(curve[(len(curve) - 1) // 2, 1])
    loss = price["loss"] if losses is None else float(losses[-1, 1])
    metric = None if run.monitor is None else run.monitor[0].replace("val/", "test/")
    value = (run.metrics or {}).get(metric or "")
    pair = None if value is None else (metric, value)
    rising = curve is not None and still_rising(curve[:, 1].tolist())
    untransformed = run.history.get("train/loss")
    plain = None if untransformed is None else float(untransformed[-1, 1])
    dual = {"dual": price["dual"], "half": half, "rising": rising}
    return dual | {"loss": loss, "plain": plain, "eps": price["eps"], "metric": pair}


def show_prices(out: Path, prices: Mapping[str, Price], console: Console | None = None) -> None:
    """Write price.json into a folder, and print the prices as a table."""
    from rich.console import Console
    from rich.table import Table

    from geqlib.files.atomic import replace_file

    text = json.dumps(dict(prices), indent=1)
    replace_file(out / "price.json", lambda part: part.write_text(text + "\n"))
    metric = next((price["metric"][0] for price in prices.values() if price["metric"]), None)
    eps = next(iter(prices.values()))["eps"]
    table = Table(title=f"Price of symmetry, eps = {eps:g}")
    columns = [
        "group",
        "dual variable",
        "half way",
        "at the end",
        "transformed loss",
        *([metric] if metric else []),
    ]
    for name in columns:
        table.add_column(name, justify="left" if name == "group" else "right")
    for name, price in prices.items():
        trend = "rising" if price["rising"] else ""
        values = [price["dual"], price["half"], trend, price["loss"]]
        values += [price["metric"][1] if price["metric"] else None] if metric else []
        table.add_row(name, *(_cell(value) for value in values))
    console = console or Console()
    console.print(table)
    console.print("0: the task has the symmetry; rising: train for longer, or no weights keep eps.")
    console.print("Where it has settled, and with --steps 0, d(loss) / d(eps) = -(dual variable).")
    built_in = [name for name, price in prices.items() if _is_built_in(price)]
    if built_in:
        console.print(
            f"{', '.join(built_in)}: transformed inputs have the loss of inputs as they are, as of "
            "a network with this symmetry. Its dual variable says whether that loss is above eps, "
            "not what the symmetry costs: take a network without it."
        )
    console.print(f"Written to {out / 'price.json'}")


def _is_built_in(price: Price) -> bool:
    """Whether the transformed loss is that of inputs as they are, but for rounding."""
    loss, plain = price["loss"], price["plain"]
    return plain is not None and isclose(loss, plain, rel_tol=SAME)


def _cell(value: float | str | None) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else f"{value:.4g}"
