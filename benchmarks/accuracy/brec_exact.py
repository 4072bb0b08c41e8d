"""Which of BREC's 400 pairs do exact features separate, without training?

Protocol: whole numbers, compared exactly, on the pairs of Wang and Zhang (ICML 2024) and on a
random isomorphic copy of every graph. A pair counts as separated if the features of its graphs
differ; a row whose copies differ is void. Colours are refined until their number stays the same:
1-WL by the multiset of (colour of the pair, colour of the other node) around every node, folklore
2-WL by that of (colour of u-w, colour of w-v) over all w for every pair of nodes. Multisets are
compared by sums of random numbers modulo 2^64, where a collision can hide a difference and never
make one. Counts are those of geqlib.motifs: Q5 is the one polynomial of degree 5 that PPGN does not
compute, degree 6 adds eleven more, and cliques are those of 3 to 6 nodes.

    python benchmarks/accuracy/brec_exact.py [--parts basic regular ...]
"""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.progress import track

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.provenance import start
from benchmarks.rows import Column, Row, Table, measured
from benchmarks.tables import drawn, markdown, publish
from geqlib.data.graphs.expressivity import BREC_PARTS, GraphPairs, graph_pairs
from geqlib.motifs.exact import FEATURES
from geqlib.train.exact_pairs import pair_and_copies

# BREC's "regular" is two kinds of pairs
PARTS = {"basic": 60, "simple regular": 50, "strongly regular": 50} | {
    name: count for name, count in BREC_PARTS.items() if name not in ("basic", "regular")
}


def main() -> None:
    parser = ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    table = compared(replace(graph_pairs("BREC"), parts=PARTS), options.parts)
    if options.parts == list(PARTS):
        publish(measured("accuracy/brec_exact", __doc__, [table]))
    else:
        sys.stdout.write(markdown(*drawn(table)))


def compared(pairs: GraphPairs, parts: Sequence[str]) -> Table:
    """A row for each of the exact features, a column for each of these parts of the pairs."""
    cells = {name: dict.fromkeys((*parts, "pairs", "copies", "minutes"), 0.0) for name in FEATURES}
    first, rng = 0, np.random.default_rng(0)
    for part, count in pairs.parts.items():
        numbers = range(first, first + count)
        first += count
        if part not in parts:
            continue
        for number in track(numbers, part):
            batch = pair_and_copies(pairs, number, rng)
            for name, feature in FEATURES.items():
                begin = time.process_time()
                outcome = feature(batch)
                of_feature = cells[name]
                of_feature[part] += outcome is True
                of_feature["pairs"] += outcome is True
                of_feature["copies"] += outcome is None
                of_feature["minutes"] += (time.process_time() - begin) / 60
    columns = [Column(part, f"{part} (of {pairs.parts[part]})", "", ".0f") for part in parts]
    columns += [
        Column("pairs", f"all (of {sum(pairs.parts[part] for part in parts)})", "", ".0f"),
        Column("copies", "copies separated", "", ".0f"),
        Column("minutes", "time on one core", "minutes", ".1f"),
    ]
    rows = tuple(Row((name,), {**counts}) for name, counts in cells.items())
    note = "Counts are shared between rows, so that a row that comes later costs less."
    return Table(("exact features",), tuple(columns), rows, "pairs", note)


if __name__ == "__main__":
    start(main)
