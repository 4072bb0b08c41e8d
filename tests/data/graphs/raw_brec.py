"""A miniature of BREC's files: 400 pairs of graphs of seven nodes."""

from __future__ import annotations

from pathlib import Path

import networkx as nx
import numpy as np

RING = nx.cycle_graph(7)
RINGS = nx.disjoint_union(nx.cycle_graph(3), nx.cycle_graph(4))
SIZES = {"basic": 60, "regular": 50, "str": 50, "extension": 100, "cfi": 100, "4vtx": 20, "dr": 20}


def write(folder: Path, pairs: int | None = None) -> None:
    """Files below a mirror: a ring and two rings in every pair, and in the second two equal rings.

    Args:
        folder: the mirror.
        pairs: of the first file, 60 by default.
    """
    (folder / "expressivity" / "BREC").mkdir(parents=True, exist_ok=True)
    for name, count in SIZES.items():
        graphs = [RING, RINGS] * (pairs if name == "basic" and pairs is not None else count)
        if name == "basic":
            graphs[3:4] = [RING]
        lines = [nx.to_graph6_bytes(graph, header=False).strip().decode() for graph in graphs]
        array = np.array(lines)
        shaped = array.reshape(-1, 2) if name == "regular" else array
        np.save(folder / "expressivity" / "BREC" / f"{name}.npy", shaped)
