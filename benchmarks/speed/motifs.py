"""Counts of cycles around every node of molecules, against networkx.

Protocol: cycles of {smallest} to {largest} nodes through every node, of all graphs of NCI1 and of
the molecules of MoleculeNet's lipo that have {fewest} to {most} heavy atoms, on average as many as
those of ZINC. One CPU thread, time of the process without reading the data. geqlib counts batches
of {batch} graphs from scratch, or graphs one by one through its transform. networkx counts graph by
graph in two ways: `GraphMatcher` finds any pattern as a subgraph, and here every cycle in each of
its rotations and directions; `simple_cycles` is an algorithm for cycles alone, which it lists up to
the largest size at once. Both run on every {stride}th graph, their time is scaled to all graphs,
and the counts are compared. Large: the same counts on a ring of {large} nodes, each joined to the
four nearest, and the peak of memory.

    python benchmarks/speed/motifs.py
"""

from __future__ import annotations

import csv
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import networkx as nx
import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.measure import in_own_process, peak_memory
from benchmarks.provenance import start
from benchmarks.rows import Column, Row, Table, measured
from benchmarks.tables import publish
from geqlib.data.download import find_files
from geqlib.data.graphs.tu import tu_arrays
from geqlib.extras import extra_module
from geqlib.motifs.counts import count_motifs
from geqlib.motifs.graphs import simple_graphs
from geqlib.motifs.homomorphisms import Counter
from geqlib.motifs.patterns import as_pattern
from geqlib.motifs.transforms import SubgraphCounts

SMALLEST, LARGEST = 3, 8
BATCH, LARGE = 256, 100_000
STRIDE = 40
FEWEST, MOST = 20, 26
COLUMNS = (
    Column("seconds", "all graphs", "s", ".2f"),
    Column("rate", "graphs a second", "", ".0f"),
    Column("ratio", "times geqlib's", "", ".0f"),
)


class Molecules(NamedTuple):
    """Graphs one after the other: edges [2, E] between nodes of each graph, [G] their numbers."""

    edge_index: np.ndarray
    nodes: np.ndarray
    edges: np.ndarray

    def graph(self, k: int) -> np.ndarray:
        first = self.edges[:k].sum()
        return self.edge_index[:, first : first + self.edges[k]]


def main() -> None:
    torch.set_num_threads(1)
    if "--large" in sys.argv:
        sys.stdout.write(json.dumps(large()) + "\n")
        return
    if sys.argv[1:]:
        sys.stdout.write(json.dumps(ours(SETS[sys.argv[1]]())) + "\n")
        return
    tables = [compared(name) for name in SETS]
    one: Any = in_own_process(__file__, "--large")
    memory = Table(
        (f"the same in a graph of {LARGE} nodes",),
        (Column("mib", "peak memory", "MiB", ".0f"), Column("seconds", "time", "s", ".1f")),
        (Row(("geqlib",), one),),
    )
    publish(measured("speed/motifs", __doc__, [*tables, memory]))


def compared(name: str) -> Table:
    """One data set, counted by geqlib and in both ways of networkx."""
    molecules = SETS[name]()
    own: Any = in_own_process(__file__, name)
    counts = own.pop("counts")
    singly = own.pop("singly")
    rows = (
        Row(("geqlib",), own),
        Row(("geqlib, one by one",), singly),
        Row(("networkx, simple_cycles",), enumeration(molecules, counts), "peer"),
        Row(("networkx, GraphMatcher",), matching(molecules, counts), "peer"),
    )
    for row in rows:
        row.cells["ratio"] = row.number("seconds") / rows[0].number("seconds")  # type: ignore
    size = f"{len(molecules.nodes)} graphs of {molecules.nodes.mean():.1f} nodes"
    return Table((f"cycles of up to eight nodes in {name}, {size}",), COLUMNS, rows, "seconds")


def nci1() -> Molecules:
    arrays = tu_arrays("NCI1")
    return Molecules(arrays["edge_index"], arrays["nodes"], arrays["edges"])


