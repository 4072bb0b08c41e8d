"""One many-body product, timed in a process of its own: geqlib's or MACE's.

Runs in either environment, so it imports nothing of the benchmarks. Prints the median seconds of
some seconds of steps, or the peak MiB of one step if SECONDS is 0.

    python benchmarks/peers/many_body.py geqlib|mace DEGREE CHANNELS NODES ORDER SECONDS
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

ELEMENTS = 4


def product(name: str, irreps: str, order: int) -> Callable[[Tensor, Tensor], Tensor]:
    """A function of features [N, C, k], channel by channel, and one-hot elements [N, 4]."""
    if name == "geqlib":
        sys.path.insert(0, str(Path(__file__).parents[2]))
        from geqlib.nn import GauntPower

        power = GauntPower(irreps, irreps, order, elements=ELEMENTS)
        return lambda x, choice: power.on_components(x.movedim(2, 0), choice).movedim(0, 2)
    sys.path.pop(0)  # this folder has another mace.py
    torch.serialization.add_safe_globals([slice])  # in the constants of this old e3nn
    from e3nn import o3
    from mace.modules.symmetric_contraction import SymmetricContraction

    return SymmetricContraction(
        o3.Irreps(irreps), o3.Irreps(irreps), correlation=order, num_elements=ELEMENTS
    )


def step(fn: Any, nodes: int, channels: int, degree: int) -> Callable[[], None]:
    """Forward and backward to the features and the weights."""
    torch.manual_seed(0)
    x = torch.randn(nodes, channels, (degree + 1) ** 2, requires_grad=True)
    choice = torch.eye(ELEMENTS)[torch.arange(nodes) % ELEMENTS]

    def run() -> None:
        x.grad = None
        fn(x, choice).square().mean().backward()

    return run


def median_seconds(run: Callable[[], None], seconds: float) -> float:
    run()
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 3:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return median(times)


def peak_memory(run: Callable[[], None]) -> float:
    """MiB beyond what the process holds already (Linux only)."""
    Path("/proc/self/clear_refs").write_text("5")
    before = _high_water()
    run()
    return (_high_water() - before) / 1024


def _high_water() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


def main() -> None:
    name = sys.argv[1]
    degree, channels, nodes, order = map(int, sys.argv[2:6])
    irreps = "+".join(f"{channels}x{n}{'eo'[n % 2]}" for n in range(degree + 1))
    fn = product(name, irreps, order)
    small = step(fn, 2, channels, degree)
    for _ in range(4):  # compiles, where that is done at run time
        small()
    run, seconds = step(fn, nodes, channels, degree), float(sys.argv[6])
    result = median_seconds(run, seconds) if seconds else peak_memory(run)
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
