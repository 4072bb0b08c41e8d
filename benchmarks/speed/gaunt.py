"""Gaunt products against e3nn, cuequivariance, the published pipeline, and the machine's limits.

Protocol: {nodes} nodes, {channels} channels, float32, irreps of natural parity to degree L in both
inputs and the output, all Gaunt paths, channel by channel (e3nn's `TensorProduct` with uuu);
forward without gradients, and forward and backward to both inputs; medians of one interleaved run
for each number of threads. The published pipeline is written directly
(benchmarks/peers/gaunt_direct.py) and is given the coefficients of each channel in one row. The
limit of a product is the larger of the floating-point operations of its matrix products at the rate
of a 1024 x 1024 one, and the bytes of its inputs and outputs at the rate of a copy, both measured
in the same run.

    python benchmarks/speed/gaunt.py [rounds]
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import torch
from e3nn import o3
from matplotlib.figure import Figure
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.measure import interleaved
from benchmarks.peers import gaunt_cue
from benchmarks.peers.gaunt_direct import DirectGaunt
from benchmarks.provenance import start
from benchmarks.rows import Cell, Column, Row, Table, measured
from benchmarks.tables import publish
from geqlib.nn import GauntTensorProduct

NODES, CHANNELS = 500, 32
AGAINST, SWEEP, METHODS = (2, 4, 6), range(1, 13), (2, 4, 8)
PASSES = ("forward", "forward and backward")
NAMES = ("sparse", "grid", "separable", "fft")
OURS, E3NN, CUE, PUBLISHED = "geqlib, auto", "e3nn", "cuequivariance, CPU", "published, direct"


def irreps(degree: int) -> o3.Irreps:
    return o3.Irreps([(CHANNELS, (n, (-1) ** n)) for n in range(degree + 1)])


def ours(degree: int, method: Any = "auto") -> GauntTensorProduct:
    return GauntTensorProduct(irreps(degree), irreps(degree), irreps(degree), method=method)


def e3nn(degree: int) -> o3.TensorProduct:
    span = range(degree + 1)
    paths = [
        (i, j, k, "uuu", False)
        for i in span
        for j in span
        for k in range(abs(i - j), min(i + j, degree) + 1, 2)
    ]
    return o3.TensorProduct(irreps(degree), irreps(degree), irreps(degree), paths)


def both_passes(fn: Callable[..., Tensor], *shape: int) -> dict[str, Callable[[], object]]:
    """Forward alone, and forward and backward, of a function of two tensors."""
    xy = [torch.randn(shape, requires_grad=True) for _ in range(2)]
    z = torch.randn_like(fn(*xy))

    def forward() -> None:
        with torch.no_grad():
            fn(*xy)

    return {PASSES[0]: forward, PASSES[1]: lambda: torch.autograd.grad(fn(*xy), xy, z)}


def contest(rounds: int) -> tuple[dict[str, float], dict[int, GauntTensorProduct]]:
    """Median seconds by "degree | who | pass", and our products."""
    layers = {degree: ours(degree) for degree in SWEEP}
    runs: dict[str, Callable[[], object]] = {}

    def enter(degree: int, name: str, fn: Callable[..., Tensor], *shape: int) -> None:
        passes = both_passes(fn, *shape)
        runs.update({f"{degree} | {name} | {which}": run for which, run in passes.items()})

    for degree, layer in layers.items():
        shape = NODES, layer.irreps_in1.dim
        enter(degree, OURS, layer, *shape)
        if degree in AGAINST:
            enter(degree, E3NN, e3nn(degree), *shape)
            if gaunt_cue.available():
                enter(degree, CUE, gaunt_cue.product(degree, CHANNELS), *shape)
    enter(4, PUBLISHED, DirectGaunt(4), NODES * CHANNELS, 25)
    square, long = torch.randn(1024, 1024), torch.randn(2**24)
    multiplied, copied = torch.empty_like(square), torch.empty_like(long)
    runs["matrix product"] = lambda: torch.mm(square, square, out=multiplied)
    runs["copy"] = lambda: copied.copy_(long)
    return interleaved(runs, rounds), layers


def by_method(rounds: int) -> dict[str, float]:
    """Median seconds of each method, forward and backward, by "degree | method"."""
    runs = {
        f"{degree} | {method}": both_passes(ours(degree, method), NODES, irreps(degree).dim)[
            PASSES[1]
        ]
        for degree in METHODS
        for method in NAMES
        if method != "sparse" or degree <= 4  # minutes above
    }
    return interleaved(runs, rounds)


def limits(layer: GauntTensorProduct, flops: float, bandwidth: float) -> dict[str, float]:
    """Seconds that each pass needs at least."""
    x, y, z = (_operations(transform) for transform in layer.transforms)
    # the least: backward makes all three fields once, and from them both gradients
    counts = {PASSES[0]: x + y + z, PASSES[1]: (x + y + z) + (2 * x + 2 * y + z)}
    size = 4 * NODES * layer.irreps_in1.dim
    moved = {PASSES[0]: 3 * size, PASSES[1]: 8 * size}
    return {
        which: max(counts[which] * NODES * CHANNELS / flops, moved[which] / bandwidth)
        for which in PASSES
    }


def _operations(transform: Any) -> int:
    """Floating-point operations of its matrix products, for one channel of one node."""
    tables = dict(transform.named_buffers(recurse=False))  # "sparse" has no matrices
    count = 0
    for name, table in tables.items():
        if name.startswith(("matrix", "polar_")):
            count += 2 * table.numel()
        if name.startswith("azimuth_"):
            angles = tables[name.replace("azimuth_", "polar_")].size(1)
            count += 2 * table.numel() * angles
    return count


def exponent(seconds: dict[int, float], start: int) -> float:
    """Of the power of L that fits best, by least squares of logarithms from a degree on."""
    pairs = [(log(degree), log(s)) for degree, s in seconds.items() if degree >= start]
    return float(np.polyfit(*zip(*pairs, strict=True), 1)[0])


def main() -> None:
    torch.manual_seed(0)
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 12
    outcomes = {n: timed(rounds, n) for n in sorted({1, torch.get_num_threads()})}
    tables = [
        peer_table({n: seconds for n, (seconds, _) in outcomes.items()}),
        limit_table(outcomes),
        method_table(by_method(max(rounds // 5, 2))),
    ]
    settings = {
        "gigaflops": {n: rates(seconds)[0] / 1e9 for n, (seconds, _) in outcomes.items()},
        "gigabytes per second": {n: rates(s)[1] / 1e9 for n, (s, _) in outcomes.items()},
    }
    picture = "cost against degree"
    publish(measured("speed/gaunt", __doc__, tables, settings, picture), draw(tables))


def timed(rounds: int, threads: int) -> tuple[dict[str, float], dict[int, GauntTensorProduct]]:
    """`contest` with a number of threads."""
    torch.set_num_threads(threads)
    return contest(rounds)


def rates(seconds: dict[str, float]) -> tuple[float, float]:
    """Operations per second of a matrix product, and bytes per second of a copy."""
    return 2 * 1024**3 / seconds["matrix product"], 8 * 2**24 / seconds["copy"]


def peer_table(seconds: dict[int, dict[str, float]]) -> Table:
    columns = []
    for which in PASSES:
        columns.append(Column(which, which, "ms", ".2f", 1e3))
        columns.append(Column(f"{which}, ratio", "times geqlib's", "", ".1f"))
    rows = []
    for threads, of_threads in seconds.items():
        for degree in AGAINST:
            for name in (OURS, E3NN, CUE, PUBLISHED):
                cells: dict[str, Cell] = {}
                for which in PASSES:
                    if (time := of_threads.get(f"{degree} | {name} | {which}")) is None:
                        continue
                    cells[which] = time
                    cells[f"{which}, ratio"] = time / of_threads[f"{degree} | {OURS} | {which}"]
                if cells:
                    origin = "geqlib" if name == OURS else "peer"
                    rows.append(Row((f"{threads}", f"{degree}", name), cells, origin))
    return Table(("threads", "L", ""), tuple(columns), tuple(rows), PASSES[1])


def limit_table(
    outcomes: dict[int, tuple[dict[str, float], dict[int, GauntTensorProduct]]],
) -> Table:
    """Times of every degree, beside what the machine needs at least."""
    rows = []
    for threads, (seconds, layers) in outcomes.items():
        for degree, layer in layers.items():
            times = {which: seconds[f"{degree} | {OURS} | {which}"] for which in PASSES}
            least = limits(layer, *rates(seconds))
            rows.append(limit_row(threads, degree, layer.method, times, least))
    return degree_table(rows)


def limit_row(
    threads: int, degree: int, method: str, times: dict[str, float], least: dict[str, float]
) -> Row:
    cells: dict[str, Cell] = {"method": method}
    for which in PASSES:
        cells[which], cells[f"{which}, limit"] = times[which], least[which]
        cells[f"{which}, ratio"] = times[which] / least[which]
    return Row((f"{threads}", f"{degree}"), cells)


def degree_table(rows: list[Row]) -> Table:
    columns = [Column("method", "method chosen")]
    for which in PASSES:
        columns.append(Column(which, which, "ms", ".2f", 1e3))
        columns.append(Column(f"{which}, ratio", "times its limit", "", ".1f"))
    curve = by_degree(rows, PASSES[1])
    fits = ", ".join(f"L^{exponent(curve, n):.2f} from L = {n} on" for n in (1, 4, 8))
    note = f"Forward and backward grow as {fits}, with one thread."
    return Table(("threads", "L"), tuple(columns), tuple(rows), note=note)


def method_table(seconds: dict[str, float]) -> Table:
    columns = tuple(Column(name, name, "ms", ".1f", 1e3) for name in NAMES)
    rows = []
    for degree in METHODS:
        keys = {name: f"{degree} | {name}" for name in NAMES}
        cells = {name: seconds[key] for name, key in keys.items() if key in seconds}
        rows.append(Row((f"{degree}",), cells))
    return Table(("L",), columns, tuple(rows))


def by_degree(rows: Sequence[Row], key: str) -> dict[int, float]:
    """Cells of the rows with one thread."""
    return {int(r.labels[1]): r.number(key) for r in rows if r.labels[0] == "1"}


def draw(tables: Sequence[Table]) -> Figure:
    """Cost against degree, with the fitted power, the limit and e3nn."""
    figure = Figure(figsize=(6.4, 4.0), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    curve = by_degree(tables[1].rows, PASSES[1])
    degrees, ms = list(curve), [1e3 * s for s in curve.values()]
    power = exponent(curve, 4)
    middle = np.exp(np.mean(np.log(ms[3:])) - power * np.mean(np.log(degrees[3:])))
    axes.plot(degrees, ms, "o-", color="#0072B2", label="geqlib, auto")
    axes.plot(
        degrees[3:],
        [middle * d**power for d in degrees[3:]],
        "--",
        color="0.4",
        label=f"$L^{{{power:.2f}}}$, fitted from L = 4 on",
    )
    least = by_degree(tables[1].rows, f"{PASSES[1]}, limit")
    axes.plot(degrees, [1e3 * s for s in least.values()], ":", color="#009E73", label="limit")
    peer = by_degree([row for row in tables[0].rows if row.labels[-1] == E3NN], PASSES[1])
    axes.plot(list(peer), [1e3 * s for s in peer.values()], "s-", color="#D55E00", label="e3nn")
    axes.set(xscale="log", yscale="log", xlabel="degree L", ylabel="ms, forward and backward")
    axes.set_xticks(degrees, [str(d) for d in degrees])
    axes.minorticks_off()
    axes.set_title("Gaunt products of 500 nodes and 32 channels, one thread")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    return figure


if __name__ == "__main__":
    start(main)
