"""Gaunt products against e3nn's tensor product and against the published pipeline.

Protocol: 500 nodes, 32 channels, float32, irreps of natural parity to degree L on both inputs and
the output; e3nn's `TensorProduct` has the same paths (uuu); the published pipeline is written
directly (benchmarks/peers/gaunt_direct.py) and run at L = 4 on a tenth of the nodes, its time
taken ten times; forward without gradients, and forward and backward to both inputs; medians of an
interleaved run.

    python benchmarks/speed/gaunt.py [rounds] [degrees ...]
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from e3nn import o3

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.measure import interleaved, write_result
from benchmarks.peers.gaunt_direct import DirectGaunt
from benchmarks.training import show
from geqlib.nn import GauntTensorProduct

NODES, CHANNELS = 500, 32
METHODS = ("sparse", "grid", "separable")


def products(degree: int) -> dict[str, Callable[..., torch.Tensor]]:
    """The contestants, functions of two [nodes, irreps.dim] tensors."""
    irreps = o3.Irreps([(CHANNELS, (n, (-1) ** n)) for n in range(degree + 1)])
    found: dict[str, Any] = {
        name: GauntTensorProduct(irreps, irreps, irreps, method=name) for name in METHODS
    }
    found["e3nn"] = o3.TensorProduct(irreps, irreps, irreps, _paths(degree))
    return found


def _paths(degree: int) -> list[tuple[int, int, int, str, bool]]:
    span = range(degree + 1)
    return [
        (i, j, k, "uuu", False)
        for i in span
        for j in span
        for k in span
        if abs(i - j) <= k <= i + j and (i + j + k) % 2 == 0
    ]


def _runs(name: str, fn: Callable[..., torch.Tensor], *xy: torch.Tensor) -> dict[str, Any]:
    def forward() -> None:
        with torch.no_grad():
            fn(*xy)

    def both() -> None:
        torch.autograd.grad(fn(*xy).sum(), xy)

    return {f"{name}, forward": forward, f"{name}, and backward": both}


def measure(degree: int, rounds: int) -> dict[str, float]:
    """Median seconds of each contestant at one degree."""
    torch.manual_seed(0)
    size = (degree + 1) ** 2
    xy = [torch.randn(NODES, CHANNELS * size, requires_grad=True) for _ in range(2)]
    runs: dict[str, Any] = {}
    for name, fn in products(degree).items():
        runs |= _runs(name, fn, *xy)
    if degree == 4:
        flat = [torch.randn(NODES * CHANNELS // 10, size, requires_grad=True) for _ in range(2)]
        runs |= _runs("published", DirectGaunt(degree), *flat)
    seconds = interleaved(runs, rounds)
    return {name: s * (10 if name.startswith("published") else 1) for name, s in seconds.items()}


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    degrees = [int(word) for word in sys.argv[2:]] or [2, 4, 6]
    seconds = {degree: measure(degree, rounds) for degree in degrees}
    rows = [
        (degree, name, f"{1e3 * s:.2f}", f"{found['e3nn,' + name.split(',')[1]] / s:.1f}")
        for degree, found in seconds.items()
        for name, s in found.items()
    ]
    show("Gaunt products", ("L", "", "ms", "times as fast as e3nn"), rows)
    content = {"protocol": " ".join((__doc__ or "").split("\n\n")[1].split()), "seconds": seconds}
    sys.stdout.write(f"wrote {write_result('speed/gaunt', content)}\n")


if __name__ == "__main__":
    main()
