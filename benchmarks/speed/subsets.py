"""Gains of all elements at once: one sum for each subset, or each changed subset anew.

Protocol: {sets} sets, {samples} subsets of each, {channels} channels, width {hidden}, the
complement as background, float32, forward and backward, medians of an interleaved run of {rounds}
rounds, one thread. Peak memory is the rise of a fresh process's maximum resident size over one
step, after a step on sets of 2. Each changed subset anew up to sets of {largest}: pairs of elements
grow with the squares of sizes, and memory with them, where that of one sum grows with the elements.

    python benchmarks/speed/subsets.py [--sizes 20 40]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch_geometric.nn.aggr import SumAggregation

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.measure import in_own_process, interleaved, peak_memory
from benchmarks.provenance import start
from benchmarks.rows import Cell, Column, Row, Table, measured
from benchmarks.tables import drawn, markdown, publish
from geqlib.subsets.function import SetFunction

SETS, SAMPLES, CHANNELS, HIDDEN, ROUNDS = 4, 5, 32, 64, 5
SIZES = (50, 100, 200, 400, 1000)
LARGEST = 200  # of each changed subset anew
COLUMNS = (
    Column("seconds", "time", "ms", ".1f", 1e3),
    Column("memory", "peak memory", "MiB", ".0f"),
    Column("each", "of that for each element", "KiB", ".0f"),
)


class AnewAggregation(SumAggregation):
    """A sum that the set function does not know to be one."""


SUM = "one sum"
METHODS = {SUM: "sum", "each subset anew": AnewAggregation()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES))
    parser.add_argument("--memory", nargs=2, help="of one size and method alone, as JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.memory:
        size, method = options.memory
        step(2, method)()
        sys.stdout.write(json.dumps(peak_memory(step(int(size), method))) + "\n")
        return
    rows = [row for size in options.sizes for row in rows_of(size)]
    table = Table(("elements of a set", ""), COLUMNS, tuple(rows), "seconds")
    if options.sizes == list(SIZES):
        publish(measured("speed/subsets", __doc__, [table]))
    else:
        sys.stdout.write(markdown(*drawn(table)))


def rows_of(size: int) -> list[Row]:
    methods = [name for name in METHODS if name == SUM or size <= LARGEST]
    seconds = interleaved({name: step(size, name) for name in methods}, ROUNDS)
    rows = []
    for name in methods:
        peak = in_own_process(__file__, "--memory", str(size), name)
        each = 1024 * peak / (SETS * size)
        cells: dict[str, Cell] = {"seconds": seconds[name], "memory": peak, "each": each}
        rows.append(Row((str(size), name), cells))
    return rows


def step(size: int, method: str) -> Callable[[], None]:
    torch.manual_seed(0)
    value = SetFunction(2, CHANNELS, hidden=HIDDEN, background="complement", aggr=METHODS[method])
    batch = torch.arange(SETS).repeat_interleave(size)
    x = torch.randn(len(batch), 2)
    subsets = (torch.rand(len(batch), SAMPLES) < 0.5).float()

    def run() -> None:
        value.zero_grad(set_to_none=True)
        value.gains(x, subsets, batch, SETS).square().sum().backward()

    return run


if __name__ == "__main__":
    start(main)
