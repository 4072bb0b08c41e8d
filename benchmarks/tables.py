"""Tables of the documents, drawn from benchmarks/results.

A document marks where the tables of a result file stand, such as `<!-- table:accuracy/nbody -->`,
or that of all families, `<!-- table:families -->`.

python benchmarks/tables.py            # rewrite README.md and docs/*.md
python benchmarks/tables.py --check    # exit code 1 if a table is not what the files say
python benchmarks/tables.py --demo     # copy first what `make demo` measured and drew
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from argparse import ArgumentParser
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import provenance
from benchmarks.families import families
from benchmarks.provenance import FIRST_EDITION
from benchmarks.rows import (
    RESULTS,
    Column,
    Result,
    Row,
    Table,
    Value,
    read_result,
    stamped,
    write_result,
)

TOP = Path(__file__).parents[1]
MARKS = re.compile(r"(<!-- table:([\w/]+) -->\n).*?(<!-- end -->)", re.DOTALL)
MARK = "†"
OLD_MARK = "‡"


def main() -> int:
    parser = ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="only say what is not up to date")
    parser.add_argument("--demo", action="store_true", help="copy what `make demo` measured first")
    options = parser.parse_args()
    if options.demo:
        copy_demo()
    documents = [TOP / "README.md", *sorted((TOP / "docs").glob("*.md"))]
    stale = [path for path in documents if rewritten(path) != path.read_text()]
    if options.check:
        sys.stdout.writelines(f"{p.name} disagrees with benchmarks/results\n" for p in stale)
        return 1 if stale else 0
    for path in stale:
        path.write_text(rewritten(path))
    return 0


def rewritten(path: Path) -> str:
    """A document with its tables as the result files say."""

    def table(name: str) -> str:
        if name == "families":
            return families_markdown(path.parent)
        if not (RESULTS / f"{name}.json").exists():
            return "Not measured yet.\n"
        return to_markdown(read_result(name), path.parent)

    return MARKS.sub(lambda match: match[1] + table(match[2]) + match[3], path.read_text())


def families_markdown(folder: Path) -> str:
    """Which family for which problem, with what was measured of it."""
    shown: list[tuple[Row, str]] = []

    def marked(row: Row, name: str) -> str:
        shown.append((row, name))
        return mark(row, name)

    def read(name: str) -> Result | None:
        return read_result(name) if (RESULTS / f"{name}.json").exists() else None

    header, lines, notes = families(folder, read, text, marked)
    below = [*notes, *legends(shown)]
    return "\n".join([markdown(header, lines), *(f"{note}\n" for note in below)])


def to_markdown(result: Result, folder: Path | None = None) -> str:
    """Tables, notes and picture of a result, for a document in a folder."""
    parts = []
    for table in result.tables:
        parts.append(markdown(*drawn(table, result.name)))
        if table.note:
            parts.append(f"{table.note}\n")
    if result.picture and folder is not None:
        parts.append(f"![{result.picture}]({os.path.relpath(result.png, folder)})\n")
    rows = ((row, result.name) for table in result.tables for row in table.rows)
    parts += [f"{sentence}\n" for sentence in legends(rows)]
    return "\n".join(parts)


def legends(rows: Iterable[tuple[Row, str]]) -> list[str]:
    """What the marks of rows mean, each with the name of its benchmark: a sentence for each."""
    rows = list(rows)
    sentences = []
    if old := ["-dirty" in row.stamp for row, _ in rows if of_first_edition(row)]:
        part = "" if all(old) else " in part"
        dirty = f",{part} with uncommitted changes" if any(old) else ""
        sentences.append(f"{OLD_MARK} Measured by the first edition{dirty}.")
    if reasons := sorted({reason for row, name in rows for reason in stale(row, name)}):
        sentences.append(f"{MARK} Measured with {' or '.join(reasons)}.")
    return sentences


def mark(row: Row, name: str) -> str:
    """What stands behind a row of this benchmark that is not what it would measure today."""
    if of_first_edition(row):
        return f" {OLD_MARK}"
    return f" {MARK}" if stale(row, name) else ""


def of_first_edition(row: Row) -> bool:
    return row.origin != "published" and FIRST_EDITION in row.stamp


def stale(row: Row, name: str) -> list[str]:
    """What has changed since a row of this benchmark was measured."""
    if row.origin == "published":
        return []
    return provenance.marks(row.stamp, row.hashes, name)


def drawn(table: Table, name: str = "", *, bold: bool = True) -> tuple[list[str], list[list[str]]]:
    """Header and lines of a table.

    Args:
        table: to draw.
        name: of the benchmark, by which rows are marked; "" for a table that no file holds.
        bold: whether rows of geqlib are set bold among others.
    """
    marked = [mark(row, name) if name else "" for row in table.rows]
    if table.turned:
        return turned(table, marked)
    lines = [
        cells(row, table, bold=bold, mark=mark)
        for row, mark in zip(table.rows, marked, strict=True)
    ]
    return headers(table), lines


def markdown(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    every = [header, ["---"] * len(header), *lines]
    return "".join("| " + " | ".join(line) + " |\n" for line in every)


def headers(table: Table) -> list[str]:
    shown = [*table.heads, *(column.header for column in table.columns)]
    return [*shown, "source"] if has_setup(table) else shown


def turned(table: Table, marked: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Header and lines of a table whose columns are drawn as lines, for few rows of many."""
    names = [f"{row.labels[-1]}{mark}" for row, mark in zip(table.rows, marked, strict=True)]
    lines = [
        [column.header, *(text(row, column) for row in table.rows)] for column in table.columns
    ]
    return ["", *names], lines


