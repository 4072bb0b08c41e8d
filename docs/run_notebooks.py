"""Run the notebooks and write them as pages with their outputs: `make notebooks`.

python docs/run_notebooks.py             # all of them
python docs/run_notebooks.py ponita      # one
"""

from __future__ import annotations

import base64
import os
import re
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

TOP = Path(__file__).parents[1]
SOURCES, PAGES = TOP / "notebooks", TOP / "docs" / "notebooks"
LONGEST = 60  # lines of an output that are shown
ADDRESS = re.compile(r"<.* at 0x[0-9a-f]+>")  # of objects, which say nothing
COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def main(names: list[str]) -> None:
    os.environ.setdefault("JUPYTER_PLATFORM_DIRS", "1")
    for path in sorted(SOURCES.glob("*.ipynb")):
        if not names or path.stem in names:
            PAGES.mkdir(exist_ok=True)
            write_page(executed(path), path.stem)
            sys.stdout.write(f"wrote docs/notebooks/{path.stem}.md\n")


def executed(path: Path) -> nbformat.NotebookNode:
    """A notebook with its outputs, run in a folder of its own."""
    book = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(book, timeout=900, kernel_name="python3").execute(cwd=folder)
    return book


def write_page(book: nbformat.NotebookNode, name: str) -> None:
    """Write a page, with its pictures beside it."""
    parts = []
    for number, cell in enumerate(book.cells):
        if cell.cell_type == "markdown":
            parts.append(cell.source.strip())
            continue
        parts.append(f"```python\n{cell.source.strip()}\n```")
        parts += [part for output in cell.outputs if (part := shown(output, f"{name}_{number}"))]
        if number == 1:
            parts.insert(1, f"*The outputs of `notebooks/{name}.ipynb`, which runs in a clone.*")
    (PAGES / f"{name}.md").write_text("\n\n".join(parts) + "\n")


def shown(output: nbformat.NotebookNode, name: str) -> str | None:
    """An output as Markdown; what goes to stderr, warnings and progress, is left out."""
    if output.output_type == "stream":
        return text_block(output.text) if output.name == "stdout" else None
    data = output.get("data", {})
    if "image/png" in data:
        (PAGES / f"{name}.png").write_bytes(base64.b64decode(data["image/png"]))
        return f"![output of the cell above]({name}.png)"
    text = data.get("text/plain", "")
    return None if ADDRESS.search(text) else text_block(text)


def text_block(text: str) -> str | None:
    lines = COLOURS.sub("", text).rstrip().splitlines()
    lines = [line.rpartition("\r")[2] for line in lines]
    if len(lines) > LONGEST:
        lines = [*lines[:LONGEST], "..."]
    return "```text\n" + "\n".join(lines) + "\n```" if lines else None


if __name__ == "__main__":
    main(sys.argv[1:])
