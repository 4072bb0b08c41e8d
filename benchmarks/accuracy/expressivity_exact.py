"""Which pairs of the usual sets of expressivity do exact features separate, without training?

Protocol: that of brec_exact.py, whose features these are: whole numbers, compared exactly, on each
pair and on a random isomorphic copy of every graph; a row whose copies differ is void. Pairs are
those that 1-WL does not separate among the connected graphs of 8 nodes (graph8c), circular skip
links of 41 nodes (CSL), pairs of equal parameters of the strongly regular graphs of
16, 25, 26 and 28 nodes (sr...: nodes, degree, common neighbours of adjacent and of other nodes),
and EXP, whose nodes are of two kinds, which counts of cliques do not see. The graphs of 28 nodes
are generated: the line graph of K8 and the three of Chang, its Seidel switchings. Published counts
are of pairs that networks with random weights do not separate among all graphs of a set; where
these are none, the pairs here are separated, and where they are all pairs, none is.

    python benchmarks/accuracy/expressivity_exact.py [--sets graph8c CSL SR Chang EXP]
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations
from pathlib import Path

import networkx as nx
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.accuracy.brec_exact import compared
from benchmarks.provenance import start
from benchmarks.rows import Row, measured
from benchmarks.tables import drawn, markdown, publish
from geqlib.data.graphs.expressivity import GraphPairs, graph_pairs, plain

# exchanges of edges that make the three graphs of Chang from the line graph of K8
SWITCHINGS = (
    [(0, 1), (2, 3), (4, 5), (6, 7)],
    [*nx.cycle_graph(8).edges],
    [*nx.cycle_graph(3).edges, *nx.cycle_graph(range(3, 8)).edges],
)
PUBLISHED = {
    "GIN": ({"graph8c": 0, "sr251256": 0, "EXP": 0}, "Balcilar et al. 2021"),
    "PPGN": ({"graph8c": 312, "sr251256": 0, "EXP": 600}, "Balcilar et al. 2021"),
    "GNNML3": ({"graph8c": 312, "EXP": 600}, "Balcilar et al. 2021"),
    "FA-GIN+ID": ({"graph8c": 312, "EXP": 600}, "Puny et al. 2022"),
}


def main() -> None:
    parser = ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    pairs = joined([SETS[name]() for name in options.sets])
    table = compared(pairs, list(pairs.parts))
    if options.sets == list(SETS):
        published = tuple(
            Row((name,), {**cells}, "published", source=source)
            for name, (cells, source) in PUBLISHED.items()
        )
        table = replace(table, rows=table.rows + published)
        publish(measured("accuracy/expressivity_exact", __doc__, [table]))
    else:
        sys.stdout.write(markdown(*drawn(table)))


def joined(sets: Sequence[GraphPairs]) -> GraphPairs:
    """The pairs of several sets, whose parts have different names, as one set."""
    graphs, pairs, parts = [], [], {}
    for one in sets:
        pairs += [(i + len(graphs), j + len(graphs)) for i, j in one.pairs]
        graphs += one.graphs
        parts |= one.parts
    return GraphPairs(tuple(graphs), tuple(pairs), parts)


def of_one_part(name: str) -> GraphPairs:
    """A set all of whose pairs are one part, by its name."""
    pairs = graph_pairs(name)
    return replace(pairs, parts={name: len(pairs.pairs)})


def chang() -> GraphPairs:
    """The strongly regular graphs with the parameters (28, 12, 6, 4): Chang, 1959."""
    line = nx.line_graph(nx.complete_graph(8))
    graphs = [line, *(switched(line, edges) for edges in SWITCHINGS)]
    pairs = tuple(combinations(range(len(graphs)), 2))
    return GraphPairs(tuple(map(plain, graphs)), pairs, {"sr281264": len(pairs)})


def switched(line: nx.Graph, edges: Sequence[tuple[int, int]]) -> nx.Graph:
    """A line graph in which these edges, which are its nodes, are joined to exactly those others
    that they were not joined to."""
    inside = {frozenset(edge) for edge in edges}
    graph = nx.empty_graph(line)
    for a, b in combinations(line, 2):
        across = (frozenset(a) in inside) != (frozenset(b) in inside)
        if line.has_edge(a, b) != across:
            graph.add_edge(a, b)
    return graph


SETS: dict[str, Callable[[], GraphPairs]] = {
    "graph8c": partial(of_one_part, "graph8c"),
    "CSL": partial(of_one_part, "CSL"),
    "SR": partial(graph_pairs, "SR"),
    "Chang": chang,
    "EXP": partial(of_one_part, "EXP"),
}


if __name__ == "__main__":
    start(main)
