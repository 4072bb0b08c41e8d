"""`geqlib check`: the symmetry errors of a model, or the physics of a calculator."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from geqlib.cli.bar import bar

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator
    from rich.console import Console

    from geqlib.calculators.subject import Row

BROKEN = 1e-6  # relative errors in float64 that are no rounding
DESCRIPTION = """Measure the symmetry errors of a model on its validation data; with --structures,
check energies and forces of a model or of any ASE calculator."""


def main(args: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    parser = ArgumentParser("geqlib check", description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument("checkpoint", nargs="?", type=Path, help="checkpoint of `geqlib fit`")
    parser.add_argument("--config", type=Path, help="configuration, for an untrained model")
    parser.add_argument("--samples", type=int, help="random group elements each, by default 8")
    parser.add_argument(
        "--degree",
        type=int,
        help="up to which a broken rotation symmetry is resolved by degree, by default 2; 0 leaves "
        "it out",
    )
    parser.add_argument("--groups", nargs="+", help='further groups, such as "GL+(3)" or "Aff+(2)"')
    physics = parser.add_argument_group("of forces and energies")
    physics.add_argument("--structures", help="file that ASE reads: checks energies and forces")
    physics.add_argument("--calculator", help="module:function that makes an ASE calculator")
    physics.add_argument("--cutoff", type=float, help="in angstrom, if the calculator has none")
    physics.add_argument("--backend", help="of torch.compile, for models; by default inductor")
    parser.add_argument("--trust", metavar="MODULE", help="of your own code that the model names")
    options = parser.parse_args(args)
    if options.structures is not None or options.calculator is not None:
        return check_physics(options)
    if (options.checkpoint is None) == (options.config is None):
        raise ValueError("geqlib check needs a checkpoint or --config FILE, one of the two.")
    physics_only = "is for energies and forces: give --structures FILE, or leave it out"
    refuse(options, ("cutoff", "backend"), physics_only)
    check_model(
        options.checkpoint,
        options.config,
        8 if options.samples is None else options.samples,
        degree=2 if options.degree is None else options.degree,
        groups=options.groups or (),
    )
    return 0


def refuse(options: Namespace, names: Sequence[str], reason: str) -> None:
    """Refuse options that would be read and not used.

    Args:
        options: of the command line, None where they were left out.
        names: of those to refuse.
        reason: what they are for, and what to do.

    Raises:
        ValueError: if there is one.
    """
    for name in names:
        if getattr(options, name) is not None:
            raise ValueError(f"geqlib check --{name} {reason}.")


def check_physics(options: Namespace, console: Console | None = None) -> int:
    """Print the checks of a calculator or a potential; 1 if one fails or had nothing to test.

    Raises:
        ValueError: options that contradict each other, or files that cannot be read.
    """
    from geqlib.calculators.checks import check_calculator
    from geqlib.calculators.model_checks import check_potential

    if options.structures is None:
        raise ValueError("geqlib check --calculator needs --structures FILE.")
    if options.config is not None or (options.checkpoint is None) == (options.calculator is None):
        raise ValueError(
            "geqlib check --structures needs a checkpoint or --calculator MODULE:FUNCTION, one of "
            "the two."
        )
    symmetry_only = "is for symmetry errors of models: leave it out with --structures"
    refuse(options, ("samples", "degree", "groups"), symmetry_only)
    if options.calculator is not None:
        refuse(options, ("backend",), "is for models, which are compiled: leave it out")
    structures = read_structures(options.structures)
    if options.calculator is None:
        rows = check_potential(
            options.checkpoint,
            structures,
            cutoff=options.cutoff,
            backend=options.backend or "inductor",
            progress=bar("structures"),
        )
    else:
        calculator = import_calculator(options.calculator)
        rows = check_calculator(
            calculator, structures, cutoff=options.cutoff, progress=bar("structures")
        )
    show_rows(rows, options.calculator or str(options.checkpoint), console)
    return int(any(row.passed is False or not row.tested for row in rows))


def read_structures(path: str) -> list[Atoms]:
    """All structures of a file, or of a part such as `file.xyz@:10`.

    Raises:
        ValueError: what ASE cannot read, empty files, positions or cells that are not finite,
            atoms of no element.
    """
    import numpy as np
    import torch
    from ase.io import read
    from ase.utils import string2index

    from geqlib.data.molecules.ase_files import check_size
    from geqlib.data.molecules.extxyz import read_atoms
    from geqlib.graph.checks import check_numbers

    file, _, part = path.partition("@")
    if not Path(file).exists():
        raise ValueError(f"the structures {file} do not exist: correct the path.")
    if Path(file).is_dir():
        raise ValueError(f"{file} is a folder: name a file of structures.")
    check_size(Path(file))
    own = Path(file).suffix.lower() in (".xyz", ".extxyz")
    every: Any = read_atoms(Path(file)) if own else None
    try:
        structures = every[string2index(part or ":")] if own else read(file, index=part or ":")
    except Exception as error:
        raise ValueError(f"ASE cannot read structures from {path}: {error}") from error
    structures = structures if isinstance(structures, list) else [structures]
    for number, atoms in enumerate(structures):
        if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()):
            raise ValueError(
                f"structure {number} of {path} has positions or a cell that are not finite: "
                "correct it."
            )
        try:
            check_numbers(torch.from_numpy(atoms.numbers))
        except ValueError as error:
            raise ValueError(f"structure {number} of {path}: {error}") from None
    return structures


def import_calculator(place: str) -> Calculator:
    """The calculator that `module:function` makes, or is; the working directory is searched, too.

    Raises:
        ValueError: no such module or function, or what it makes is no calculator of ASE.
    """
    from ase.calculators.calculator import BaseCalculator

    module, colon, name = place.partition(":")
    if not (module and colon and name):
        raise ValueError(
            f"--calculator {place} is not MODULE:FUNCTION, such as ase.calculators.emt:EMT."
        )
    sys.path.insert(0, str(Path.cwd()))
    try:
        source = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"--calculator {place} cannot be imported: {error}") from error
    finally:
        sys.path.remove(str(Path.cwd()))
    calculator = source
    if not isinstance(source, BaseCalculator):
        try:
            calculator = source()
        except Exception as error:
            raise ValueError(
                f"--calculator {place} cannot be called without arguments "
                f"({type(error).__name__}: {error}): name a function that makes the calculator."
            ) from error
    if not isinstance(calculator, BaseCalculator):
        raise ValueError(
            f"--calculator {place} made a {type(calculator).__name__}, which is no calculator of "
            "ASE."
        )
    return cast("Calculator", calculator)


def show_rows(rows: Sequence[Row], title: str, console: Console | None = None) -> None:
    """Print the rows of checks as a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"Checks of {title}")
    for name in ("check", "error", "tolerance", "result", "reason"):
        table.add_column(name, justify="right" if name in ("error", "tolerance") else "left")
    for row in rows:
        numbers = ["" if x is None else f"{x:.1e}" for x in (row.error, row.tolerance)]
        missing = "not applicable" if row.error is None else "not judged"
        missing = missing if row.tested else "NOT TESTED"
        result = {True: "passed", False: "FAILED", None: missing}[row.passed]
        table.add_row(row.name, *numbers, result, row.reason)
    console = console or Console()
    console.print(table)
    console.print("errors are relative to the largest force or stress")


