"""A reduction by the symmetric GRU, against torch_geometric's aggregations.

Protocol: forward and backward of the sum of squares, {channels} channels, float32, CPU, inputs
asking for gradients; sorted index; torch_geometric is told the number of sets and the largest size;
geqlib once with the plan made in the step (in the order that training takes: at random) and once
with the plan of an earlier layer. Ratios of medians of one interleaved run. Peak memory is the rise
of a fresh process's maximum resident size over one step, after a step on two small sets.

    python benchmarks/speed/monoid.py [rounds]
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch_geometric.nn.aggr import GRUAggregation, LCMAggregation

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.measure import in_own_process, interleaved, peak_memory
from benchmarks.provenance import start
from benchmarks.rows import Cell, Column, Row, Table, measured
from benchmarks.tables import publish
from geqlib.monoid.tree import tree_plan
from geqlib.nn import MonoidAggregation

CHANNELS = 64
SIZES: dict[str, list[int]] = {
    "1000 sets of 16": [16] * 1000,
    "1000 sets of 1-8": [1 + i % 8 for i in range(1000)],
    "200 among 500 of 1-8": [200] + [1 + i % 8 for i in range(500)],
    "one set of 200": [200],
    "50 sets of 200": [200] * 50,
}
COLUMNS = (
    Column("seconds", "forward and backward", "ms", ".1f", 1e3),
    Column("ratio", "times geqlib's", "", ".2f"),
    Column("memory", "peak memory", "MiB", ".0f"),
)
OURS, PLANNED, LCM, GRU = "geqlib", "geqlib, planned", "LCMAggregation", "GRUAggregation"


def steps(sizes: list[int]) -> dict[str, Callable[[], None]]:
    """One forward and backward of each implementation."""
    torch.manual_seed(0)
    index = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    x = torch.randn(len(index), CHANNELS, requires_grad=True)
    ours = MonoidAggregation(CHANNELS, operator="gru")
    lcm = LCMAggregation(CHANNELS, CHANNELS, project=False)
    gru = GRUAggregation(CHANNELS, CHANNELS)
    padded = {"dim_size": len(sizes), "max_num_elements": max(sizes)}
    plan = tree_plan(index, len(sizes))

    def step(run: Callable[[], torch.Tensor]) -> None:
        x.grad = None
        run().square().sum().backward()

    return {
        OURS: lambda: step(lambda: ours(x, index, dim_size=len(sizes))),
        PLANNED: lambda: step(lambda: ours(x, plan=plan)),
        LCM: lambda: step(lambda: lcm(x, index, **padded)),
        GRU: lambda: step(lambda: gru(x, index, **padded)),
    }


def main() -> None:
    if len(sys.argv) == 4 and sys.argv[1] == "--memory":
        steps([3, 2])[sys.argv[3]]()
        sys.stdout.write(json.dumps(peak_memory(steps(SIZES[sys.argv[2]])[sys.argv[3]])) + "\n")
        return
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    seconds = {name: interleaved(steps(sizes), rounds) for name, sizes in SIZES.items()}
    names = (OURS, LCM, GRU)
    memory = {
        sets: {name: in_own_process(__file__, "--memory", sets, name) for name in names}
        for sets in SIZES
    }
    table = compared(seconds, memory)
    publish(measured("speed/monoid", __doc__, [table], {"rounds": rounds}))


def compared(seconds: dict[str, dict[str, float]], memory: dict[str, dict[str, float]]) -> Table:
    rows = []
    for sets, of_sets in seconds.items():
        for name, time in of_sets.items():
            cells: dict[str, Cell] = {"seconds": time, "ratio": time / of_sets[OURS]}
            if name in memory[sets]:
                cells["memory"] = memory[sets][name]
            origin = "geqlib" if name.startswith(OURS) else "peer"
            rows.append(Row((sets, name), cells, origin))
    return Table(("sets", ""), COLUMNS, tuple(rows), "seconds")


if __name__ == "__main__":
    start(main)
