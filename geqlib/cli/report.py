"""`geqlib report`: table, pictures and page of runs, or of all benchmarks."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def main(args: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    parser = ArgumentParser("geqlib report", description="Table, pictures and page of runs.")
    parser.add_argument("runs", nargs="*", type=Path, help="run folders; all benchmarks without")
    parser.add_argument("--board", action="store_true", help="draw the results of the benchmarks")
    parser.add_argument("--out", type=Path, default=Path("report"), help="folder to write")
    options = parser.parse_args(args)
    if options.runs and options.board:
        raise ValueError("--board draws the benchmarks, not runs: name runs, or give --board.")
    from geqlib.cli.bench import sections
    from geqlib.report import write_board, write_report

    page: Any = (
        write_report(options.runs, options.out)
        if options.runs
        else write_board(sections(), options.out)
    )
    sys.stdout.write(f"wrote {page} and {Path(page).with_suffix('.html')}\n")
    return 0
