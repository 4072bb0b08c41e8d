"""Every notebook runs from top to bottom, and ends in a number that it checks."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
import torch

TOP = Path(__file__).parents[1]
NOTEBOOKS = sorted((TOP / "notebooks").glob("*.ipynb"))


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def codes(book: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in book.cells if cell.cell_type == "code"]


def test_there_are_notebooks():
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_form(path):
    book = read(path)
    assert book.cells[0].cell_type == "markdown" and book.cells[0].source.startswith("# ")
    assert "\nassert " in codes(book)[-1].source
    for cell in codes(book):
        assert not cell.outputs and cell.execution_count is None, "strip the outputs"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_page_of_the_site_has_its_cells(path):
    """`make notebooks` writes it, with the outputs."""
    page = (TOP / "docs" / "notebooks" / f"{path.stem}.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)\n```$", page, re.MULTILINE | re.DOTALL)
    assert blocks == [cell.source.strip() for cell in codes(read(path))], "run make notebooks"
    assert "```text\n" in page
    for picture in re.findall(r"!\[[^]]*\]\(([^)]+)\)", page):
        assert (TOP / "docs" / "notebooks" / picture).exists(), picture


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs(path, tmp_path, monkeypatch):
    """In this process: a kernel for each would import everything anew."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    book = read(path)
    cells = {"__name__": "__main__"}
    dtype = torch.get_default_dtype()
    try:
        with torch.random.fork_rng():
            for cell in codes(book):
                exec(compile(cell.source, str(path), "exec"), cells)
    finally:
        torch.set_default_dtype(dtype)
