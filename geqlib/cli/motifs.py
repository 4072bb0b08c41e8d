"""`geqlib motifs`: which networks can count a motif, and in how many graphs it occurs."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from geqlib.cli.bar import bar

if TYPE_CHECKING:
    from rich.console import Console

    from geqlib.data.packed import PackedGraphs
    from geqlib.motifs.basis import Basis, Kind
    from geqlib.motifs.patterns import Pattern

DESCRIPTION = """Print the patterns whose homomorphism counts make up the count of a motif, and the
dimension of the folklore WL test that sees it: 1 is message passing, 2 is PPGN."""
NETWORKS = {1: "message passing", 2: "PPGN", 3: "more than PPGN"}
MOST_SHOWN = 12
GRAPHS_AT_ONCE = 256
ADVICE = "name smaller patterns, or leave out --data"


def main(args: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    parser = ArgumentParser("geqlib motifs", description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument("patterns", nargs="+", help='such as C5, P4, K4, star3 or "0-1,1-2,2-0"')
    parser.add_argument("--kind", default="sub", choices=["hom", "sub", "induced"])
    parser.add_argument("--data", help="TU set, such as MUTAG: how many graphs have the motif")
    options = parser.parse_args(args)
    show(options.patterns, options.kind, options.data)
    return 0


def show(
    names: Sequence[str], kind: Kind, data: str | None, console: Console | None = None
) -> None:
    """Print a line for each pattern.

    Raises:
        ValueError: text that means no pattern, or a data set that is not there.
    """
    from rich.console import Console
    from rich.table import Table

    from geqlib.motifs.basis import hom_basis, wl_dimension
    from geqlib.motifs.patterns import as_pattern

    patterns = [as_pattern(name) for name in names]
    having = None if data is None else graphs_with(patterns, kind, data)
    table = Table(title=f"Counts of motifs ({kind}) as sums of homomorphism counts")
    for title in ("motif", "patterns", "WL dimension", "seen by"):
        table.add_column(
            title, justify="right" if title in ("patterns", "WL dimension") else "left"
        )
    if having is not None:
        table.add_column(f"graphs of {data}", justify="right")
    bases = [hom_basis(pattern, kind) for pattern in patterns]
    for k, (name, basis) in enumerate(zip(names, bases, strict=True)):
        dimension = wl_dimension(patterns[k], kind)
        line = [name, str(len(basis)), str(dimension), NETWORKS[min(dimension, 3)]]
        table.add_row(*line, *([] if having is None else [having[k]]))
    console = console or Console()
    console.print(table)
    for name, basis in zip(names, bases, strict=True):
        console.print(f"{name}: {_sum(basis)}", highlight=False)


def graphs_with(patterns: Sequence[Pattern], kind: Kind, name: str) -> list[str]:
    """For each pattern, in how many graphs of a TU set it occurs, as text.

    Raises:
        ValueError: by its number, a graph that is directed, has loops or parallel edges, or costs
            too much.
    """
    import numpy as np

    from geqlib.data.graphs.tu import tu_arrays
    from geqlib.data.packed import PackedGraphs

    arrays = tu_arrays(name)
    node = np.zeros((arrays["nodes"].sum(), 0), np.float32)
    graphs = PackedGraphs(arrays | {"x": node}, {"x": "node"})
    counts = np.zeros(len(patterns), int)
    for start in bar("graphs")(range(0, len(graphs), GRAPHS_AT_ONCE)):
        numbers = range(start, min(start + GRAPHS_AT_ONCE, len(graphs)))
        counts += _graphs_with_each(patterns, kind, graphs, numbers)
    return [f"{count} of {len(graphs)}" for count in counts]


def _graphs_with_each(
    patterns: Sequence[Pattern], kind: Kind, graphs: PackedGraphs, numbers: Sequence[int]
) -> list[int]:
    """Of some graphs, at once or, where there is an error, one by one."""
    import torch

    from geqlib.motifs.counts import count_motifs
    from geqlib.motifs.graphs import simple_graphs
    from geqlib.motifs.homomorphisms import Counter

    batch: Any = graphs.__getitems__(numbers)
    try:
        simple = simple_graphs(batch.edge_index, batch.num_nodes, batch.batch, len(numbers))
        counter = Counter(simple, advice=ADVICE)
        of_graphs = [count_motifs(counter, pattern.rooted(), kind) for pattern in patterns]
    except ValueError as error:
        if len(numbers) == 1:
            raise ValueError(f"Motifs of graph {numbers[0]} are not counted. {error}") from error
        singles = [_graphs_with_each(patterns, kind, graphs, [number]) for number in numbers]
        return [sum(counts) for counts in zip(*singles, strict=True)]
    return [int((torch.as_tensor(count) > 0).sum()) for count in of_graphs]


def _sum(basis: Basis) -> str:
    """The count as a sum, patterns as lists of edges, the largest first."""
    terms = sorted(basis.items(), key=lambda term: (-term[0].nodes, -term[0].degree))
    parts = []
    for pattern, factor in terms[:MOST_SHOWN]:
        edges = ",".join(f"{i}-{j}" for i, j in pattern.edges) or "a node"
        sign = "-" if factor < 0 else "+" if parts else ""
        parts.append(f"{sign} {abs(factor)} hom({edges})")
    rest = [f"and {len(terms) - MOST_SHOWN} more"] if len(terms) > MOST_SHOWN else []
    return " ".join([*parts, *rest]).strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
