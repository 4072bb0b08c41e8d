"""What benchmarks measure: typed rows in tables, and one JSON file for each benchmark.

Documents, the board and pictures are drawn from these files alone, so none of them runs a script.
"""

from __future__ import annotations

import ast
import json
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Literal

from benchmarks import provenance
from benchmarks.provenance import Hashes, refuse_dirty

RESULTS = Path(os.environ.get("GEQLIB_RESULTS", provenance.RESULTS))
STARTED = time.perf_counter()
LINE = 90  # characters of a result file
Origin = Literal["geqlib", "peer", "published"]


@dataclass(frozen=True)
class Value:
    """A number that has an error.

    Args:
        mean: the number.
        deviation: standard deviation, over seeds or folds, or as a paper prints it.
        seeds: the single numbers.
        interval: 95 % interval over test samples, by the bootstrap.
    """

    mean: float
    deviation: float | None = None
    seeds: tuple[float, ...] = ()
    interval: tuple[float, float] | None = None


Cell = float | str | Value
Curve = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Row:
    """A model, method or layer, and what was measured of it or what its paper says.

    Args:
        labels: what the row is about; the last one names the model.
        cells: by the keys of the columns, and others that no column shows.
        origin: of geqlib, of a peer measured in the same run, or published.
        setup: of the measurement, such as "3 seeds, 5.0 CPU minutes of one thread".
        source: of a published row, the paper.
        curves: pairs of numbers, such as validation errors against minutes.
        removed: why the second edition has no such row, where it has none.
        stamp: code version, commit, date and machine of the measurement.
        hashes: of the code, the configuration and the data that it used.
    """

    labels: tuple[str, ...]
    cells: Mapping[str, Cell]
    origin: Origin = "geqlib"
    setup: str = ""
    source: str = ""
    curves: Mapping[str, Curve] = field(default_factory=dict)
    removed: str = ""
    stamp: str = ""
    hashes: Hashes = field(default_factory=dict)

    def value(self, key: str) -> Value:
        """A cell that is a number."""
        cell = self.cells[key]
        if isinstance(cell, str):
            raise ValueError(f"The cell {key} of {', '.join(self.labels)} is text: {cell!r}.")
        return cell if isinstance(cell, Value) else Value(cell)

    def number(self, key: str) -> float:
        """The mean of a cell."""
        return self.value(key).mean


@dataclass(frozen=True)
class Column:
    """How a quantity is shown.

    Args:
        key: of its cells.
        title: at the top.
        unit: that is shown.
        format: a format specification, or "error": four decimals, powers of ten below 1e-3.
        scale: shown over stored unit: 1e3 for seconds that are shown in milliseconds.
    """

    key: str
    title: str
    unit: str = ""
    format: str = ""
    scale: float = 1.0

    @property
    def header(self) -> str:
        return f"{self.title}, {self.unit}" if self.unit else self.title


@dataclass(frozen=True)
class Table:
    """Rows with the same columns.

    Args:
        heads: titles of the labels.
        columns: that are shown, in order.
        rows: of any origin.
        main: key of the column that the board draws; "" for none.
        note: a sentence below the table.
        turned: whether columns are drawn as lines, which suits few rows of many columns.
    """

    heads: tuple[str, ...]
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    main: str = ""
    note: str = ""
    turned: bool = False

    def row(self, *labels: str) -> Row:
        """The row with these labels.

        Raises:
            ValueError: if there is none.
        """
        for row in self.rows:
            if row.labels == labels:
                return row
        raise ValueError(f"There is no row {', '.join(labels)}: measure it first.")


