"""The board: every result file of the benchmarks in one document with one picture.

python benchmarks/board.py [--out report]
"""

from __future__ import annotations

import math
import shutil
import sys
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import rows
from benchmarks.rows import Column, Result, Row, Table, read_result
from benchmarks.tables import drawn, headers, legends
from geqlib.files.atomic import replace_file
from geqlib.report import page
from geqlib.report.tables import Table as TextTable
from geqlib.report.tables import number

ABOUT = (
    "Numbers were measured by the scripts in benchmarks/, whose protocols stand above each table. "
    "Those marked as published (at the bottom of a table, in italics) are from the papers."
)
CAPTION = (
    "The main quantity of each benchmark. Blue: geqlib; orange: peers measured in the same run; "
    "hollow: published."
)
MOST = 14  # rows of a panel
ACROSS = 3  # panels


def main(arguments: Sequence[str]) -> int:
    """Draw the board; returns the exit code."""
    parser = ArgumentParser("geqlib report --board", description="Draw all results.")
    parser.add_argument("--out", type=Path, default=Path("report"), help="folder to write")
    out = parser.parse_args(arguments).out
    path = write_board(results(), out)
    sys.stdout.write(f"wrote {path} and {path.with_suffix('.html')}\n")
    return 0


def results() -> list[Result]:
    """All results of benchmarks, by name."""
    paths = sorted(rows.RESULTS.glob("accuracy/*.json")) + sorted(rows.RESULTS.glob("speed/*.json"))
    return [read_result(f"{path.parent.name}/{path.stem}") for path in paths]


def write_board(measured: Sequence[Result], out: Path) -> Path:
    """Write `board.md`, `board.html`, which needs no other file, and `board.png`.

    Tables are those of the documents. Where a table has rows of geqlib and of peers measured in the
    same run, a list says by how much their main quantity differs.

    Args:
        measured: by the benchmarks.
        out: folder, which is created.

    Returns:
        the path of `board.md`.

    Raises:
        ValueError: when nothing has been measured, or `out` is a file.
    """
    if not measured:
        raise ValueError("There are no results yet: run geqlib bench accuracy or speed first.")
    if out.exists() and not out.is_dir():
        raise ValueError(f"The report folder {out} is a file: choose another --out.")
    panels = {result.name: table for result in measured if (table := main_table(result))}
    blocks: list[page.Block] = [page.Paragraph(ABOUT)]
    if panels:
        draw_board(panels, out / "board.png")
        blocks.append(page.Picture(out / "board.png", CAPTION))
    for result in measured:
        blocks += _blocks(result, out)
    title = "Board of the benchmarks"
    html, markdown = page.to_html(title, blocks), page.to_markdown(title, blocks)
    replace_file(out / "board.html", lambda part: part.write_text(html, encoding="utf-8"))
    replace_file(out / "board.md", lambda part: part.write_text(markdown, encoding="utf-8"))
    return out / "board.md"


def main_table(result: Result) -> Table | None:
    """The first table that has a main quantity, and more than one row with it."""
    for table in result.tables:
        if table.main and len(main_rows(table)) > 1:
            return table
    return None


def main_rows(table: Table) -> dict[str, Row]:
    """The rows that have the main quantity, by their labels."""
    named: dict[str, Row] = {}
    for row in table.rows:
        if table.main in row.cells:
            name = plain(", ".join(filter(None, row.labels)))
            named[f"{name}, {row.origin}" if name in named else name] = row
    return named


def main_column(table: Table) -> Column:
    return next(column for column in table.columns if column.key == table.main)


def differences(table: Table) -> list[str]:
    """How far each row of geqlib is from each peer of the same group measured in the same run."""
    column, named = main_column(table), main_rows(table)
    return [
        f"{name}: {_difference(column, row, other_row)} against {other_row.labels[-1]}"
        for name, row in named.items()
        if row.origin == "geqlib"
        for other_row in named.values()
        if other_row.origin == "peer" and other_row.labels[:-1] == row.labels[:-1]
    ]


