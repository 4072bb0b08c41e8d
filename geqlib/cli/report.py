"""`geqlib report`: table, pictures and page of runs, or of all benchmarks."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path


def main(args: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    parser = ArgumentParser(
        "geqlib report", description="Table, pictures and page of runs.", allow_abbrev=False
    )
    parser.add_argument(
        "runs", nargs="*", type=Path, help="folders of runs or sweeps; else all benchmarks"
    )
    parser.add_argument("--board", action="store_true", help="draw the results of the benchmarks")
    parser.add_argument(
        "--test",
        action="store_true",
        help="test runs first that were not, and write their predictions, for the pictures",
    )
    parser.add_argument("--out", type=Path, default=Path("report"), help="folder to write")
    options = parser.parse_args(args)
    if options.runs and options.board:
        raise ValueError("--board draws the benchmarks, not runs: name runs, or give --board.")
    if options.test and not options.runs:
        raise ValueError("--test tests runs: name their folders.")
    if not options.runs:
        from geqlib.cli.bench import draw_board

        return draw_board(options.out)
    from geqlib.report import write_report
    from geqlib.report.sweeps import runs_in

    runs = [run for folder in options.runs for run in runs_in(folder)]
    if options.test:
        for run in runs:
            complete(run)
    page = write_report(runs, options.out)
    sys.stdout.write(f"wrote {page} and {page.with_suffix('.html')}\n")
    return 0


def complete(run: Path) -> None:
    """Test a run, and write its predictions, as far as it has not been done."""
    from geqlib.cli.use import main as use

    if not (run / "results.json").exists():
        use("test", [str(run)])
    if not (run / "predictions.safetensors").exists():
        use("predict", [str(run)])
