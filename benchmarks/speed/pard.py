"""A training step of PARD: all blocks at once, or a graph for each block.

Protocol: {graphs} grids of {side} x {side} nodes, K 1, {channels} and {pair_channels} channels,
{layers} layers, float32; losses and gradients of all parameters, plans steps before; medians of an
interleaved run of {rounds} rounds, one thread. Peak memory is the rise of a fresh process's maximum
resident size over one step, after a step on a grid of 2 x 2 nodes. One block after the other takes
the time of a graph for each block at least.

    python benchmarks/speed/pard.py [--side 5]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

import networkx as nx
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.measure import in_own_process, interleaved, peak_memory
from benchmarks.provenance import start
from benchmarks.rows import Column, Row, Table, measured
from benchmarks.tables import drawn, markdown, publish
from geqlib.data import GraphGeneration
from geqlib.models import PARD

GRAPHS, SIDE, ROUNDS = 5, 8, 5
CHANNELS, PAIR_CHANNELS, LAYERS = 64, 32, 4
MODES = {"parallel": "all blocks at once", "prefixes": "a graph for each block"}
COLUMNS = (
    Column("seconds", "time", "s", ".2f"),
    Column("memory", "peak memory", "MiB", ".0f"),
    Column("pairs", "pairs of nodes"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--side", type=int, default=SIDE)
    parser.add_argument("--memory", choices=MODES, help="of one mode alone, as JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.memory:
        sys.stdout.write(json.dumps(memory(options.memory, options.side)) + "\n")
        return
    steps = {mode: step(mode, options.side) for mode in MODES}
    seconds = interleaved({mode: run for mode, (run, _) in steps.items()}, ROUNDS)
    rows = []
    for mode, name in MODES.items():
        peak = in_own_process(__file__, "--side", str(options.side), "--memory", mode)
        cells = {"seconds": seconds[mode], "memory": peak, "pairs": steps[mode][1]}
        rows.append(Row((name,), cells))
    table = Table((f"{GRAPHS} grids",), COLUMNS, tuple(rows), "seconds")
    if options.side == SIDE:
        publish(measured("speed/pard", __doc__, [table]))
    else:
        sys.stdout.write(markdown(*drawn(table)))


def step(training: str, side: int) -> tuple[Callable[[], None], int]:
    """A training step, and how many pairs of copies the denoiser works on."""
    grid = nx.convert_node_labels_to_integers(nx.grid_2d_graph(side, side))
    data = GraphGeneration.from_networkx([grid] * (3 * GRAPHS))
    data.setup()
    batch = data.splits["train"].__getitems__(range(GRAPHS))
    torch.manual_seed(0)
    sizes = {"channels": CHANNELS, "pair_channels": PAIR_CHANNELS, "layers": LAYERS}
    net = PARD(*data.limits(1), training=training, **sizes)
    plan = net.plan(batch.edge_index, len(batch.x), batch.batch, GRAPHS)

    def run() -> None:
        net.zero_grad(set_to_none=True)
        losses = net(batch.x, batch.edge_index, None, batch.batch, GRAPHS, plan)
        (losses.divergence + losses.entropy + losses.sizes).mean().backward()

    return run, len(plan.drawn.pairs.row)


def memory(training: str, side: int) -> float:
    """MiB of one step."""
    step(training, 2)[0]()
    return peak_memory(step(training, side)[0])


if __name__ == "__main__":
    start(main)