@dataclass(frozen=True)
class Result:
    """What a benchmark leaves.

    Args:
        name: of its script below benchmarks/, such as "accuracy/nbody".
        title: what is asked.
        protocol: how it was measured.
        tables: of rows.
        settings: other facts, such as the budget.
        picture: what the PNG beside the file shows; "" if there is none.
        environment: versions, machine and commit.
        options: of the command line.
        wall_seconds: of the process; what earlier ones did is not counted.
    """

    name: str
    title: str
    protocol: str
    tables: tuple[Table, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    picture: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    wall_seconds: float | None = None

    @property
    def png(self) -> Path:
        return RESULTS / f"{self.name}.png"


def over(numbers: Sequence[float]) -> Value:
    """Mean and sample standard deviation over seeds.

    Example:
        >>> over([1.0, 3.0])
        Value(mean=2.0, deviation=1.4142135623730951, seeds=(1.0, 3.0), interval=None)
    """
    deviation = stdev(numbers) if len(numbers) > 1 else None
    return Value(mean(numbers), deviation, tuple(numbers))


def measured(
    name: str,
    about: str | None,
    tables: Sequence[Table],
    settings: Mapping[str, Any] | None = None,
    picture: str = "",
) -> Result:
    """A result of the running script, in the environment of its process.

    Args:
        name: of the script.
        about: its docstring: a title, and the protocol in the second paragraph.
        tables: of rows; those without a stamp get that of this tree, with its hashes.
        settings: other facts.
        picture: what the picture shows.
    """
    from importlib.metadata import version

    from geqlib.train.runs.record import environment

    facts = environment() | {"e3nn": version("e3nn"), "numpy": version("numpy")}
    title, protocol = describe(about or name, constants(name) | dict(settings or {}))
    return Result(
        name=name,
        title=title,
        protocol=protocol,
        tables=tuple(stamped(table, **provenance.present(name)) for table in tables),
        settings=settings or {},
        picture=picture,
        environment=facts,
        options=tuple(sys.argv[1:]),
        wall_seconds=round(time.perf_counter() - STARTED, 1),
    )


def describe(about: str, values: Mapping[str, Any] | None = None) -> tuple[str, str]:
    """Title and protocol of a script's docstring, filled with its constants.

    Args:
        about: the docstring, in which {seeds} stands for the constant SEEDS, or for the setting of
            that name.
        values: by name.

    Raises:
        ValueError: if a value is missing.

    Example:
        >>> describe("Balls.\\n\\nProtocol: seeds {seeds}.", {"SEEDS": (0, 1, 2)})
        ('Balls', 'Protocol: seeds 0, 1 and 2.')
    """
    lowered = {key.lower(): value for key, value in (values or {}).items()}

    def filled(match: re.Match[str]) -> str:
        if match[1] not in lowered:
            raise ValueError(
                f"The protocol of {title!r} names {match[0]}: the script needs the constant "
                f"{match[1].upper()}, or its result the setting {match[1]}."
            )
        return in_words(lowered[match[1]])

    title, (_, *rest) = title_of(about), about.strip().split("\n\n")
    protocol = " ".join(rest[0].split()) if rest and rest[0].startswith("Protocol:") else ""
    return title, re.sub(r"\{(\w+)\}", filled, protocol)


def title_of(about: str) -> str:
    """The first paragraph of a script's docstring, without its full stop."""
    return " ".join(about.strip().split("\n\n")[0].split()).rstrip(".")


def in_words(value: Any) -> str:
    """A number, a text or several.

    Example:
        >>> in_words([0, 1, 2]), in_words(4.0), in_words({"b": (0,), "a": 2})
        ('0, 1 and 2', '4', 'b 0, a 2')
    """
    if isinstance(value, Mapping):
        return ", ".join(f"{key.replace('_', ' ')} {in_words(v)}" for key, v in value.items())
    if isinstance(value, float):
        return f"{value:g}"
    if not isinstance(value, list | tuple | range):
        return str(value)
    *words, last = map(in_words, value)
    return f"{', '.join(words)} and {last}" if words else last


def constants(name: str) -> dict[str, Any]:
    """The literal constants of a benchmark, by name."""
    path = provenance.TOP / "benchmarks" / f"{name}.py"
    values: dict[str, Any] = {}
    for node in ast.parse(path.read_text()).body if path.is_file() else []:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                _assign(values, target, node.value)
    return values


def _assign(values: dict[str, Any], target: ast.expr, value: ast.expr) -> None:
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        for inner, part in zip(target.elts, value.elts, strict=True):
            _assign(values, inner, part)
    elif isinstance(target, ast.Name):
        with suppress(ValueError):  # not a literal
            values[target.id] = ast.literal_eval(value)


def stamped(table: Table, stamp: str, hashes: Hashes) -> Table:
    """Measured rows that have no stamp get this one."""
    rows = (
        row if row.stamp or row.origin == "published" else replace(row, stamp=stamp, hashes=hashes)
        for row in table.rows
    )
    return replace(table, rows=tuple(rows))


def joined(name: str, table: Table, index: int = 0) -> Table:
    """A table with the rows of an earlier result that are not measured anew, in their order."""
    tables = read_result(name).tables if (RESULTS / f"{name}.json").exists() else ()
    if index >= len(tables):
        return table
    new = {(*row.labels, row.origin): row for row in table.rows}
    earlier = {
        (*row.labels, row.origin): row for row in tables[index].rows if row.origin != "published"
    }
    return replace(table, rows=tuple((earlier | new).values()))


def write_result(result: Result) -> Path:
    """Write benchmarks/results/NAME.json, whole or not at all.

    Raises:
        ValueError: see `refuse_dirty`.
    """
    refuse_dirty(RESULTS)
    path = RESULTS / f"{result.name}.json"
    text = to_json(result)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:  # not by geqlib.files, which needs more packages than a measurement of layers
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def read_result(name: str) -> Result:
    """What `write_result` wrote.

    Raises:
        ValueError: if there is no such file, or it is damaged.
    """
    path = RESULTS / f"{name}.json"
    if not path.exists():
        raise ValueError(f"There is no {path.name}: run python benchmarks/{name}.py first.")
    return from_json(path.read_text(encoding="utf-8"), path)


def to_json(result: Result) -> str:
    """Indented, but for short lists and dictionaries and lists of numbers, which take one line."""

    def one_line(match: re.Match[str]) -> str:
        line = re.sub(r"(?<=[\[{]) | (?=[\]}])", "", re.sub(r"\n *", " ", match[0]))
        return line if len(line) <= LINE or re.fullmatch(r"[^\"]*", line) else match[0]

    text = json.dumps(_plain(result), indent=1, ensure_ascii=False)
    text = re.sub(r"[\[{][^\[\]{}]*[\]}]", one_line, text)
    value = re.compile(r'\{\s+("mean": [^{}]*?)\s+\}')
    return value.sub(lambda match: f"{{{' '.join(match[1].split())}}}", text) + "\n"


def from_json(text: str, path: Path) -> Result:
    try:
        content = json.loads(text)
        tables = tuple(_table(table) for table in content.pop("tables"))
        options = tuple(content.pop("options", ()))
        return Result(**content, tables=tables, options=options)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is damaged, or was written by another version ({error}): measure it again."
        ) from error


