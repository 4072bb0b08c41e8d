"""Which module of geqlib imports which, read from the source.

`python -m tests.imports` prints it, part by part.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import networkx as nx

TOP = Path(__file__).parents[1] / "geqlib"
# folders and files from the bottom to the top: each imports from its own level and those below
LEVELS = (
    (
        "symmetry",
        "sphere",
        "radial",
        "graph",
        "kernels",
        "testing",
        "elements",
        "counted",
        "extras",
        "quiet",
    ),
    (
        "ponita",
        "gaunt",
        "escaip",
        "dpa3",
        "frames",
        "monoid",
        "spen",
        "motifs",
        "pard",
        "subsets",
        "baselines",
    ),
    ("atoms", "generation"),
    ("nn", "models"),
    ("files",),
    ("data", "calculators"),
    ("train", "report"),
    ("proposals",),
    ("cli",),
)
FAMILIES = (
    "ponita",
    "gaunt",
    "escaip",
    "dpa3",
    "frames",
    "monoid",
    "spen",
    "motifs",
    "pard",
    "subsets",
)
LEVEL = {part: number for number, parts in enumerate(LEVELS) for part in parts}


def modules(top: Path = TOP) -> dict[str, Path]:
    """Every module by its full name."""
    paths = {
        ".".join(p.relative_to(top.parent).with_suffix("").parts): p for p in top.rglob("*.py")
    }
    return {name.removesuffix(".__init__"): path for name, path in paths.items()}


def import_graph(top: Path = TOP) -> nx.DiGraph:
    """An arrow from each module to each that it imports anywhere, inside functions too."""
    files = modules(top)
    graph = nx.DiGraph()
    graph.add_nodes_from(files)
    for name, path in files.items():
        for target in _imports(ast.parse(path.read_text()), files):
            if target != name:
                graph.add_edge(name, target)
    return graph


def part(module: str) -> str:
    """The folder or file directly below geqlib that a module belongs to; "" for the package."""
    return module.removeprefix("geqlib").removeprefix(".").partition(".")[0]


def upward(graph: nx.DiGraph) -> list[tuple[str, str]]:
    """Imports from a higher level."""
    return [(a, b) for a, b in _between(graph) if LEVEL[part(a)] < LEVEL[part(b)]]


def across(graph: nx.DiGraph) -> list[tuple[str, str]]:
    """Imports of one family in another."""
    return [(a, b) for a, b in _between(graph) if part(a) in FAMILIES and part(b) in FAMILIES]


def cycles(graph: nx.DiGraph) -> list[set[str]]:
    """Groups of modules that import each other."""
    return [group for group in nx.strongly_connected_components(graph) if len(group) > 1]


def _between(graph: nx.DiGraph) -> Iterator[tuple[str, str]]:
    for a, b in graph.edges:
        if part(a) in LEVEL and part(b) in LEVEL and part(a) != part(b):
            yield a, b


def _imports(tree: ast.AST, files: dict[str, Path]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in files)
        if isinstance(node, ast.ImportFrom) and node.module in files:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in files else node.module


def main() -> None:
    """Each part with the parts that it imports, from the top down."""
    graph = import_graph()
    for parts in reversed(LEVELS):
        for name in parts:
            below = sorted({part(b) for a, b in _between(graph) if part(a) == name})
            sys.stdout.write(f"{name:12} {' '.join(below)}\n")


if __name__ == "__main__":
    main()
