"""The board: every result file of the benchmarks in one document with one picture."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from geqlib.files.atomic import replace_file
from geqlib.report.board_picture import draw_board
from geqlib.report.document import (
    Block,
    Bullets,
    Heading,
    Paragraph,
    Picture,
    to_html,
    to_markdown,
)
from geqlib.report.markdown_table import Score, Scores, find_tables, plain, read_scores
from geqlib.report.rows import Table, number

ABOUT = (
    "Numbers were measured by the scripts in benchmarks/, whose protocols stand above each table. "
    "Those marked as published (at the bottom of a table, in italics) are from the papers."
)


@dataclass(frozen=True)
class Section:
    """One benchmark on the board.

    Args:
        name: such as "accuracy/nbody".
        title: what is asked.
        protocol: how it was measured.
        text: Markdown with tables, as the documents show it; "" if the script draws none.
        environment: versions, machine and commit.
        picture: a PNG that the benchmark drew.
    """

    name: str
    title: str
    protocol: str
    text: str
    environment: dict[str, str]
    picture: Path | None = None


def write_board(sections: Sequence[Section], out: Path) -> Path:
    """Draw the board: `board.md`, `board.html`, which needs no other file, and `board.png`.

    Tables are those of the documents. Rows marked as published stand below measured ones, and where
    a table has rows of geqlib's (bold) beside peers measured in the same run, a list says by how
    much they differ.

    Args:
        sections: what was measured.
        out: folder, made if need be.

    Returns:
        the path of `board.md`.

    Raises:
        ValueError: when nothing has been measured, or `out` is a file.
    """
    if not sections:
        raise ValueError("There are no results yet: run geqlib bench accuracy or speed first.")
    if out.exists() and not out.is_dir():
        raise ValueError(f"The report folder {out} is a file: choose another --out.")
    found = {section.name: _scores(section.text) for section in sections}
    panels = {name: scores for name, scores in found.items() if len(scores.rows) > 1}
    blocks: list[Block] = [Paragraph(ABOUT)]
    if panels:
        draw_board(panels, out / "board.png")
        caption = (
            "The first number of each table. Blue: geqlib; orange: peers measured in the same run; "
            "hollow: published; black: where the table does not say."
        )
        blocks.append(Picture(out / "board.png", caption))
    for section in sections:
        blocks += _blocks(section, out)
    title = "Board of the benchmarks"
    page, markdown = to_html(title, blocks), to_markdown(title, blocks)
    replace_file(out / "board.html", lambda part: part.write_text(page, encoding="utf-8"))
    replace_file(out / "board.md", lambda part: part.write_text(markdown, encoding="utf-8"))
    return out / "board.md"


def differences(scores: Scores) -> list[str]:
    """How far each row of geqlib's is from each peer that was measured in the same run."""
    ours = {name: score for name, score in scores.rows.items() if score.kind == "geqlib"}
    peers = {name: score for name, score in scores.rows.items() if score.kind == "peer"}
    # peers in columns of their own belong to one row
    same_row = any(other.startswith(f"{name}, ") for name in ours for other in peers)
    return [
        f"{name}: {_differences(our, peer)} against {other}"
        for name, our in ours.items()
        for other, peer in peers.items()
        if not same_row or other.startswith(f"{name}, ")
    ]


def _differences(ours: Score, theirs: Score) -> str:
    first = _difference(ours.value, theirs.value)
    if ours.second is None or theirs.second is None:
        return first
    return f"{first} / {_difference(ours.second, theirs.second)}"


def _difference(ours: float, theirs: float) -> str:
    absolute = f"{'+' if ours >= theirs else '-'}{number(abs(ours - theirs), 3)}"
    return f"{absolute} ({100 * (ours / theirs - 1):+.0f} %)" if theirs else absolute


def _scores(text: str) -> Scores:
    tables = find_tables(text)
    return read_scores(tables[0]) if tables else Scores("", {})


def _blocks(section: Section, out: Path) -> list[Block]:
    blocks: list[Block] = [Heading(f"{section.name}: {section.title}")]
    if section.protocol:
        blocks.append(Paragraph(section.protocol))
    blocks += map(_table, find_tables(section.text))
    blocks += [Paragraph(line) for line in _prose(section.text)]
    scores = _scores(section.text)
    if found := differences(scores):
        blocks += [Paragraph(f"Differences of: {scores.column}."), Bullets(tuple(found))]
    if not section.text:
        blocks.append(Paragraph(f"No table; the numbers are in benchmarks/results/{section.name}."))
    if section.picture is not None:
        kept = out / f"{section.name.replace('/', '_')}.png"
        original = section.picture
        replace_file(kept, lambda part: shutil.copyfile(original, part))
        blocks.append(Picture(kept, section.title))
    facts = ", ".join(f"{key} {value}" for key, value in section.environment.items())
    return [*blocks, Paragraph(f"Measured with {facts}.")] if facts else blocks


def _table(lines: list[list[str]]) -> Table:
    """Published rows last, where the document sets them apart."""
    header, *rows = [tuple(map(plain, line)) for line in lines]
    published = tuple(row for row in rows if "published" in row)
    return Table(header, tuple(row for row in rows if row not in published), published)


def _prose(text: str) -> list[str]:
    rest = re.sub(r"^(\||!\[).*$", "", text, flags=re.MULTILINE)
    return [plain(" ".join(part.split())) for part in re.split(r"\n\s*\n", rest) if part.strip()]
