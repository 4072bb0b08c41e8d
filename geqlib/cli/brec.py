"""`geqlib brec`: BREC's 400 pairs by its own protocol, resumable."""

from __future__ import annotations

import json
import re
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from geqlib.train.brec import Measurement

DESCRIPTION = """Which of BREC's 400 pairs of graphs does a network separate, by the protocol of
Wang and Zhang (ICML 2024)? A fresh network is trained on each pair, whose graphs are relabelled 32
times, and tested against copies of one of them. Options that are not listed change the
configuration, such as --recipe.epochs 5. The same command goes on where it was stopped; pairs in
the folder that were measured with other settings, data or code are refused."""
LINES_EVERY = 20  # pairs, where nobody watches a bar
Totals = Mapping[str, Mapping[str, float | None]]


def main(args: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    parser = ArgumentParser(
        "geqlib brec",
        description=DESCRIPTION,
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--config", required=True, help="YAML file: model, transform, recipe")
    parser.add_argument(
        "--seeds", type=int, nargs="+", help="seeds; by default the protocol's, 100 to 1000"
    )
    parser.add_argument("--pairs", help="FIRST:END or one number; all by default")
    parser.add_argument(
        "--set",
        default="BREC",
        choices=("BREC", "tuning"),
        help="the 400 pairs of BREC, or 32 others, by which a recipe is chosen before",
    )
    parser.add_argument("--out", type=Path, help="folder; by default runs/NAME, or NAME-tuning")
    parser.add_argument("--device", help="cpu or cuda; a GPU by default where there is one")
    parser.add_argument(
        "--overwrite", action="store_true", help="measure pairs again that were measured otherwise"
    )
    options, overrides = parser.parse_known_args(args)
    numbers = None if options.pairs is None else pair_numbers(options.pairs)
    name = Path(options.config).stem + ("" if options.set == "BREC" else f"-{options.set}")
    out = options.out or Path("runs") / name
    show(run(out, options, overrides, numbers))
    sys.stdout.write(f"wrote {out / 'results.json'}\n")
    return 0


def pair_numbers(text: str) -> list[int]:
    """The numbers of pairs that a word means.

    Raises:
        ValueError: if it means none.

    Example:
        >>> pair_numbers("2:5"), pair_numbers("7")
        ([2, 3, 4], [7])
    """
    match = re.fullmatch(r"(\d+)(?::(\d+))?", text)
    numbers = range(int(match[1]), int(match[2] or int(match[1]) + 1)) if match else range(0)
    if not numbers:
        raise ValueError(f"--pairs {text!r} means no pairs: write FIRST:END, such as 0:60.")
    return list(numbers)


def run(
    out: Path, options: Any, overrides: Sequence[str], numbers: Sequence[int] | None
) -> dict[str, Any]:
    """Measure what is missing, and write results.json: counts by seed and category, and what exact
    features separate, with the pairs that the best seed does not, by their likely cause."""
    from geqlib.cli.device import chosen_device
    from geqlib.data.graphs.expressivity import graph_pairs
    from geqlib.files.atomic import replace_file
    from geqlib.motifs.brec import SEEDS
    from geqlib.train.brec import BRECSetup, best_seed, complete, read_measurements, totals
    from geqlib.train.exact_pairs import (
        compared_with_exact,
        exactly_separated,
        separated_by_part,
    )

    device = chosen_device(options.device)
    seeds = list(dict.fromkeys(options.seeds or SEEDS))
    setup, pairs = BRECSetup(options.config, overrides), graph_pairs(options.set)
    numbers = range(len(pairs.pairs)) if numbers is None else numbers
    with Watch(len(seeds) * len(numbers)) as watch:
        complete(
            setup, pairs, out, numbers, seeds, device, watch.count, overwrite=options.overwrite
        )
    measured = read_measurements(out, seeds, numbers)
    by_seed = {seed: totals(of_seed, pairs.parts) for seed, of_seed in measured.items()}
    valid = all(of_seed["all"]["failures"] == 0 for of_seed in by_seed.values())
    best = best_seed(by_seed)
    results = {"set": options.set, "best": best, "valid": valid, "seeds": by_seed}
    if setup.exact is not None:
        exact = exactly_separated(pairs, numbers, setup.exact, out)
        separated = {k: m.comparison.separated for k, m in measured[best].items()}
        lists = compared_with_exact(separated, exact, pairs.parts)
        by_part = separated_by_part(exact, pairs.parts)
        results["exact"] = {"features": setup.exact, "separated": by_part, **lists}
    text = json.dumps(results, indent=1) + "\n"
    replace_file(out / "results.json", lambda part: part.write_text(text))
    return results


def show(results: Mapping[str, Any], console: Console | None = None) -> None:
    """A table of the best seed by category, and what the other seeds say."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    by_seed: Mapping[int, Totals] = results["seeds"]
    best = results["best"]
    which = f"best of {len(by_seed)} seeds" if len(by_seed) > 1 else "one seed"
    title = f"{results.get('set', 'BREC')}, seed {best} ({which})"
    table = Table(title=title, box=SIMPLE_HEAD, collapse_padding=True)
    table.add_column("category", no_wrap=True)
    for heading in ("separated", "unreliable", "real", "exact T²", "s/pair", "MiB"):
        table.add_column(heading, justify="right")
    exact = results.get("exact", {}).get("separated")
    if exact is not None:
        table.add_column("seen", justify="right")
    for name, row in by_seed[best].items():
        if name == "all":
            table.add_section()
        table.add_row(name, *_cells(row), *([] if exact is None else [str(exact[name])]))
    console = console or Console()
    console.print(table)
    for line in (*notes(by_seed), *losses(results)):
        console.print(line, highlight=False)


def notes(by_seed: Mapping[int, Totals]) -> list[str]:
    """What the protocol says of these seeds, and what the columns mean."""
    real = [of_seed["all"]["real"] or 0 for of_seed in by_seed.values()]
    failing = [seed for seed, of_seed in by_seed.items() if of_seed["all"]["failures"]]
    counts = ", ".join(f"{seed}: {n:.0f}" for seed, n in zip(by_seed, real, strict=True))
    lines = [f"real = separated - unreliable, by seed: {counts}."]
    if failing:
        more = f" and {len(failing) - 1} more" if len(failing) > 1 else ""
        lines.append(
            f"No valid result: copies of one graph count as different with seed {failing[0]}{more}."
        )
    spread = max(of_seed["all"]["spread"] or 0 for of_seed in by_seed.values())
    lines.append(f"Outputs of copies of one graph differ by up to {spread:.0e} of the largest.")
    lines.append(
        "separated: s > 72.34, as published; exact T²: 32 s > 72.34, and how many blocks of "
        "copies exceed it (one in twenty by chance)."
    )
    return lines


def losses(results: Mapping[str, Any]) -> list[str]:
    """The pairs that the best seed does not separate, by category and likely cause.

    Example:
        >>> exact = {"features": "1-WL", "separated": {"all": 4}, "unseen": {}, "won": {}}
        >>> losses({"best": 100, "exact": exact | {"lost": {"CFI": [7, 8, 9, 12]}}})[1]
        'lost in training, CFI: 7-9, 12 (4)'
    """
    if "exact" not in results:
        return []
    exact = results["exact"]
    lines = [
        f"seen: exact features ({exact['features']}) separate {exact['separated']['all']} of these "
        "pairs."
    ]
    words = {
        "lost": "lost in training",
        "unseen": "not in these features",
        "won": "separated beyond exact features",
    }
    for key, word in words.items():
        for part, numbers in exact[key].items():
            lines.append(f"{word}, {part}: {number_ranges(numbers)} ({len(numbers)})")
    if not exact["lost"]:
        lines.append(f"Seed {results['best']} loses none of them.")
    return lines


def number_ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers, with those in a row as a range.

    Example:
        >>> number_ranges([1, 2, 3, 5, 8, 9])
        '1-3, 5, 8-9'
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


class Watch:
    """A progress bar in a terminal, else a line now and then.

    Args:
        total: measurements in all.
    """

    def __init__(self, total: int) -> None:
        self.total, self.done, self.separated = total, 0, 0
        self.bar: Progress | None = None
        self.task: TaskID | None = None

    def __enter__(self) -> Watch:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

            text = "{task.description}"
            columns = (text, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self.bar = Progress(*columns, console=Console(stderr=True))
            self.bar.start()
            self.task = self.bar.add_task("pairs", total=self.total)
        return self

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    def count(self, seed: int, number: int, measured: Measurement) -> None:
        """A pair is done."""
        self.done += 1
        self.separated += measured.comparison.separated
        text = f"seed {seed}, pair {number}, {self.separated} of {self.done} separated"
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, completed=self.done, description=text)
        elif self.done % LINES_EVERY == 0 or self.done == self.total:
            sys.stderr.write(f"{text} (of {self.total})\n")
            sys.stderr.flush()


def _cells(row: Mapping[str, float | None]) -> list[str]:
    memory = row["mebibytes"]
    return [
        f"{row['separated']} of {row['pairs']}",
        str(row["failures"]),
        str(row["real"]),
        f"{row['separated_exactly']} ({row['failures_exactly']})",
        f"{row['seconds']:.2g}",
        "" if memory is None else f"{memory:.0f}",
    ]
