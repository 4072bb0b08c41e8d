"""Pairs of graphs that are not isomorphic: which ones can a model distinguish?"""

from __future__ import annotations

import lzma
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import combinations, pairwise
from pathlib import Path
from typing import Literal

import networkx as nx
import numpy as np

from geqlib.data.download import needed_file
from geqlib.files.atomic import reading
from geqlib.motifs.tuning_graphs import tuning_graphs

Name = Literal["graph8c", "CSL", "SR", "EXP", "BREC", "tuning"]
CSL_NODES, CSL_SKIPS = 41, (2, 3, 4, 5, 6, 9, 11, 12, 13, 16)
SR_FILES = ("sr/sr16622.g6", "sr251256.g6", "sr/sr261034.g6")
BREC_FILES = ("basic", "regular", "str", "extension", "cfi", "4vtx", "dr")
# of the 400 pairs, in order
BREC_PARTS = {
    "basic": 60,
    "regular": 100,
    "extension": 100,
    "CFI": 100,
    "4-vertex": 20,
    "distance regular": 20,
}


@dataclass(frozen=True)
class PlainGraph:
    """A graph with kinds of nodes.

    Args:
        edge_index: [2, E], both directions.
        kind: [N] from 0.
    """

    edge_index: np.ndarray
    kind: np.ndarray

    def relabelled(self, rng: np.random.Generator) -> PlainGraph:
        """A random isomorphic copy."""
        order = rng.permutation(len(self.kind))
        kind = np.empty_like(self.kind)
        kind[order] = self.kind
        edges = order[self.edge_index]
        return PlainGraph(edges[:, rng.permutation(edges.shape[1])], kind)


@dataclass(frozen=True)
class GraphPairs:
    """Pairs of graphs that are not isomorphic.

    Args:
        graphs: all of them.
        pairs: numbers of two graphs each.
        parts: name -> how many of the pairs belong to it, in order.
    """

    graphs: tuple[PlainGraph, ...]
    pairs: tuple[tuple[int, int], ...]
    parts: dict[str, int]

    def digest(self) -> str:
        """SHA-256 of the graphs, by which measurements of other sets are recognised."""
        digest = sha256()
        for graph in self.graphs:
            digest.update(graph.edge_index.tobytes() + graph.kind.tobytes())
        return digest.hexdigest()


def graph_pairs(name: Name) -> GraphPairs:
    """A set of pairs that 1-WL, hence message passing, cannot distinguish.

    "graph8c": all such pairs among the connected graphs of 8 nodes (Balcilar et al., ICML 2021).
    "CSL": circular skip links (Murphy et al., ICML 2019), generated. "SR": strongly regular graphs
    of 16, 25 and 26 nodes, pairs of equal parameters. "EXP": planar graphs with two kinds of nodes
    (Abboud et al., IJCAI 2021). "BREC": 400 pairs of six kinds (Wang and Zhang, ICML 2024).
    "tuning": 32 other pairs, generated, by which recipes for BREC are chosen
    (`geqlib.motifs.tuning_graphs`). Files are looked for in the folder expressivity below the
    one that GEQLIB_DATA names, and downloaded where they are not there.

    Raises:
        ValueError: if the name is unknown, or a file is missing.
    """
    sets: dict[str, Callable[[], GraphPairs]] = {
        "graph8c": _graph8c,
        "CSL": _csl,
        "SR": _sr,
        "EXP": _exp,
        "BREC": _brec,
        "tuning": _tuning,
    }
    if name not in sets:
        raise ValueError(f"name '{name}' is unknown: choose {', '.join(sets)}.")
    return sets[name]()


def colour_refinement(graphs: Sequence[PlainGraph]) -> list[int]:
    """A number for each graph, equal for two of them where 1-WL cannot distinguish them.

    Example:
        >>> ring, pair = nx.cycle_graph(6), nx.disjoint_union(nx.cycle_graph(3), nx.cycle_graph(3))
        >>> one, two, three = map(plain, (ring, pair, nx.path_graph(6)))
        >>> numbers = colour_refinement([one, two, three])
        >>> numbers[0] == numbers[1] != numbers[2]
        True
    """
    nodes = np.array([len(graph.kind) for graph in graphs], dtype=np.int64)
    ptr = np.concatenate([[0], nodes.cumsum()])
    parts = [graph.edge_index + start for graph, start in zip(graphs, ptr, strict=False)]
    source, target = np.concatenate([np.zeros((2, 0), np.int64), *parts], 1)
    colour = np.concatenate([np.zeros(0, np.int64), *(graph.kind for graph in graphs)])
    rng, count = np.random.default_rng(0), 0
    while len(np.unique(colour)) > count:
        count = len(np.unique(colour))
        # multisets of colours are compared by sums of random numbers, modulo 2^64
        signs = rng.integers(0, 2**63, colour.max(initial=0) + 1).astype(np.uint64)
        around = np.zeros(len(colour), np.uint64)
        np.add.at(around, target, signs[colour[source]])
        table = np.stack([colour.astype(np.uint64), around], 1)
        colour = np.unique(table, axis=0, return_inverse=True)[1].reshape(-1)
    signs = rng.integers(0, 2**63, colour.max(initial=0) + 1).astype(np.uint64)
    whole = [[b - a, signs[colour[a:b]].sum(dtype=np.uint64)] for a, b in pairwise(ptr)]
    return np.unique(np.array(whole), axis=0, return_inverse=True)[1].reshape(-1).tolist()