def _difference(column: Column, ours: Row, theirs: Row) -> str:
    a, b = (column.scale * row.number(column.key) for row in (ours, theirs))
    absolute = f"{'+' if a >= b else '-'}{number(abs(a - b), 3)}"
    return f"{absolute} ({100 * (a / b - 1):+.0f} %)" if b else absolute


def _blocks(result: Result, out: Path) -> list[page.Block]:
    blocks: list[page.Block] = [page.Heading(f"{result.name}: {result.title}")]
    if result.protocol:
        blocks.append(page.Paragraph(result.protocol))
    for table in result.tables:
        blocks.append(text_table(table, result.name))
        if table.note:
            blocks.append(page.Paragraph(table.note))
        if table.main and (lines := differences(table)):
            blocks.append(page.Paragraph(f"Differences of: {main_column(table).header}."))
            blocks.append(page.Bullets(tuple(map(plain, lines))))
    if result.png.exists():
        copy = out / f"{result.name.replace('/', '_')}.png"
        replace_file(copy, lambda part: shutil.copyfile(result.png, part))
        blocks.append(page.Picture(copy, result.title))
    shown = ((row, result.name) for table in result.tables for row in table.rows)
    blocks += map(page.Paragraph, legends(shown))
    stamps = dict.fromkeys(row.stamp for table in result.tables for row in table.rows if row.stamp)
    if stamps:
        blocks.append(page.Paragraph(f"Measured by {'; '.join(stamps)}."))
    facts = ", ".join(f"{key} {value}" for key, value in result.environment.items())
    return [*blocks, page.Paragraph(f"Environment: {facts}.")] if facts else blocks


def text_table(table: Table, name: str) -> TextTable:
    """Cells as text, published rows last."""
    if table.turned:
        header, lines = drawn(table, name)
        return TextTable(_plain(header), tuple(map(_plain, lines)), ())
    _, lines = drawn(table, name, bold=False)
    texts = [(row.origin, _plain(line)) for row, line in zip(table.rows, lines, strict=True)]
    return TextTable(
        _plain(headers(table)),
        tuple(line for origin, line in texts if origin != "published"),
        tuple(line for origin, line in texts if origin == "published"),
    )


def plain(text: str) -> str:
    """Text without marks for code."""
    return text.replace("`", "")


def _plain(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(map(plain, texts))


def draw_board(panels: Mapping[str, Table], path: Path) -> None:
    """Write the picture: the main quantity of each table, with one standard deviation."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from geqlib.report.pictures import STYLE, save_figure

    columns = min(ACROSS, len(panels))
    lines = math.ceil(len(panels) / columns)
    with rc_context(STYLE):
        figure = Figure(figsize=(5.2 * columns, 3.4 * lines), layout="constrained")
        grid = figure.subplots(lines, columns, squeeze=False).ravel()
        for axes, (name, table) in zip(grid, panels.items(), strict=False):
            _draw(axes, name, table)
        for axes in grid[len(panels) :]:
            axes.set_axis_off()
        save_figure(figure, path)


def _draw(axes: Any, name: str, table: Table) -> None:
    from matplotlib.ticker import NullFormatter

    from geqlib.report.pictures import PALE, colour, literal

    inks = {"geqlib": colour(0), "peer": colour(1), "published": PALE}
    column = main_column(table)
    shown = dict(list(main_rows(table).items())[:MOST])
    values = [row.value(column.key) for row in shown.values()]
    for height, (row, value) in enumerate(zip(shown.values(), values, strict=True)):
        axes.errorbar(
            column.scale * value.mean,
            -height,
            xerr=column.scale * value.deviation if value.deviation else None,
            fmt="o",
            color=inks[row.origin],
            markerfacecolor="white" if row.origin == "published" else inks[row.origin],
            markersize=6,
        )
    axes.set_yticks([-k for k in range(len(shown))], [literal(_short(k)) for k in shown])
    means = [value.mean for value in values]
    if min(means) > 0 and max(means) > 10 * min(means):
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_title(literal(name), loc="left")
    axes.set_xlabel(literal(column.header))
    axes.grid(axis="x")


def _short(name: str) -> str:
    return name if len(name) <= 34 else f"{name[:33]}…"


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
