"""`geqlib export`: a trained model as one file, or a potential as a program for torch alone."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from geqlib.cli.bar import waiting

DTYPES = ("float32", "float64")
DESCRIPTION = """Write a trained model into one file. The format geqlib holds weights and how to
build the model, for geqlib.load and GeqCalculator. The others hold a potential as a program without
its Python code, for one structure of any size, with its forces and stress: torch is a program of
torch.export; compiled is machine code of AOTInductor, which needs a C++ compiler and runs on
processors like this one."""


def main(args: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    parser = ArgumentParser("geqlib export", description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument("checkpoint", type=Path, help="checkpoint of `geqlib fit`")
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    parser.add_argument("--format", choices=("geqlib", "torch", "compiled"), default="geqlib")
    parser.add_argument("--dtype", choices=DTYPES, help="of a program; the model's by default")
    parser.add_argument("--level", metavar="NAME", help="of theory, of potentials with several")
    parser.add_argument("--trust", metavar="MODULE", help="of your own code that the model names")
    options = parser.parse_args(args)
    if options.format == "geqlib" and options.dtype is not None:
        parser.error("--dtype is for programs: models can be cast after loading")
    import torch

    from geqlib.files.export import export_model, export_program

    if options.format == "geqlib":
        export_model(options.checkpoint, options.out, options.level)
    else:
        compiled = options.format == "compiled"
        dtype = None if options.dtype is None else getattr(torch, options.dtype)
        kind = {"compiled": compiled, "dtype": dtype, "level": options.level}
        with waiting("compiling" if compiled else "tracing"):
            export_program(options.checkpoint, options.out, **kind)
    sys.stdout.write(f"wrote {options.out}\n")
    return 0