def _plain(value: Any) -> Any:
    """Dictionaries and lists; what is as its class sets it by default is left out."""
    if isinstance(value, Value) and value == Value(value.mean):
        return value.mean
    if isinstance(value, Row):  # abscissae, then ordinates: two lines
        curves = {key: tuple(zip(*curve, strict=True)) for key, curve in value.curves.items()}
        value = replace(value, curves=curves)
    if isinstance(value, Value | Row | Column | Table | Result):
        parts = {part.name: getattr(value, part.name) for part in fields(value)}
        defaults = {part.name: part.default for part in fields(value)}
        return {
            name: _plain(part)
            for name, part in parts.items()
            if part != {} and (part != defaults[name] or (value.__class__, name) == (Row, "origin"))
        }
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value


def _table(content: dict[str, Any]) -> Table:
    return Table(
        tuple(content["heads"]),
        tuple(Column(**column) for column in content["columns"]),
        tuple(_row(row) for row in content["rows"]),
        content.get("main", ""),
        content.get("note", ""),
        content.get("turned", False),
    )


def _row(content: dict[str, Any]) -> Row:
    curves = {
        key: tuple(zip(*curve, strict=True)) for key, curve in content.pop("curves", {}).items()
    }
    cells = {key: _cell(cell) for key, cell in content.pop("cells", {}).items()}
    return Row(tuple(content.pop("labels")), cells, curves=curves, **content)


def _cell(content: Any) -> Cell:
    if not isinstance(content, dict):
        return content
    seeds, interval = tuple(content.get("seeds", ())), content.get("interval")
    return Value(content["mean"], content.get("deviation"), seeds, interval and tuple(interval))
