"""A document of a few kinds of blocks, as Markdown and as one self-contained HTML page."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from geqlib.report.tables import Table

_CSS = """
:root { color-scheme: light dark; --ink: #222; --pale: #6a6a6a; --line: #ddd; --page: #fff;
  --band: #f6f7f8; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e4e4; --pale: #a0a0a0; --line: #3a3d41; --page: #17191c; --band: #1f2226; }
}
body { max-width: 62rem; margin: 2.5rem auto; padding: 0 1.2rem; color: var(--ink);
  background: var(--page); font: 16px/1.55 system-ui, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.7rem; overflow-wrap: anywhere; } h2 { font-size: 1.2rem; margin-top: 2.4rem; }
h3 { font-size: 1rem; margin-top: 1.8rem; }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: 0.92rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.4rem 0.8rem; border-bottom: 1px solid var(--line); text-align: right;
  white-space: nowrap; }
th { border-bottom: 2px solid var(--pale); }
th:first-child, td:first-child { text-align: left; padding-left: 0.4rem; min-width: 7rem;
  white-space: normal; }
td:first-child { overflow-wrap: anywhere; }
tr.baseline { color: var(--pale); font-style: italic; background: var(--band); }
figure { margin: 1.2rem 0; }
img { max-width: 100%; max-height: 60rem; height: auto; border-radius: 6px; background: #fff;
  padding: 6px; box-sizing: border-box; }
img.narrow { max-width: min(100%, 34rem); }
figcaption, .note { color: var(--pale); font-size: 0.92rem; }
pre { background: var(--band); border: 1px solid var(--line); border-radius: 6px;
  padding: 0.7rem 1rem; white-space: pre-wrap; overflow-wrap: anywhere; }
li { overflow-wrap: anywhere; }
@media (max-width: 40rem) {
  body { margin: 1.2rem auto; padding: 0 0.8rem; }
  table { font-size: 0.82rem; }
  th, td { padding: 0.35rem 0.3rem; } th { white-space: normal; vertical-align: bottom; }
  th:first-child, td:first-child { min-width: 3.5rem; }
  figure { overflow-x: auto; } img { max-width: none; width: 38rem; }
  img.narrow { max-width: 100%; }
}
@media print {
  :root { --ink: #000; --pale: #444; --line: #bbb; --page: #fff; --band: #f2f2f2; }
  body { margin: 0; max-width: none; font-size: 10.5pt; }
  h2, h3 { break-after: avoid; } figure, tr { break-inside: avoid; } img { max-height: 20cm; }
}
"""


@dataclass(frozen=True)
class Heading:
    """The heading of a section."""

    text: str


@dataclass(frozen=True)
class Subheading:
    """The heading of a part of a section."""

    text: str


@dataclass(frozen=True)
class Paragraph:
    """Plain text."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """A list of plain texts."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Commands:
    """Lines for a terminal."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class Picture:
    """A PNG file next to the document, with a caption; a narrow one fits on a phone."""

    path: Path
    caption: str
    narrow: bool = False


Block = Heading | Subheading | Paragraph | Bullets | Commands | Picture | Table


def to_markdown(title: str, blocks: Sequence[Block]) -> str:
    """The document as Markdown; pictures are linked by their file names."""
    return "\n\n".join([f"# {_plain(title)}", *map(_markdown, blocks)]) + "\n"


def to_html(title: str, blocks: Sequence[Block]) -> str:
    """The document as one page that embeds its pictures."""
    body = "\n".join(map(_html, blocks))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_CSS}</style>\n</head>\n"
        f"<body>\n<h1>{escape(title)}</h1>\n{body}\n</body>\n</html>\n"
    )


def _markdown(block: Block) -> str:
    match block:
        case Heading(text):
            return f"## {_plain(text)}"
        case Subheading(text):
            return f"### {_plain(text)}"
        case Paragraph(text):
            return _plain(text)
        case Bullets(items):
            return "\n".join(f"- {_plain(item)}" for item in items)
        case Commands(lines):
            return "\n".join(["```sh", *lines, "```"])
        case Picture(path, caption):
            return f"![{_plain(caption)}]({path.name})\n\n{_plain(caption)}"
        case Table():
            return _markdown_table(block)


def _markdown_table(table: Table) -> str:
    rule = "|".join(["---", *["---:"] * (len(table.header) - 1)])
    lines = [table.header, *table.rows]
    text = ["| " + " | ".join(map(_plain, cells)) + " |" for cells in lines]
    text.insert(1, f"|{rule}|")
    for name, *cells in table.baselines:
        text.append("| " + " | ".join([f"*{_plain(name)}*", *map(_plain, cells)]) + " |")
    return "\n".join(text)


def _plain(text: str) -> str:
    """Escape the names of a user, in which nothing is markup."""
    return re.sub(r"([\\`*_<>|\[\]])", r"\\\1", " ".join(text.split()))


def _html(block: Block) -> str:
    match block:
        case Heading(text):
            return f"<h2>{escape(text)}</h2>"
        case Subheading(text):
            return f"<h3>{escape(text)}</h3>"
        case Paragraph(text):
            return f'<p class="note">{escape(text)}</p>'
        case Bullets(items):
            return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"
        case Commands(lines):
            return f"<pre><code>{escape(chr(10).join(lines))}</code></pre>"
        case Picture(path, caption):
            data = base64.b64encode(path.read_bytes()).decode()
            shape = ' class="narrow"' if block.narrow else ""
            source = f'<img{shape} alt="{escape(caption)}" src="data:image/png;base64,{data}">'
            return f"<figure>{source}<figcaption>{escape(caption)}</figcaption></figure>"
        case Table():
            return _html_table(block)


def _html_table(table: Table) -> str:
    def row(cells: Sequence[str], tag: str = "td", attributes: str = "") -> str:
        inside = "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells)
        return f"<tr{attributes}>{inside}</tr>"

    body = [row(cells) for cells in table.rows]
    body += [row(cells, attributes=' class="baseline"') for cells in table.baselines]
    head = f"<thead>{row(table.header, 'th')}</thead>"
    return f'<div class="wide"><table>{head}<tbody>{"".join(body)}</tbody></table></div>'
