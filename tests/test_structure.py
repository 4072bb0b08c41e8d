"""The structure that docs/architecture.md describes is the structure of the code."""

from __future__ import annotations

import re
import subprocess
from importlib import import_module
from pathlib import Path

import pytest

from docs.draw_architecture import PICTURE, picture
from geqlib.moved import MOVED, MOVED_NAMES
from tests.imports import FAMILIES, LEVEL, across, cycles, import_graph, modules, part, upward

DOCUMENT = Path(__file__).parents[1] / "docs" / "architecture.md"
GRAPH = import_graph()


def test_every_part_has_a_level() -> None:
    free = {"", "moved", "__main__"}
    assert {part(name) for name in modules()} - free == set(LEVEL)


def test_imports_go_down_only() -> None:
    assert not upward(GRAPH)


def test_families_do_not_import_each_other() -> None:
    assert not across(GRAPH)


def test_no_modules_import_each_other() -> None:
    # the package itself serves `geqlib.load` lazily and is imported for its version
    graph = GRAPH.copy()
    graph.remove_node("geqlib")
    assert not cycles(graph)


def test_reports_are_made_from_run_folders_alone() -> None:
    assert not [b for a, b in GRAPH.edges if part(a) == "report" and part(b) in ("data", "train")]


def test_the_picture_shows_these_levels() -> None:
    # `python -m docs.draw_architecture` draws it anew
    assert PICTURE.read_text(encoding="utf-8") == picture()


def test_no_source_is_ignored_by_git() -> None:
    """A wheel leaves out what .gitignore names, such as a package called runs."""
    names = [f"{path}\n" for path in DOCUMENT.parents[1].glob("geqlib/**/*.py")]
    command = ["git", "check-ignore", "--no-index", "--stdin"]
    done = subprocess.run(
        command, input="".join(names), cwd=DOCUMENT.parents[1], capture_output=True, text=True
    )
    if done.returncode > 1:
        pytest.skip("this is no clone of the repository")
    assert done.stdout == ""


def test_public_packages_only_export() -> None:
    assert {p.name for name in ("nn", "models", "testing") for p in _files(name)} == {"__init__.py"}


def test_violations_are_detected(tmp_path: Path) -> None:
    sources = {
        "graph/a.py": "from geqlib.ponita import conv",
        "ponita/conv.py": "def f():\n    from geqlib.gaunt.product import g",
        "gaunt/product.py": "import geqlib.ponita.conv",
    }
    for name, text in sources.items():
        path = tmp_path / "geqlib" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / "__init__.py").touch()
        path.write_text(text)
    graph = import_graph(tmp_path / "geqlib")
    assert upward(graph) == [("geqlib.graph.a", "geqlib.ponita.conv")]
    assert len(across(graph)) == 2
    assert cycles(graph) == [{"geqlib.ponita.conv", "geqlib.gaunt.product"}]


def test_the_migration_page_lists_every_old_path() -> None:
    page = DOCUMENT.with_name("migration.md").read_text()
    paths = [old for old, homes in MOVED.items() if homes]
    paths += [f"{package}.{name}" for package, names in MOVED_NAMES.items() for name in names]
    assert not [path for path in paths if f"| `{path}` |" not in page]


def equations() -> list[tuple[str, str, str]]:
    """Rows "equation | file | function" of the document, by family."""
    rows = re.findall(
        r"^\| (\w+) \| .* \| `(geqlib/[\w/]+\.py)` \| (.*) \|$", DOCUMENT.read_text(), re.M
    )
    return [
        (family, path, name)
        for family, path, names in rows
        for name in re.findall(r"`([\w.]+)`", names)
    ]


@pytest.mark.parametrize(("family", "path", "name"), equations())
def test_equations_are_where_the_document_says(family: str, path: str, name: str) -> None:
    holder = import_module(path.removesuffix(".py").replace("/", "."))
    for attribute in name.split("."):
        holder = getattr(holder, attribute)
    assert family in path


def test_no_row_of_equations_is_left_out() -> None:
    paths = {path for _, path, _ in equations()}
    text = DOCUMENT.read_text().partition("## Where each equation is")[2].partition("\n**")[0]
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    left_out = [line for line in lines[1:] if not any(path in line for path in paths)]
    assert len(lines) > 50 and not left_out


def test_every_family_has_its_equations() -> None:
    assert {family for family, _, _ in equations()} == {*FAMILIES, "generation"}


def _files(name: str) -> list[Path]:
    return [p for p in (DOCUMENT.parents[1] / "geqlib" / name).iterdir() if p.suffix == ".py"]
