"""Soft and hard orders of nodes: do they change under relabelling, and do they jump at ties?

Protocol: P in float64 of {nodes} Gaussian keys, temperature 0.1, steepness 10, Cauchy swaps.
"Shuffled": the largest difference of an entry of P, columns put back, between a set of keys and a
random order of it, its mean and maximum over {shuffles} sets. "Jump": over {ties} sets in which two
keys at random differ by 1e-9, the largest difference of an entry of P from the set in which they
differ by 1e-9 the other way. "Columns": the lowest and highest sum of a column over these sets;
rows sum to 1. "Sorted first" is the odd-even network of keys that were sorted before.

    python benchmarks/accuracy/soft_orders.py [--ties 10000] [--shuffles 1000]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.provenance import start
from benchmarks.rows import Cell, Column, Origin, Row, Table, measured
from benchmarks.tables import drawn, markdown, publish
from geqlib.frames.soft_orders import soft_permutation
from geqlib.frames.sorting_network import odd_even_sort

NODES = (8, 16)
TIES, SHUFFLES = 10_000, 1_000  # by default
GAP, TEMPERATURE, STEEPNESS = 1e-9, 0.1, 10.0
Order = Callable[[Tensor], Tensor]
COLUMNS = (
    Column("shuffled", "shuffled, mean", "", ".0e"),
    Column("shuffled most", "shuffled, largest", "", ".0e"),
    Column("jump", "largest jump", "", ".0e"),
    Column("lowest", "columns from", "", ".2f"),
    Column("highest", "to", "", ".2f"),
)


def network(keys: Tensor) -> Tensor:
    return odd_even_sort(keys, steepness=STEEPNESS)[1]


def sorted_first(keys: Tensor) -> Tensor:
    """P of the sorted keys, times the permutation that sorts them."""
    order = keys.argsort(dim=-1, stable=True)
    place = order.argsort(dim=-1)[..., None, :]
    matrix = network(keys.gather(-1, order))
    return matrix.gather(-1, place.expand_as(matrix))


def hard(keys: Tensor) -> Tensor:
    count = keys.size(-1)
    return torch.eye(count, dtype=keys.dtype)[keys.argsort(dim=-1, stable=True)]


ORDERS: dict[str, Order] = {
    "SoftSort": partial(soft_permutation, relaxation="softsort", temperature=TEMPERATURE),
    "Sinkhorn": partial(soft_permutation, relaxation="sinkhorn", temperature=TEMPERATURE),
    "odd-even": network,
    "odd-even, sorted first": sorted_first,
    "hard": hard,
}


def shuffled(order: Order, keys: Tensor, generator: torch.Generator) -> Tensor:
    """[sets] largest difference of P between keys [sets, n] and a random order of them."""
    permutation = torch.rand(keys.shape, generator=generator).argsort(1)
    expected = order(keys)
    expected = expected.gather(-1, permutation[:, None].expand_as(expected))
    return (order(keys.gather(1, permutation)) - expected).abs().amax((1, 2))


def jumps(order: Order, keys: Tensor, generator: torch.Generator) -> Tensor:
    """[sets] largest difference of P where two keys of [sets, n] tie, between both sides."""
    first, second = torch.rand(keys.shape, generator=generator).argsort(1)[:, :2].T
    sides = []
    for gap in (GAP, -GAP):
        side = keys.clone()
        every = torch.arange(len(keys))
        side[every, first] = keys[every, second] + gap
        sides.append(order(side))
    return (sides[0] - sides[1]).abs().amax((1, 2))


def cells(order: Order, nodes: int, ties: int, shuffles: int) -> dict[str, Cell]:
    generator = torch.Generator().manual_seed(0)
    keys = torch.randn(ties, nodes, generator=generator, dtype=torch.float64)
    change = shuffled(order, keys[:shuffles], generator)
    columns = order(keys).sum(1)
    return {
        "shuffled": float(change.mean()),
        "shuffled most": float(change.max()),
        "jump": float(jumps(order, keys, generator).max()),
        "lowest": float(columns.min()),
        "highest": float(columns.max()),
    }


def table(ties: int, shuffles: int) -> Table:
    rows = tuple(
        Row((str(nodes), name), cells(order, nodes, ties, shuffles), origin(name))
        for nodes in NODES
        for name, order in ORDERS.items()
    )
    return Table(("nodes", "order"), COLUMNS, rows)


def origin(name: str) -> Origin:
    return "geqlib" if name in ("SoftSort", "Sinkhorn") else "peer"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--ties", type=int, default=TIES)
    parser.add_argument("--shuffles", type=int, default=SHUFFLES)
    options = parser.parse_args()
    whole = options.ties == TIES and options.shuffles == SHUFFLES
    found = table(options.ties, options.shuffles)
    if whole:
        publish(measured("accuracy/soft_orders", __doc__, [found]))
    else:
        sys.stdout.write(markdown(*drawn(found)))


if __name__ == "__main__":
    start(main)
