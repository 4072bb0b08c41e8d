"""Gaunt products against e3nn, cuequivariance, the published pipeline, and the machine's limits.

Protocol: 500 nodes, 32 channels, float32, irreps of natural parity to degree L in both inputs and
the output, all Gaunt paths, channel by channel (e3nn's `TensorProduct` with uuu); forward without
gradients, and forward and backward to both inputs; medians of one interleaved run for each number
of threads. The published pipeline is written directly
(benchmarks/peers/gaunt_direct.py) and is given the coefficients of each channel in one row. The
limit of a product is the larger of the floating-point operations of its matrix products at the rate
of a 1024 x 1024 one, and the bytes of its inputs and outputs at the rate of a copy, both measured
in the same run.

    python benchmarks/speed/gaunt.py [rounds]
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import torch
from e3nn import o3
from matplotlib.figure import Figure
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.markdown import markdown
from benchmarks.measure import interleaved, write_result
from benchmarks.peers import gaunt_cue
from benchmarks.peers.gaunt_direct import DirectGaunt
from geqlib.nn import GauntTensorProduct
from geqlib.report.figures import save_figure

NODES, CHANNELS = 500, 32
AGAINST, SWEEP, METHODS = (2, 4, 6), range(1, 13), (2, 4, 8)
PASSES = ("forward", "and backward")
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
        for method in ("sparse", "grid", "separable", "fft")
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
    found = {threads: measured(rounds, threads) for threads in sorted({1, torch.get_num_threads()})}
    alone = found[1]["sweep"][PASSES[1]]
    content = {
        "protocol": " ".join((__doc__ or "").split("\n\n")[1].split()),
        "by_threads": found,
        "methods": by_method(max(rounds // 5, 2)),
        "exponents": {start: exponent(alone, start) for start in (1, 4, 8)},
    }
    path = write_result("speed/gaunt", content)
    save_figure(draw(content), path.with_suffix(".png"))
    sys.stdout.write(f"{table(content)}wrote {path}\n")


def measured(rounds: int, threads: int) -> dict[str, Any]:
    """All of one number of threads."""
    torch.set_num_threads(threads)
    seconds, layers = contest(rounds)
    flops, bandwidth = 2 * 1024**3 / seconds["matrix product"], 8 * 2**24 / seconds["copy"]
    least = {degree: limits(layer, flops, bandwidth) for degree, layer in layers.items()}
    return {
        "seconds": seconds,
        "sweep": {
            which: {degree: seconds[f"{degree} | {OURS} | {which}"] for degree in SWEEP}
            for which in PASSES
        },
        "limits": {which: {d: least[d][which] for d in SWEEP} for which in PASSES},
        "gigaflops": flops / 1e9,
        "gigabytes_a_second": bandwidth / 1e9,
        "chosen": {degree: layer.method for degree, layer in layers.items()},
    }


def draw(found: dict[str, Any]) -> Figure:
    """Cost against degree, with the fitted power, the limit and e3nn."""
    figure = Figure(figsize=(6.4, 4.0), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    alone = _at(found["by_threads"], 1)
    known = alone["sweep"][PASSES[1]]
    degrees, ms = [int(d) for d in known], [1e3 * s for s in known.values()]
    power = found["exponents"][4]
    middle = np.exp(np.mean(np.log(ms[3:])) - power * np.mean(np.log(degrees[3:])))
    axes.plot(degrees, ms, "o-", color="#0072B2", label="geqlib, auto")
    axes.plot(
        degrees[3:],
        [middle * d**power for d in degrees[3:]],
        "--",
        color="0.4",
        label=f"$L^{{{power:.2f}}}$, fitted from L = 4 on",
    )
    least = [1e3 * s for s in alone["limits"][PASSES[1]].values()]
    axes.plot(degrees, least, ":", color="#009E73", label="limit of the machine")
    peer = [1e3 * alone["seconds"][f"{d} | {E3NN} | {PASSES[1]}"] for d in AGAINST]
    axes.plot(AGAINST, peer, "s-", color="#D55E00", label="e3nn")
    axes.set(xscale="log", yscale="log", xlabel="degree L", ylabel="ms, forward and backward")
    axes.set_xticks(degrees, [str(d) for d in degrees])
    axes.minorticks_off()
    axes.set_title("Gaunt products of 500 nodes and 32 channels, one thread")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    return figure


def table(found: dict[str, Any]) -> str:
    parts = [_against(found), _limits(found), _methods(found)]
    fits = ", ".join(f"L^{v:.2f} from L = {k} on" for k, v in found["exponents"].items())
    picture = "![cost against degree](../benchmarks/results/speed/gaunt.png)"
    return "\n".join(parts) + f"\nForward and backward grow as {fits}.\n\n{picture}\n"


def _against(found: dict[str, Any]) -> str:
    rows = []
    for threads, known in found["by_threads"].items():
        seconds = known["seconds"]
        for degree in AGAINST:
            base = [seconds[f"{degree} | {OURS} | {which}"] for which in PASSES]
            for name in (OURS, E3NN, CUE, PUBLISHED):
                times = [seconds.get(f"{degree} | {name} | {which}") for which in PASSES]
                if None in times:
                    continue
                cells = [
                    f"{1e3 * s:.2f}" + ("" if name == OURS else f" ({s / b:.1f} times)")
                    for s, b in zip(times, base, strict=True)
                ]
                rows.append((f"{threads}", f"{degree}", name, *cells))
    return markdown(("threads", "L", "", *(f"{which}, ms" for which in PASSES)), rows)


def _limits(found: dict[str, Any]) -> str:
    rows = []
    for degree in SWEEP:
        cells = [
            f"{1e3 * s:.2f} ({s / least:.1f} times its limit)"
            for known in found["by_threads"].values()
            for s, least in (
                (_at(known["sweep"][which], degree), _at(known["limits"][which], degree))
                for which in PASSES
            )
        ]
        rows.append((f"{degree}", _at(_at(found["by_threads"], 1)["chosen"], degree), *cells))
    columns = [f"{which}, ms, {n} thr." for n in found["by_threads"] for which in PASSES]
    return markdown(("L", "chosen", *columns), rows)


def _methods(found: dict[str, Any]) -> str:
    names = ("sparse", "grid", "separable", "fft")
    known = found["methods"]
    rows = [
        (
            f"{degree}",
            *(
                f"{1e3 * known[key]:.1f}" if (key := f"{degree} | {name}") in known else ""
                for name in names
            ),
        )
        for degree in METHODS
    ]
    return markdown(("L", *(f"{name}, ms" for name in names)), rows)


def _at(found: dict[Any, Any], number: int) -> Any:
    """JSON has strings where dictionaries had numbers."""
    return found[number] if number in found else found[str(number)]


if __name__ == "__main__":
    main()
