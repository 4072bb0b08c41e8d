"""`geqlib check`: the symmetry errors of a model, measured on validation data."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def main(args: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    parser = ArgumentParser("geqlib check", description="Measure the symmetry errors of a model.")
    parser.add_argument("checkpoint", nargs="?", type=Path, help="checkpoint of `geqlib fit`")
    parser.add_argument("--config", type=Path, help="configuration, for an untrained model")
    parser.add_argument("--samples", type=int, default=8, help="random group elements each")
    options = parser.parse_args(args)
    if (options.checkpoint is None) == (options.config is None):
        raise ValueError("geqlib check needs a checkpoint or --config FILE, one of the two.")
    check_model(options.checkpoint, options.config, options.samples)
    return 0


def check_model(
    checkpoint: Path | None, config: Path | None, samples: int, console: Console | None = None
) -> dict[str, dict[str, float]]:
    """Print the equivariance errors of a trained or untrained model, symmetry by symmetry.

    Args:
        checkpoint: of `geqlib fit`, or None.
        config: configuration of an untrained model, or None.
        samples: random elements of each group.
        console: that the table is printed to.

    Returns:
        See `geqlib.train.check.symmetry_errors`.
    """
    from geqlib.train.check import symmetry_errors, task_and_data
    from geqlib.train.configuration import read_run

    if checkpoint is None:
        run = read_run(str(config))
        task, data = run.task, run.data
    else:
        task, data = task_and_data(checkpoint)
    errors = symmetry_errors(task, data, samples)
    show(errors, type(task.model).__name__, console)
    return errors


def show(
    errors: Mapping[str, Mapping[str, float]], model: str, console: Console | None = None
) -> None:
    """Print `symmetry_errors` as a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"Equivariance error of {model}")
    table.add_column("symmetry")
    table.add_column("float32", justify="right")
    table.add_column("float64", justify="right")
    for name, error in errors.items():
        table.add_row(name, f"{error['float32']:.1e}", f"{error['float64']:.1e}")
    console = console or Console()
    console.print(table)
    console.print("max |f(g x) - g f(x)| / max(1, max |f|), on validation graphs")
