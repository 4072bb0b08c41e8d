"""Which of BREC's 400 pairs do exact features separate, without training?

Protocol: whole numbers, compared exactly, on the pairs of Wang and Zhang (ICML 2024) and on a
random isomorphic copy of every graph. A pair counts as separated if the features of its graphs
differ; a row whose copies differ is void. Colours are refined until their number stays the same:
1-WL by the multiset of (colour of the pair, colour of the other node) around every node, folklore
2-WL by that of (colour of u-w, colour of w-v) over all w for every pair of nodes. Multisets are
compared by sums of random numbers modulo 2^64, where a collision can hide a difference and never
make one. Counts are those of geqlib.motifs: Q5 is the one polynomial of degree 5 that PPGN does not
compute, degree 6 adds eleven more, and cliques are those of {smallest} to {largest} nodes.

    python benchmarks/accuracy/brec_exact.py [--parts basic regular ...]
"""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.progress import track

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.provenance import start
from benchmarks.rows import Column, Row, Table, measured
from benchmarks.tables import drawn, markdown, publish
from geqlib.data.graphs.expressivity import BREC_PARTS, GraphPairs, PlainGraph, graph_pairs
from geqlib.motifs.homomorphisms import Counter, simple_graphs
from geqlib.motifs.orbits import orbit_adjacencies
from geqlib.motifs.patterns import as_pattern
from geqlib.motifs.polynomials import missing_polynomials, pair_polynomials

SMALLEST, LARGEST = 3, 6
MOST_STEPS = 1e13  # the bound knows nothing of how few cliques there are
# BREC's "regular" is two kinds of pairs
PARTS = {"basic": 60, "simple regular": 50, "strongly regular": 50} | {
    name: count for name, count in BREC_PARTS.items() if name not in ("basic", "regular")
}
Colours = list[np.ndarray]


@dataclass(frozen=True)
class Four:
    """The two graphs of a pair and a copy of each, as one batch.

    Args:
        counter: of motifs.
        row, column: all ordered pairs of nodes, graph by graph.
        sizes: nodes of each graph.
    """

    counter: Counter
    row: torch.Tensor
    column: torch.Tensor
    sizes: tuple[int, ...]

    def matrices(self, values: torch.Tensor) -> Colours:
        """[n, n] numbers of the different rows of values [P, ...], the same in all four graphs."""
        table = values.reshape(len(values), -1).numpy()
        kinds = np.unique(table, axis=0, return_inverse=True)[1].reshape(-1)
        parts = np.split(kinds, np.cumsum([n * n for n in self.sizes])[:-1])
        return [part.reshape(n, n) for part, n in zip(parts, self.sizes, strict=True)]


def four(one: PlainGraph, two: PlainGraph, rng: np.random.Generator) -> Four:
    graphs = (one, two, one.relabelled(rng), two.relabelled(rng))
    sizes = tuple(len(graph.kind) for graph in graphs)
    ptr = np.concatenate([[0], np.cumsum(sizes)])
    edges = np.concatenate([g.edge_index + s for g, s in zip(graphs, ptr, strict=False)], 1)
    batch = torch.arange(4).repeat_interleave(torch.tensor(sizes))
    pairs = [np.indices((n, n)).reshape(2, -1) + s for n, s in zip(sizes, ptr, strict=False)]
    row, column = torch.from_numpy(np.concatenate(pairs, 1))
    simple = simple_graphs(torch.from_numpy(edges), int(ptr[-1]), batch, 4)
    return Four(Counter(simple, MOST_STEPS), row, column, sizes)


def adjacency(batch: Four) -> torch.Tensor:
    """[P, 2] edge or not, one node or two."""
    nodes = batch.counter.graphs.num_nodes
    source, target = batch.counter.graphs.edge_index
    edge = torch.isin(batch.row * nodes + batch.column, source * nodes + target)
    return torch.stack([edge, batch.row == batch.column], 1).long()


def colour_refinement(batch: Four) -> bool | None:
    return _refined_nodes(batch.matrices(adjacency(batch)))


def graphlet_degrees(batch: Four) -> bool | None:
    pairs, counts = orbit_adjacencies(batch.counter.graphs)
    degrees = counts.new_zeros(batch.counter.graphs.num_nodes, counts.size(1))
    degrees.index_add_(0, pairs[0], counts)
    same = (batch.row == batch.column)[:, None]
    values = torch.cat([adjacency(batch), degrees[batch.row] * same], 1)
    return _refined_nodes(batch.matrices(values))


def orbits(batch: Four) -> bool | None:
    pairs, counts = orbit_adjacencies(batch.counter.graphs)
    nodes = batch.counter.graphs.num_nodes
    key, every = pairs[0] * nodes + pairs[1], batch.row * nodes + batch.column
    values = counts.new_zeros(len(every), counts.size(1))
    values[torch.searchsorted(every, key)] = counts
    return _refined_nodes(batch.matrices(torch.cat([adjacency(batch), values], 1)))


def folklore(batch: Four) -> bool | None:
    return _refined_pairs(batch.matrices(adjacency(batch)))


def with_q5(batch: Four) -> bool | None:
    return _refined_pairs(batch.matrices(_polynomials(batch, 5)))


def with_degree_6(batch: Four) -> bool | None:
    return _refined_pairs(batch.matrices(_polynomials(batch, 6)))