def cells(row: Row, table: Table, *, bold: bool = True, mark: str = "") -> list[str]:
    """Texts of a row: labels, columns and, where some row has one, the setup."""
    *groups, name = row.labels
    others = any(other.origin != "geqlib" for other in table.rows)
    if bold and others and row.origin == "geqlib":
        name = f"**{name}**"
    if row.removed:
        name = f"{name} ({row.removed})"
    shown = [*groups, f"{name}{mark}", *(text(row, column) for column in table.columns)]
    return [*shown, setup(row)] if has_setup(table) else shown


def has_setup(table: Table) -> bool:
    return any(row.setup or row.origin == "published" for row in table.rows)


def setup(row: Row) -> str:
    if row.origin == "published":
        return f"published ({row.source})" if row.source else "published"
    return f"measured, {row.setup}" if row.setup else "measured"


def text(row: Row, column: Column) -> str:
    """A cell; nothing where the row has none.

    Example:
        >>> text(Row(("a",), {"s": Value(0.0123, 0.001)}), Column("s", "time", "ms", ".1f", 1e3))
        '12.3 ± 1.0'
    """
    cell = row.cells.get(column.key, "")
    if isinstance(cell, str):
        return cell
    if isinstance(cell, Value) and (cell.deviation is not None or cell.interval):
        return with_errors(cell, column)
    number = cell.mean if isinstance(cell, Value) else cell
    number = number if column.scale == 1 else column.scale * number
    if column.format == "error":
        return f"{number:.4f}" if number >= 1e-3 else f"{number:.1e}"
    return f"{number:{column.format}}"


def with_errors(value: Value, column: Column) -> str:
    """Mean ± deviation over seeds [interval over test samples].

    Example:
        >>> with_errors(Value(0.004, 0.0002, (), (0.003, 0.005)), Column("s", "", "", "error"))
        '0.00400 ± 0.00020 [0.0030, 0.0050]'
    """
    mean, form = column.scale * value.mean, column.format
    if form == "error":
        form = ".5f" if abs(mean) >= 1e-3 else ".1e"
    shown = f"{mean:{form}}"
    if value.deviation is not None:
        shown += f" ± {column.scale * value.deviation:{form}}"
    if value.interval is None:
        return shown
    form = form.replace(".5f", ".4f")
    low, high = (f"{column.scale * end:{form}}" for end in value.interval)
    return f"{shown} [{low}, {high}]"


def publish(result: Result, figure: Any = None) -> None:
    """Write a result, with its picture, and print its tables."""
    from rich.console import Console
    from rich.markdown import Markdown

    path = write_result(result)
    if figure is not None:
        from geqlib.report.pictures import save_figure

        save_figure(figure, result.png)
    console = Console()
    console.print(Markdown(to_markdown(result)))
    console.print(f"wrote {path}", highlight=False)


def copy_demo() -> None:
    """Copy what `make demo` measured and drew into benchmarks/results and docs/images."""
    run = json.loads((TOP / "demo" / "nbody" / "results.json").read_text())
    write_result(demo_result(run))
    images = TOP / "docs" / "images"
    images.mkdir(parents=True, exist_ok=True)
    for name in ("trajectories.png", "learning_curves.png"):
        shutil.copyfile(TOP / "demo" / name, images / name)


def threads(environment: Mapping[str, str]) -> str:
    """On what the demo ran, which is the machine that copies its result."""
    return f"{environment.get('threads', '?')} threads of {provenance.machine()}"


def demo_result(run: dict[str, Any]) -> Result:
    """The results.json of the demo's run."""
    fit, metrics, environment = run["fit"], run["metrics"], run["environment"]
    minutes = f"{fit['seconds'] / 60:.1f} minutes of training on {threads(environment)}, "
    minutes += f"{fit['parameters']} parameters"
    rows = [
        Row((name,), {"mse": errors["mse"], "median": errors["median"]}, "peer")
        for name, errors in run["baselines"].items()
    ]
    ours = {"mse": metrics["test/mse"], "median": metrics["test/median"], **fit}
    rows.append(Row(("geqlib PONITA",), ours, setup=minutes))
    columns = (Column("mse", "test MSE", "", "error"), Column("median", "median", "", "error"))
    table = Table(("",), columns, tuple(rows), "mse")
    stamp = f"geqlib {environment['geqlib']} at {environment.get('commit', 'no commit')}"
    stamp += f", {provenance.machine()}"
    return Result(
        "demo",
        "What make demo trains",
        "",
        (stamped(table, stamp, provenance.hashes("demo")),),
        {key: run[key] for key in ("name", "seed", "task", "model", "data")},
        environment=environment,
    )


if __name__ == "__main__":
    raise SystemExit(main())
