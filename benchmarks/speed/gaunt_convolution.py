"""Convolutions over edges, by degree: Gaunt products on a grid, e3nn's products, SO(2).

Protocol: {nodes} nodes with {neighbors} neighbours each, {channels} channels, float32, features,
edge harmonics and outputs of natural parity to degree L; forward and backward to features,
directions and weights of the edges. The Gaunt convolution has a weight for each edge, degree and
channel. Beside it e3nn's `uvu` product with a weight for each edge, path and channel (the paths
that Gaunt products have) and a linear map of its outputs, `FullyConnectedTensorProduct` with
matrices that all edges share, and eSCN's SO(2) convolution. Medians of an interleaved run; peak
memory is the rise of a fresh process's maximum resident size over one step, after a step on four
nodes that loads all code. e3nn's products are left out above degrees at which building them takes
minutes.

The second table is why GauntNet sums its messages in another way: from features of low degree to
messages of degree 3, matrix products over the slots of each node against the sum on a grid.

    python benchmarks/speed/gaunt_convolution.py [ROUNDS] [DEGREES ...]

The rows of degrees that are not named stay what they were.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.measure import in_own_process, interleaved, peak_memory
from benchmarks.peers.edge_convolutions import ProductConvolution, SO2Convolution
from benchmarks.provenance import start
from benchmarks.rows import Column, Row, Table, joined, measured
from benchmarks.tables import publish
from geqlib.gaunt.interaction import natural_irreps
from geqlib.gaunt.neighbor_messages import NeighborMessages
from geqlib.nn import GauntConvolution
from geqlib.sphere.harmonics import spherical_harmonics

CHANNELS, NODES, NEIGHBORS = 32, 256, 16
FORMS = {"grid": 10}  # and the highest degree of each
COLUMNS = (
    Column("seconds", "time", "ms", ".1f", 1e3),
    Column("memory", "peak memory", "MiB", ".1f"),
)
E3NN = {"uvu": 6, "full": 4}
SO2 = "SO(2)"
MESSAGE_DEGREE, FEATURE_DEGREES = 3, (0, 1, 2, 3)
WAYS = ("slots", "grid")


def contestants(degree: int) -> list[str]:
    names = [name for name, top in (FORMS | E3NN).items() if degree <= top]
    return [*names, SO2]


def step(name: str, degree: int, nodes: int = NODES) -> Callable[[], None]:
    """Forward and backward."""
    torch.manual_seed(0)
    irreps = "+".join(f"{CHANNELS}x{n}{'eo'[n % 2]}" for n in range(degree + 1))
    shape: tuple[int, ...] = (degree + 1, CHANNELS)
    if name in FORMS:
        layer: Any = GauntConvolution(irreps, irreps, degree, method=name)  # type: ignore
    else:
        peers = {SO2: lambda: SO2Convolution(CHANNELS, degree)}
        build = peers.get(name, lambda: ProductConvolution(CHANNELS, degree, full=name == "full"))
        layer = build()
        shape = (layer.weights,)
    edges = nodes * NEIGHBORS
    x = torch.randn(nodes, CHANNELS * (degree + 1) ** 2, requires_grad=True)
    direction = torch.nn.functional.normalize(torch.randn(edges, 3), dim=1).requires_grad_()
    weight = torch.randn(edges, *shape, requires_grad=True)
    source = torch.randint(nodes, (edges,))
    edge_index = torch.stack([source, torch.arange(nodes).repeat_interleave(NEIGHBORS)])
    leaves = [x, direction, weight, *layer.parameters()]

    def run() -> None:
        for leaf in leaves:
            leaf.grad = None
        layer(x, direction, weight, edge_index).square().mean().backward()

    return run


def measure(degree: int, rounds: int) -> dict[str, dict[str, float]]:
    names = contestants(degree)
    seconds = interleaved({name: step(name, degree) for name in names}, rounds)
    return {
        name: {
            "seconds": seconds[name],
            "memory": in_own_process(__file__, "--memory", name, str(degree)),
        }
        for name in names
    }


def message_step(way: str, degree: int) -> Callable[[], None]:
    """Forward and backward of messages from features up to `degree`, as GauntNet makes them."""
    torch.manual_seed(0)
    irreps = natural_irreps(CHANNELS, degree), natural_irreps(CHANNELS, MESSAGE_DEGREE)
    x = torch.randn(NODES, irreps[0].dim, requires_grad=True)
    direction = torch.nn.functional.normalize(torch.randn(NODES * NEIGHBORS, 3), dim=1)
    direction.requires_grad_()
    weight = torch.randn(NODES * NEIGHBORS, MESSAGE_DEGREE + 1, CHANNELS, requires_grad=True)
    source = torch.randint(NODES, (NODES, NEIGHBORS))
    target = torch.arange(NODES).repeat_interleave(NEIGHBORS)
    edge_index = torch.stack([source.flatten(), target])
    by_slots = NeighborMessages(*irreps, MESSAGE_DEGREE)
    on_grid = GauntConvolution(*irreps, MESSAGE_DEGREE)

    def slots() -> torch.Tensor:
        components = x.view(NODES, -1, CHANNELS).transpose(0, 1)
        harmonics = spherical_harmonics(MESSAGE_DEGREE, direction)
        edges = (t.unflatten(0, (NODES, NEIGHBORS)) for t in (harmonics, weight))
        return by_slots(components, *edges, source)

    def run() -> None:
        for leaf in (x, direction, weight):
            leaf.grad = None
        y = slots() if way == "slots" else on_grid(x, direction, weight, edge_index)
        y.square().mean().backward()

    return run


def messages(rounds: int) -> Table:
    rows = []
    for degree in FEATURE_DEGREES:
        seconds = interleaved({way: message_step(way, degree) for way in WAYS}, rounds)
        rows.append(Row((str(degree),), seconds, "geqlib"))
    columns = tuple(Column(way, f"by {way}", "ms", ".1f", 1e3) for way in WAYS)
    return Table(("degree of the features",), columns, tuple(rows), "slots")


def main() -> None:
    if len(sys.argv) == 4 and sys.argv[1] == "--memory":
        name, degree = sys.argv[2], int(sys.argv[3])
        step(name, degree, nodes=4)()
        sys.stdout.write(json.dumps(peak_memory(step(name, degree))) + "\n")
        return
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    degrees = [int(word) for word in sys.argv[2:]] or [2, 4, 6, 8, 10]
    rows = [
        own_row(str(degree), name, cells)
        for degree in degrees
        for name, cells in measure(degree, rounds).items()
    ]
    table = joined("speed/gaunt_convolution", compared(rows))
    in_order = tuple(sorted(table.rows, key=lambda row: int(row.labels[0])))
    tables = [replace(table, rows=in_order), messages(rounds)]
    publish(measured("speed/gaunt_convolution", __doc__, tables))


def own_row(degree: str, name: str, cells: dict[str, float]) -> Row:
    titles = {form: f'`GauntConvolution`, "{form}"' for form in FORMS}
    titles |= {"uvu": "e3nn `uvu`", "full": "e3nn `FullyConnectedTensorProduct`", SO2: "SO(2)"}
    origin = "geqlib" if name not in (*E3NN, SO2) else "peer"
    return Row((degree, titles[name]), cells, origin)


def compared(rows: list[Row]) -> Table:
    return Table(("L", "forward and backward, 4096 edges"), COLUMNS, tuple(rows), "seconds")


if __name__ == "__main__":
    start(main)