def plain(graph: nx.Graph) -> PlainGraph:
    """The graph with its nodes numbered, all of one kind."""
    number = {node: i for i, node in enumerate(graph)}
    pairs = [(number[i], number[j]) for i, j in graph.to_directed().edges()]
    edges = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return PlainGraph(edges, np.zeros(len(graph), np.int64))


def _graph8c() -> GraphPairs:
    graphs = _graph6("graph8c.g6")
    groups: dict[int, list[int]] = {}
    for k, number in enumerate(colour_refinement(graphs)):
        groups.setdefault(number, []).append(k)
    pairs = [pair for group in groups.values() for pair in combinations(group, 2)]
    paired = sorted({k for pair in pairs for k in pair})
    number = {k: i for i, k in enumerate(paired)}
    return _pairs([graphs[k] for k in paired], [(number[i], number[j]) for i, j in pairs])


def _csl() -> GraphPairs:
    graphs = [plain(nx.circulant_graph(CSL_NODES, [1, skip])) for skip in CSL_SKIPS]
    return _pairs(graphs, list(combinations(range(len(graphs)), 2)))


def _sr() -> GraphPairs:
    graphs, pairs, parts = [], [], {}
    for file in SR_FILES:
        family = _graph6(file)
        numbers = range(len(graphs), len(graphs) + len(family))
        pairs += list(combinations(numbers, 2))
        parts[Path(file).stem] = len(family) * (len(family) - 1) // 2
        graphs += family
    return _pairs(graphs, pairs, parts)


def _exp() -> GraphPairs:
    path = _file("EXP/GRAPHSAT.txt.xz")
    with reading(path, "does not hold the graphs of EXP"):
        lines = iter(lzma.decompress(path.read_bytes()).decode().splitlines())
        graphs = [_next_graph(lines) for _ in range(int(next(lines)))]
        return _pairs(graphs, _neighbours(graphs))


def _next_graph(lines: Iterator[str]) -> PlainGraph:
    nodes = int(next(lines).split()[0])
    entries = [list(map(int, next(lines).split())) for _ in range(nodes)]
    pairs = [(i, j) for i, line in enumerate(entries) for j in line[2:]]
    if any(not 0 <= j < nodes for _, j in pairs):
        raise ValueError(f"a graph of {nodes} nodes has an edge to another node")
    kind = np.array([line[0] for line in entries], dtype=np.int64)
    return PlainGraph(np.array(pairs, dtype=np.int64).reshape(-1, 2).T, kind)


def _neighbours(graphs: Sequence[PlainGraph]) -> list[tuple[int, int]]:
    """Pairs of graphs one after the other."""
    if len(graphs) % 2:
        raise ValueError(f"it holds {len(graphs)} graphs, and the last has no partner")
    return [(k, k + 1) for k in range(0, len(graphs), 2)]


def _brec() -> GraphPairs:
    graphs = [graph for file in BREC_FILES for graph in _graph6_array(f"BREC/{file}.npy")]
    if len(graphs) != 2 * sum(BREC_PARTS.values()):
        raise ValueError(
            f"The files of BREC hold {len(graphs)} graphs, expected 800 (400 pairs): use the "
            "published files."
        )
    return _pairs(graphs, _neighbours(graphs), BREC_PARTS)


def _tuning() -> GraphPairs:
    kinds = tuning_graphs()
    graphs = [plain(graph) for pairs in kinds.values() for pair in pairs for graph in pair]
    parts = {name: len(pairs) for name, pairs in kinds.items()}
    return _pairs(graphs, _neighbours(graphs), parts)


def _pairs(
    graphs: Sequence[PlainGraph],
    pairs: Sequence[tuple[int, int]],
    parts: dict[str, int] | None = None,
) -> GraphPairs:
    return GraphPairs(tuple(graphs), tuple(pairs), parts or {"all": len(pairs)})


def _graph6(file: str) -> list[PlainGraph]:
    path = _file(file)
    with reading(path, "does not hold graphs in the graph6 format"):
        return [plain(nx.from_graph6_bytes(line)) for line in path.read_bytes().split()]


def _graph6_array(file: str) -> list[PlainGraph]:
    path = _file(file)
    with reading(path, "does not hold graphs in the graph6 format"):
        lines = np.load(path, allow_pickle=False).astype(np.bytes_).reshape(-1).tolist()
        return [plain(nx.from_graph6_bytes(line.strip())) for line in lines]


def _file(name: str) -> Path:
    return needed_file(f"expressivity/{name}", "it")
