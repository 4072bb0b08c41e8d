"""What a generative run drew last, read from its folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np

from geqlib.files.atomic import reading
from geqlib.report.tables import Group

AGAIN = "sample again (geqlib test), or delete it to do without the picture"


@dataclass(frozen=True)
class Samples:
    """The samples of a run, molecules or graphs.

    Args:
        run: its name.
        molecules: as ASE's `Atoms`.
        graphs: with `kind` of nodes and edges.
    """

    run: str
    molecules: Sequence[Any] = ()
    graphs: Sequence[nx.Graph] = field(default=())


def first_samples(groups: Sequence[Group]) -> list[Samples]:
    """Samples of the first run that has molecules, and of the first that has graphs.

    Raises:
        ValueError: when a file of samples is damaged.
    """
    runs = [run for group in groups for run in group.runs]
    molecules, graphs = (
        next((run for run in runs if (run.folder / name).exists()), None)
        for name in ("samples.xyz", "samples.json")
    )
    sections = []
    if molecules is not None and (atoms := read_molecules(molecules.folder / "samples.xyz")):
        sections.append(Samples(molecules.name, molecules=atoms))
    if graphs is not None and (drawn := read_graphs(graphs.folder / "samples.json")):
        sections.append(Samples(graphs.name, graphs=drawn))
    return sections


def read_molecules(path: Path) -> list[Any]:
    """All molecules of an extended XYZ file as ASE's `Atoms`; none if it is empty.

    Raises:
        ValueError: when it is damaged.
    """
    if not path.stat().st_size:
        return []
    from ase.io import read

    with reading(path, "holds no molecules", AGAIN):
        molecules: Any = read(path, ":", format="extxyz")
        if not all(np.isfinite(atoms.positions).all() for atoms in molecules):
            raise ValueError("positions are not finite")
        return molecules


def read_graphs(path: Path) -> list[nx.Graph]:
    """All graphs of a file of `geqlib.data.graphs.sampled_files.write_graphs`.

    Raises:
        ValueError: when it is damaged.
    """
    with reading(path, "holds no graphs", AGAIN):
        return [_graph(content) for content in json.loads(path.read_text())]


def _graph(content: Any) -> nx.Graph:
    graph = nx.Graph()
    graph.add_nodes_from((k, {"kind": int(kind)}) for k, kind in enumerate(content["nodes"]))
    for i, j, kind in content["edges"]:
        if not (i in graph and j in graph):
            raise ValueError(f"an edge joins {i} and {j} of {len(graph)} nodes")
        graph.add_edge(i, j, kind=int(kind))
    return graph
