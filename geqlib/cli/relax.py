"""`geqlib relax`: relaxed structures with a trained potential."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from geqlib.cli.md import add_model, calculator, made_with, structures

DESCRIPTION = """Relax all structures of a file, and on request their cells. The same command goes
on with those that are not in its output yet. The exit code is 1 if one did not converge."""
SHOWN = 20  # structures in the terminal, those that did not converge before others


def main(args: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    parser = ArgumentParser("geqlib relax", description=DESCRIPTION, allow_abbrev=False)
    add_model(parser)
    parser.add_argument("--out", type=Path, required=True, help=".xyz file to write")
    parser.add_argument("--limit", type=float, default=0.01, help="of the forces, in eV/angstrom")
    parser.add_argument("--steps", type=int, default=500, help="at most, of each structure")
    parser.add_argument("--cell", action="store_true", help="relax the cell, too")
    parser.add_argument("--pressure", type=float, default=0.0, help="on the cell, in GPa")
    options = parser.parse_args(args)
    if options.out.suffix.lower() not in (".xyz", ".extxyz"):
        raise ValueError(f"--out {options.out} should end in .xyz or .extxyz.")
    if options.out.resolve() == options.file.resolve():
        raise ValueError(f"--out {options.out} is the file itself: name another one.")
    from functools import partial

    from rich.progress import track

    from geqlib.calculators.relaxation import relax_all

    results = relax_all(
        structures(options.file),
        calculator(options),
        options.out,
        made_with=made_with(options),
        progress=partial(track, description="structures"),
        limit=options.limit,
        steps=options.steps,
        cell=options.cell,
        pressure=options.pressure,
    )
    _show(results)
    converged = sum(result.converged for result in results)
    sys.stdout.write(f"wrote {options.out}: {converged} of {len(results)} converged\n")
    return 0 if converged == len(results) else 1


def _show(results: Sequence[Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    order = sorted(range(len(results)), key=lambda number: results[number].converged)
    table = Table("structure", "formula", "energy, eV", "steps", "largest force, eV/Å", "converged")
    for number in sorted(order[:SHOWN]):
        atoms = results[number].atoms
        table.add_row(
            str(number),
            atoms.get_chemical_formula(),
            f"{atoms.get_potential_energy():.6f}",
            str(atoms.info["relaxation_steps"]),
            f"{results[number].force:.2g}",
            "yes" if results[number].converged else "no",
        )
    Console().print(table)
    if rest := order[SHOWN:]:
        failed = sum(not results[number].converged for number in rest)
        sys.stdout.write(f"and {len(rest)} more, of which {failed} did not converge\n")