def check_model(
    checkpoint: Path | None,
    config: Path | None,
    samples: int,
    console: Console | None = None,
    *,
    degree: int = 2,
    groups: Sequence[str] = (),
) -> dict[str, dict[str, float]]:
    """Print the equivariance errors of a trained or untrained model, symmetry by symmetry.

    Where rotations are broken, also the errors by degree; of models that average over frames, the
    share of degenerate ones; of runs with `InvarianceConstraint`, the dual variables.

    Args:
        checkpoint: of `geqlib fit`, or None.
        config: configuration of an untrained model, or None.
        samples: random elements of each group.
        console: that the table is printed to.
        degree: up to which broken rotations are resolved; 0 leaves that out.
        groups: further ones than those that every model is measured for.

    Returns:
        See `geqlib.train.check.symmetry_errors`.
    """
    from geqlib.train.check import (
        degenerate_frames,
        degree_errors,
        dual_variables,
        symmetry_errors,
        task_and_data,
    )
    from geqlib.train.runs.configuration import read_run

    if checkpoint is None:
        run = read_run(str(config))
        task, data = run.task, run.data
    else:
        task, data = task_and_data(checkpoint)
    errors = symmetry_errors(task, data, samples, groups, progress=bar("symmetries"))
    show(errors, type(task.model).__name__, console)
    show_forces(task.model, console)
    turned = next((e for name, e in errors.items() if name.startswith("rotations SO")), None)
    if degree and turned is not None and turned["float64"] > BROKEN:
        show_degrees(degree_errors(task, data, degree), console)
    show_frames(degenerate_frames(task, data), console)
    if checkpoint is not None:
        show_duals(dual_variables(checkpoint), console)
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
    console.print("max |f(g x) - g f(x)| / max(1, max |f|), on the validation split")


def show_forces(model: Any, console: Console | None = None) -> None:
    """Say where forces are no derivatives of an energy."""
    from rich.console import Console

    from geqlib.atoms.direct import NOT_CONSERVATIVE

    if not getattr(model, "conservative", True):
        (console or Console()).print(f"Forces are {NOT_CONSERVATIVE}.")


def show_degrees(errors: Mapping[int | str, float], console: Console | None = None) -> None:
    """Print `degree_errors`."""
    from rich.console import Console

    parts = ", ".join(f"{name}: {error:.1e}" for name, error in errors.items())
    console = console or Console()
    console.print(f"Broken rotations by degree (root mean squares in float64): {parts}")


def show_frames(shares: Sequence[tuple[int, int]], console: Console | None = None) -> None:
    """Print the share of degenerate frames per batch, if there are frames."""
    from rich.console import Console

    if not shares:
        return
    frames, bad = (sum(part) for part in zip(*shares, strict=True))
    worst = max(share[1] / max(share[0], 1) for share in shares)
    console = console or Console()
    console.print(
        f"Degenerate frames: {bad} of {frames} in {len(shares)} batches, at most {worst:.1%} of one"
    )


def show_duals(prices: Mapping[str, Mapping[str, float]], console: Console | None = None) -> None:
    """Print the dual variables of a run, if it was trained under constraints."""
    from rich.console import Console

    console = console or Console()
    for group, price in prices.items():
        console.print(
            f"Price of {group}: dual variable {price['dual']:.3g}, last transformed loss "
            f"{price['loss']:.3g} with eps = {price['eps']:g}"
        )
