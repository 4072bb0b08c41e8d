"""Tensors between local frames: matrices of nodes, matrices of edges, or e3nn's products.

Protocol: {nodes} nodes with {neighbors} neighbours each, {channels} channels of natural parity to
degree L, float32; messages are summed at their targets; forward and backward to features and to the
axes of the frames, for the product to features and directions. `FrameTransport` makes Wigner
matrices of nodes and turns features out of the frame of the source and into that of the target.
Beside it the same messages with a Wigner matrix of each edge's relative rotation, by geqlib's
recurrence and by e3nn's `D_from_matrix`, and what irreps networks do in place of frames, e3nn's
`uvu` product of features with harmonics of edges with weights of each edge and path, and a linear
map. Medians of an interleaved run of {rounds} rounds, one thread; peak memory is the rise of a
fresh process's maximum resident size over one step, after a step on four nodes.

    python benchmarks/speed/frame_transport.py [--degrees 1 2]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.measure import in_own_process, interleaved, peak_memory
from benchmarks.peers.edge_convolutions import ProductConvolution
from benchmarks.peers.edge_wigner import EdgeWigner
from benchmarks.peers.segnn import natural
from benchmarks.provenance import start
from benchmarks.rows import Cell, Column, Row, Table, measured
from benchmarks.tables import drawn, markdown, publish
from geqlib.nn import FrameTransport
from geqlib.symmetry.rotations import random_rotations

NODES, NEIGHBORS, CHANNELS, ROUNDS = 512, 16, 16, 7
DEGREES = (1, 2, 3, 4)
OURS, EDGES, E3NN, PRODUCT = (
    "`FrameTransport`",
    "a matrix of each edge, recurrence",
    "a matrix of each edge, e3nn",
    "e3nn `uvu`",
)
METHODS = (OURS, EDGES, E3NN, PRODUCT)
COLUMNS = (
    Column("seconds", "time", "ms", ".1f", 1e3),
    Column("memory", "peak memory", "MiB", ".0f"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--degrees", nargs="+", type=int, default=list(DEGREES))
    parser.add_argument("--memory", nargs=2, help="of one degree and method alone, as JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.memory:
        degree, method = int(options.memory[0]), options.memory[1]
        step(degree, method, nodes=4)()
        sys.stdout.write(json.dumps(peak_memory(step(degree, method))) + "\n")
        return
    rows = [row for degree in options.degrees for row in rows_of(degree)]
    table = Table(("L", "forward and backward"), COLUMNS, tuple(rows), "seconds")
    if options.degrees == list(DEGREES):
        publish(measured("speed/frame_transport", __doc__, [table]))
    else:
        sys.stdout.write(markdown(*drawn(table)))


def rows_of(degree: int) -> list[Row]:
    seconds = interleaved({name: step(degree, name) for name in METHODS}, ROUNDS)
    rows = []
    for name in METHODS:
        peak = in_own_process(__file__, "--memory", str(degree), name)
        cells: dict[str, Cell] = {"seconds": seconds[name], "memory": peak}
        rows.append(Row((str(degree), name), cells, "geqlib" if name == OURS else "peer"))
    return rows


def step(degree: int, method: str, nodes: int = NODES) -> Callable[[], Tensor]:
    """Forward and backward; returns the sums of messages."""
    torch.manual_seed(0)
    irreps, edges = natural(CHANNELS, degree), nodes * NEIGHBORS
    target = torch.arange(nodes).repeat_interleave(NEIGHBORS)
    edge_index = torch.stack([torch.randint(nodes, (edges,)), target])
    x = torch.randn(nodes, irreps.dim, requires_grad=True)
    axes = random_rotations(nodes, 3).requires_grad_()
    direction = torch.nn.functional.normalize(torch.randn(edges, 3), dim=1).requires_grad_()
    layer, arguments = contestant(method, irreps, degree)
    weight = torch.randn(edges, getattr(layer, "weights", 0))
    leaves = [x, axes, direction, *layer.parameters()]

    def run() -> Tensor:
        for leaf in leaves:
            leaf.grad = None
        if arguments == "product":
            total = layer(x, direction, weight, edge_index)
        else:
            messages = layer(x, axes, edge_index)
            total = torch.zeros_like(x).index_add(0, target, messages)
        total.square().mean().backward()
        return total.detach()

    return run


def contestant(method: str, irreps: Any, degree: int) -> tuple[Any, str]:
    """The layer of a method, and whether it takes "axes" or is a "product" with harmonics."""
    if method == PRODUCT:
        return ProductConvolution(CHANNELS, degree, full=False), "product"
    if method == OURS:
        return FrameTransport(irreps, group="SE(3)"), "axes"
    return EdgeWigner(irreps, e3nn=method == E3NN), "axes"


if __name__ == "__main__":
    start(main)
