"""Counts of cycles around every node of NCI1, against enumeration by networkx.

Protocol: cycles of {smallest} to {largest} nodes through every node of all graphs of NCI1, one CPU
thread, time of the process without reading the data. geqlib counts batches of {batch} graphs, and
finds orders of elimination anew in a process of its own; networkx enumerates simple cycles of that
length graph by graph, on every {stride}th graph. Both counts are compared on these. Large: the same
counts on a ring of {large} nodes, each joined to the four nearest, and the peak of memory.

    python benchmarks/speed/motifs.py
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.measure import in_own_process, peak_memory
from benchmarks.provenance import start
from benchmarks.rows import Column, Row, Table, measured
from benchmarks.tables import publish
from geqlib.data.graphs.tu import tu_arrays
from geqlib.motifs.counts import count_motifs
from geqlib.motifs.homomorphisms import Counter, simple_graphs
from geqlib.motifs.patterns import as_pattern

SMALLEST, LARGEST = 3, 8
BATCH, STRIDE, LARGE = 256, 40, 100_000


def main() -> None:
    torch.set_num_threads(1)
    if "--count" in sys.argv:
        sys.stdout.write(json.dumps(nci1()) + "\n")
        return
    if "--large" in sys.argv:
        sys.stdout.write(json.dumps(large()) + "\n")
        return
    ours: Any = in_own_process(__file__, "--count")
    theirs = enumeration(ours.pop("counts"))
    rows = (
        Row(("geqlib",), ours),
        Row(("networkx, simple_cycles",), theirs, "peer"),
    )
    columns = (
        Column("seconds", "all graphs", "s", ".1f"),
        Column("rate", "graphs a second", "", ".0f"),
        Column("ratio", "times geqlib's", "", ".0f"),
    )
    for row in rows:
        row.cells["ratio"] = row.number("seconds") / rows[0].number("seconds")  # type: ignore
    table = Table(("cycles of up to eight nodes in NCI1",), columns, rows, "seconds")
    one: Any = in_own_process(__file__, "--large")
    memory = Table(
        (f"the same in a graph of {LARGE} nodes",),
        (Column("mib", "peak memory", "MiB", ".0f"), Column("seconds", "time", "s", ".1f")),
        (Row(("geqlib",), one),),
    )
    publish(measured("speed/motifs", __doc__, [table, memory]))


def nci1() -> dict[str, Any]:
    """Seconds for all graphs, and the counts of every 40th as lists."""
    arrays = tu_arrays("NCI1")
    nodes, edges = arrays["nodes"], arrays["edges"]
    shift = np.repeat(nodes.cumsum() - nodes, edges)
    index = torch.from_numpy(arrays["edge_index"] + shift)
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
        "counts": [part.tolist() for part in counts],
    }


def cycles(edge_index: Tensor, nodes: int) -> Tensor:
    """[N, sizes] cycles through every node."""
    counter = Counter(simple_graphs(edge_index, nodes))
    patterns = [as_pattern(f"C{size}").rooted(0) for size in range(SMALLEST, LARGEST + 1)]
    return torch.stack([torch.as_tensor(count_motifs(counter, p)) for p in patterns], 1)


def enumeration(ours: list[list[list[int]]]) -> dict[str, Any]:
    """Seconds for all graphs, from those of every 40th."""
    arrays = tu_arrays("NCI1")
    ptr = np.concatenate([[0], arrays["edges"].cumsum()])
    seconds = 0.0
    for k, expected in zip(range(0, len(arrays["nodes"]), STRIDE), ours, strict=True):
        graph = nx.Graph(arrays["edge_index"][:, ptr[k] : ptr[k + 1]].T.tolist())
        graph.add_nodes_from(range(arrays["nodes"][k]))
        begin = time.process_time()
        counts = np.zeros((len(graph), LARGEST - SMALLEST + 1), int)
        for cycle in nx.simple_cycles(graph, length_bound=LARGEST):
            counts[cycle, len(cycle) - SMALLEST] += 1
        seconds += time.process_time() - begin
        if counts.tolist() != expected:
            raise ValueError(f"The counts of graph {k} differ.")
    total = seconds * len(arrays["nodes"]) / len(ours)
    return {"seconds": total, "rate": len(arrays["nodes"]) / total}


def large() -> dict[str, float]:
    """Peak memory and seconds of one large graph of bounded degree."""
    node = torch.arange(LARGE)
    ring = torch.cat([torch.stack([node, (node + s) % LARGE]) for s in (1, 2, -1, -2)], 1)
    begin = time.process_time()
    mib = peak_memory(lambda: cycles(ring, LARGE))
    return {"mib": mib, "seconds": time.process_time() - begin}


if __name__ == "__main__":
    start(main)
