"""`geqlib select`: which structures of a file to label and train on next."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

DESCRIPTION = """Write the structures of a file that a calibrated potential knows least, each given
the training set and those chosen before it: candidates for the next calculations."""


def main(args: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    parser = ArgumentParser("geqlib select", description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument("model", type=Path, help="checkpoint of `geqlib calibrate`")
    parser.add_argument("file", type=Path, help="structures to choose from, without labels")
    parser.add_argument("--count", type=int, required=True, help="how many to choose")
    parser.add_argument("--out", type=Path, required=True, help=".xyz file to write")
    parser.add_argument("--level", metavar="NAME", help="of theory, of potentials with several")
    options = parser.parse_args(args)
    if options.out.suffix.lower() not in (".xyz", ".extxyz"):
        raise ValueError(f"--out {options.out} should end in .xyz or .extxyz.")
    if options.out.resolve() == options.file.resolve():
        raise ValueError(f"--out {options.out} is the file itself: name another one.")
    from ase.io.extxyz import write_xyz
    from rich.console import Console
    from rich.table import Table

    from geqlib.files.atomic import replace_file
    from geqlib.train.selection import select

    numbers, deviations, data = select(options.model, options.file, options.count, options.level)
    chosen = []
    table = Table("structure", "formula", "std of energy, meV/atom")
    for number, deviation in zip(numbers, deviations, strict=True):
        atoms = data.atoms(number)
        atoms.info["index"] = number
        chosen.append(atoms)
        table.add_row(str(number), atoms.get_chemical_formula(), f"{1000 * deviation:.3g}")

    def write(part: Path) -> None:
        with part.open("w") as file:
            write_xyz(file, chosen)

    replace_file(options.out, write)
    Console().print(table)
    sys.stdout.write(f"wrote {options.out}: {len(chosen)} structures\n")
    return 0