def zinc_size() -> Molecules:
    chem = extra_module("rdkit.Chem", "molecules")
    (path,) = find_files(["MoleculeNet/lipo/raw/Lipophilicity.csv"])
    with path.open(newline="") as file:
        read = [chem.MolFromSmiles(row["smiles"]) for row in csv.DictReader(file)]
    molecules = [m for m in read if FEWEST <= m.GetNumAtoms() <= MOST]
    ends = [[(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in m.GetBonds()] for m in molecules]
    edges = [np.array([*pairs, *(pair[::-1] for pair in pairs)]).T for pairs in ends]
    nodes = np.array([m.GetNumAtoms() for m in molecules])
    return Molecules(np.concatenate(edges, 1), nodes, np.array([e.shape[1] for e in edges]))


SETS = {"NCI1": nci1, "lipo": zinc_size}


def ours(molecules: Molecules) -> dict[str, Any]:
    """Seconds for all graphs, and the counts of every 40th as lists."""
    nodes, edges = molecules.nodes, molecules.edges
    shift = np.repeat(nodes.cumsum() - nodes, edges)
    index = torch.from_numpy(molecules.edge_index + shift)
    node_ptr, edge_ptr = (np.concatenate([[0], sizes.cumsum()]) for sizes in (nodes, edges))
    begin, parts = time.process_time(), []
    for first in range(0, len(nodes), BATCH):
        last = min(first + BATCH, len(nodes))
        a, b = node_ptr[first], node_ptr[last]
        parts.append(cycles(index[:, edge_ptr[first] : edge_ptr[last]] - a, int(b - a)))
    seconds = time.process_time() - begin
    counts = torch.cat(parts).split(nodes.tolist())[::STRIDE]
    return {
        "seconds": seconds,
        "rate": len(nodes) / seconds,
        "singly": one_by_one(molecules),
        "counts": [part.tolist() for part in counts],
    }


def cycles(edge_index: Tensor, nodes: int) -> Tensor:
    """[N, sizes] cycles through every node."""
    counter = Counter(simple_graphs(edge_index, nodes))
    patterns = [as_pattern(f"C{size}").rooted(0) for size in range(SMALLEST, LARGEST + 1)]
    return torch.stack([torch.as_tensor(count_motifs(counter, p)) for p in patterns], 1)


def one_by_one(molecules: Molecules) -> dict[str, float]:
    """As a transform of a data set does it, on every 40th graph."""
    sizes = [f"C{size}" for size in range(SMALLEST, LARGEST + 1)]
    chosen = range(0, len(molecules.nodes), STRIDE)
    graphs = [
        Data(edge_index=torch.from_numpy(molecules.graph(k)), num_nodes=int(molecules.nodes[k]))
        for k in chosen
    ]
    transform, begin = SubgraphCounts(sizes), time.process_time()
    for graph in graphs:
        transform(graph)
    return scaled(time.process_time() - begin, len(graphs), molecules)


def enumeration(molecules: Molecules, expected: Sequence[Any]) -> dict[str, float]:
    """Seconds for all graphs, from every 40th, by the algorithm for cycles."""

    def cycles_of(graph: nx.Graph) -> Iterator[Sequence[int]]:
        yield from nx.simple_cycles(graph, length_bound=LARGEST)

    return peer(cycles_of, lambda size: 1, molecules, expected)


def matching(molecules: Molecules, expected: Sequence[Any]) -> dict[str, float]:
    """Seconds for all graphs, from every 40th, by subgraphs that are isomorphic to a cycle."""

    def cycles_of(graph: nx.Graph) -> Iterator[Sequence[int]]:
        for size in range(SMALLEST, LARGEST + 1):
            matcher = nx.isomorphism.GraphMatcher(graph, nx.cycle_graph(size))
            yield from map(list, matcher.subgraph_monomorphisms_iter())

    return peer(cycles_of, lambda size: 2 * size, molecules, expected)


def peer(
    cycles_of: Callable[[nx.Graph], Iterator[Sequence[int]]],
    times: Callable[[int], int],
    molecules: Molecules,
    expected: Sequence[Any],
) -> dict[str, float]:
    """Seconds for all graphs, from some, whose counts are compared with geqlib's."""
    seconds, chosen = 0.0, range(0, len(molecules.nodes), STRIDE)
    for k in chosen:
        graph = nx.Graph(molecules.graph(k).T.tolist())
        graph.add_nodes_from(range(molecules.nodes[k]))
        begin = time.process_time()
        counts = np.zeros((len(graph), LARGEST - SMALLEST + 1), int)
        for cycle in cycles_of(graph):
            counts[cycle, len(cycle) - SMALLEST] += 1
        seconds += time.process_time() - begin
        counts //= [times(size) for size in range(SMALLEST, LARGEST + 1)]
        if counts.tolist() != expected[k // STRIDE]:
            raise ValueError(f"The counts of graph {k} differ.")
    return scaled(seconds, len(chosen), molecules)


def scaled(seconds: float, graphs: int, molecules: Molecules) -> dict[str, float]:
    total = seconds * len(molecules.nodes) / graphs
    return {"seconds": total, "rate": graphs / seconds}


def large() -> dict[str, float]:
    """Peak memory and seconds of one large graph of bounded degree."""
    node = torch.arange(LARGE)
    ring = torch.cat([torch.stack([node, (node + s) % LARGE]) for s in (1, 2, -1, -2)], 1)
    begin = time.process_time()
    mib = peak_memory(lambda: cycles(ring, LARGE))
    return {"mib": mib, "seconds": time.process_time() - begin}


if __name__ == "__main__":
    start(main)