def cliques(batch: Four) -> bool | None:
    sizes = range(SMALLEST, LARGEST + 1)
    counts = [batch.counter.of_graphs(as_pattern(f"K{size}")) for size in sizes]
    return _outcome(list(torch.stack(counts, 1).numpy()))


def with_q5_and_cliques(batch: Four) -> bool | None:
    outcomes = with_q5(batch), cliques(batch)
    return None if None in outcomes else any(outcomes)


FEATURES: dict[str, Callable[[Four], bool | None]] = {
    "1-WL": colour_refinement,
    "graphlet degrees, 1-WL": graphlet_degrees,
    "28 orbit adjacencies, 1-WL": orbits,
    "cliques": cliques,
    "folklore 2-WL": folklore,
    "folklore 2-WL, Q5": with_q5,
    "folklore 2-WL, degree 6": with_degree_6,
    "folklore 2-WL, Q5, cliques": with_q5_and_cliques,
}


def main() -> None:
    parser = ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    table = compared(graph_pairs("BREC"), options.parts)
    if options.parts == list(PARTS):
        publish(measured("accuracy/brec_exact", __doc__, [table]))
    else:
        sys.stdout.write(markdown(*drawn(table)))


def compared(pairs: GraphPairs, parts: Sequence[str]) -> Table:
    cells = {name: dict.fromkeys((*parts, "pairs", "copies", "minutes"), 0.0) for name in FEATURES}
    first, rng = 0, np.random.default_rng(0)
    for part, count in PARTS.items():
        numbers = range(first, first + count)
        first += count
        if part not in parts:
            continue
        for number in track(numbers, part):
            batch = four(*(pairs.graphs[k] for k in pairs.pairs[number]), rng)
            for name, feature in FEATURES.items():
                begin = time.process_time()
                outcome = feature(batch)
                of_feature = cells[name]
                of_feature[part] += outcome is True
                of_feature["pairs"] += outcome is True
                of_feature["copies"] += outcome is None
                of_feature["minutes"] += (time.process_time() - begin) / 60
    columns = [Column(part, f"{part} (of {PARTS[part]})", "", ".0f") for part in parts]
    columns += [
        Column("pairs", f"all (of {sum(PARTS[part] for part in parts)})", "", ".0f"),
        Column("copies", "copies separated", "", ".0f"),
        Column("minutes", "time on one core", "minutes", ".1f"),
    ]
    rows = tuple(Row((name,), {**counts}) for name, counts in cells.items())
    note = "Counts are shared between rows, so that a row that comes later costs less."
    return Table(("exact features",), tuple(columns), rows, "pairs", note)


def _polynomials(batch: Four, degree: int) -> torch.Tensor:
    """[P, 2 + K] adjacency and the polynomials that PPGN does not compute."""
    graphs = batch.counter.graphs
    values = pair_polynomials(graphs, degree, batch.row, batch.column)
    assert values.size(1) == sum(len(missing_polynomials(k)) for k in range(1, degree + 1))
    return torch.cat([adjacency(batch), values.long()], 1)


def _refined_pairs(colours: Colours) -> bool | None:
    """Folklore 2-WL from these colours of pairs."""
    rng, count = np.random.default_rng(0), 0
    while _outcome(_histograms(colours)) is False and _kinds(colours) > count:
        count = _kinds(colours)
        left, right = rng.integers(0, 2**63, (2, count)).astype(np.uint64)
        colours = _recoloured(colours, [left[c] @ right[c] for c in colours])
    return _outcome(_histograms(colours))


def _refined_nodes(pairs: Colours) -> bool | None:
    """1-WL on a complete graph whose edges have these colours, and its nodes those of loops."""
    rng, count = np.random.default_rng(0), 0
    signs = rng.integers(0, 2**63, _kinds(pairs)).astype(np.uint64)
    hashed, colours = [signs[c] for c in pairs], [np.diagonal(c) for c in pairs]
    while (
        _outcome(_histograms(colours)) is False and len(np.unique(np.concatenate(colours))) > count
    ):
        count = len(np.unique(np.concatenate(colours)))
        other = rng.integers(0, 2**63, _kinds(colours)).astype(np.uint64)
        around = [h @ other[c] for h, c in zip(hashed, colours, strict=True)]
        colours = _recoloured(colours, around)
    return _outcome(_histograms(colours))


def _kinds(colours: Colours) -> int:
    return 1 + max(int(c.max()) for c in colours)


def _recoloured(colours: Colours, around: Sequence[np.ndarray]) -> Colours:
    """Numbers of the different (colour, sum around), the same in all graphs."""
    old = np.concatenate([c.reshape(-1) for c in colours])
    signs = np.random.default_rng(1).integers(0, 2**63, _kinds(colours)).astype(np.uint64)
    new = np.concatenate([a.reshape(-1) for a in around])
    kinds = np.unique(signs[old] + new, return_inverse=True)[1].reshape(-1)
    parts = np.split(kinds, np.cumsum([c.size for c in colours])[:-1])
    return [part.reshape(c.shape) for part, c in zip(parts, colours, strict=True)]


def _histograms(colours: Colours) -> Colours:
    return [np.bincount(c.reshape(-1), minlength=_kinds(colours)) for c in colours]


def _outcome(features: Sequence[np.ndarray]) -> bool | None:
    """Whether the two graphs differ; None if a graph differs from its copy."""
    one, two, copy_one, copy_two = features
    if not (np.array_equal(one, copy_one) and np.array_equal(two, copy_two)):
        return None
    return not np.array_equal(one, two)


if __name__ == "__main__":
    start(main)
