"""Reading the tables that benchmarks draw for documents: cells, and who scored what."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

SIGNED = r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?"
Kind = Literal["geqlib", "peer", "published", "measured"]
NUMBER = re.compile(rf"({SIGNED})(?: ± ({SIGNED}))?(?: %)?(?: / ({SIGNED}))?(?:, .*)?")


@dataclass(frozen=True)
class Score:
    """A number of a table.

    Args:
        value: the number.
        deviation: its standard deviation, 0 where none is given.
        kind: whose it is.
        second: the other number of a cell like "20.2 / 23.1".
    """

    value: float
    deviation: float
    kind: Kind
    second: float | None = None


@dataclass(frozen=True)
class Scores:
    """The first numbers of a table's rows.

    Args:
        column: what they are.
        rows: by name.
    """

    column: str
    rows: dict[str, Score]


def find_tables(text: str) -> list[list[list[str]]]:
    """The tables of a Markdown text: lines of cells, the header first, without the rule below it.

    Example:
        >>> find_tables("| a | b |\\n| --- | --- |\\n| 1 | 2 |\\n\\ntext\\n")
        [[['a', 'b'], ['1', '2']]]
    """
    found = re.findall(r"(?:^\|.*\|[ ]*\n?)+", text, re.MULTILINE)
    tables = [[_cells(line) for line in block.splitlines()] for block in found]
    return [[line for line in table if not _is_rule(line)] for table in tables]


def read_scores(table: list[list[str]]) -> Scores:
    """Rows by name, with the first number that is not in their name.

    A row is published if a cell says so. Else it is geqlib's if its name says so, or is bold where
    no name does, and beside rows of geqlib's it is a peer's. Columns whose header says "same run"
    are peers of their row's first number, which is geqlib's then.

    Args:
        table: from `find_tables`.
    """
    header, *rows = table
    column = next((c for c in range(1, len(header)) if any(_number(row[c]) for row in rows)), None)
    if column is None:
        return Scores("", {})
    beside = [c for c in range(column + 1, len(header)) if "same run" in header[c]]
    names = [", ".join(cell for cell in row[:column] if cell) for row in rows]
    mark = next((m for m in ("geqlib", "**") if any(m in name for name in names)), None)
    found: dict[str, Score] = {}
    for row, name in zip(rows, names, strict=True):
        kind = "geqlib" if beside else _kind(row, name, mark)
        _add(found, plain(name), row[column], kind)
        for c in beside:
            peer = f"{plain(name)}, {plain(header[c]).removesuffix(', same run')}"
            _add(found, peer, row[c], "peer")
    return Scores(plain(header[column]), found)


def plain(cell: str) -> str:
    """Text without marks for bold and code."""
    return re.sub(r"\*\*|`", "", cell).replace("\\|", "|").strip()


def _add(found: dict[str, Score], name: str, cell: str, kind: Kind) -> None:
    if (match := _number(cell)) is None:
        return
    names = [name, f"{name}, {kind}", f"{name} ({len(found)})"]
    unique = next(known for known in names if known not in found)
    second = None if match[3] is None else float(match[3])
    found[unique] = Score(float(match[1]), float(match[2] or 0), kind, second)


def _kind(row: list[str], name: str, mark: str | None) -> Kind:
    if "published" in row:
        return "published"
    if mark is None:
        return "measured"
    return "geqlib" if mark in name else "peer"


def _number(cell: str) -> re.Match[str] | None:
    return NUMBER.fullmatch(plain(cell))


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip())[1:-1]]


def _is_rule(cells: list[str]) -> bool:
    return all(re.fullmatch(r":?-+:?", cell) for cell in cells)
