"""What exact averaging over frames costs, and the closed-form decomposition beside LAPACK's.

Protocol: charged 5-body, batches of 100 graphs with all 20 edges, the published size (60 channels,
4 layers, 8 frames computed anew before every layer, held constant in derivatives), float32; forward
and backward of the mean squared output, the same weights for all. The backbone by itself is the
same plain network without frames. Memory that is freed stays with the process, as always after a
block of 31 MiB has been freed. Then 100 000 random covariances in float64; the residual is
max |M v - lambda v| over max |M|. Medians of interleaved runs in processor time on one thread.

    OMP_NUM_THREADS=1 python benchmarks/speed/frames.py [rounds]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.measure import interleaved
from benchmarks.peers.fa_gnn_direct import PlainGNN, averaged
from benchmarks.provenance import start
from benchmarks.rows import Column, Row, Table, measured
from benchmarks.tables import publish
from geqlib.data import NBodyData
from geqlib.frames.eigen3 import symmetric_eigen
from geqlib.models import FAGNN
from geqlib.nn import FrameAveraging

ALONE, OURS, COPIES = "backbone by itself", "FAGNN", "FAGNN, a copy for each frame"
WRAPPER = "FrameAveraging around the backbone"
CLOSED, LAPACK = "closed form", "torch.linalg.eigh"
MATRICES = 100_000
COST = (
    Column("seconds", "time", "ms", ".0f", 1e3),
    Column("cost", "times the backbone", "", ".1f"),
)
EIGEN = (
    Column("seconds", "time", "ms", ".0f", 1e3),
    Column("residual", "largest residual", "", ".1e"),
)


class Vectors(nn.Module):
    """The backbone as a user wraps it."""

    def __init__(self, plain: PlainGNN) -> None:
        super().__init__()
        self.plain = plain

    def forward(
        self, pos: Tensor, vec: Tensor, edge_index: Tensor, edge_attr: Tensor, batch: Tensor
    ) -> Tensor:
        return self.plain(pos, edge_index, vec, edge_attr)[:, None]


def steps(graphs: int = 100) -> dict[str, Callable[[], Tensor]]:
    """One forward and backward of each, returning the output."""
    torch.manual_seed(0)
    data = NBodyData(
        100, train=graphs, val=1, test=1, input_frame=0, target_frame=1, charge_products=True
    )
    data.prepare_data()
    data.setup()
    batch: Any = data.splits["train"].__getitems__(range(graphs))
    net = FAGNN(0, 1, 0, 1, edge_dim=1, detach=True)
    plain = PlainGNN(net)
    types = {"pos": "point", "vec": "vector", "edge_index": "edge_index"}
    wrapper = FrameAveraging(
        Vectors(plain), "E(3)", inputs=types | {"edge_attr": "edge:scalar"}, outputs="vector"
    )
    inputs = {"pos": batch.pos, "edge_index": batch.edge_index, "vec": batch.vec}
    inputs |= {"edge_attr": batch.edge_attr, "batch": batch.batch}
    flat = [inputs[name] for name in ("pos", "edge_index", "vec", "edge_attr")]

    def step(run: Callable[[], Tensor]) -> Tensor:
        for part in (net, plain):
            part.zero_grad(set_to_none=True)
        out = run()
        out.square().mean().backward()
        return out.detach()

    return {
        ALONE: lambda: step(lambda: plain(*flat)),
        OURS: lambda: step(lambda: net(**inputs, num_graphs=graphs)[1]),
        COPIES: lambda: step(lambda: averaged(plain, **inputs, x=None, graphs=graphs)[1]),
        WRAPPER: lambda: step(lambda: wrapper(**inputs)),
    }


def decompositions(count: int = MATRICES) -> tuple[Tensor, dict[str, Callable[[], Any]]]:
    """Random covariances of five points, and the contestants."""
    points = torch.randn(count, 5, 3, generator=torch.Generator().manual_seed(0)).double()
    matrix = points.mT @ points
    return matrix, {
        CLOSED: lambda: symmetric_eigen(matrix),
        LAPACK: lambda: torch.linalg.eigh(matrix),
    }


def residual(matrix: Tensor, decomposition: Any) -> float:
    values, vectors = decomposition
    rest = (matrix @ vectors - vectors * values[:, None]).abs().amax((1, 2))
    return float((rest / matrix.abs().amax((1, 2))).max())


def keep_freed_memory() -> None:
    """Have glibc keep up to 62 MiB of freed memory: twice the largest block that was freed.

    Else the system takes tensors of some megabytes back, and hands their memory out again page by
    page, in some steps and not in others.
    """
    torch.empty(31 * 2**20, dtype=torch.uint8)


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    keep_freed_memory()
    runs = steps()
    outputs = [runs[name]() for name in (OURS, COPIES)]
    matrix, eigen = decompositions()
    seconds = interleaved(runs, rounds, clock=time.process_time)
    eigen_seconds = interleaved(eigen, rounds, clock=time.process_time)
    difference = float((outputs[0] - outputs[1]).abs().max() / outputs[1].abs().max())
    tables = [
        cost_table(seconds),
        eigen_table(eigen_seconds, {name: residual(matrix, run()) for name, run in eigen.items()}),
    ]
    settings = {"rounds": rounds, "matrices": MATRICES, "output difference": difference}
    publish(measured("speed/frames", __doc__, tables, settings))


def cost_table(seconds: dict[str, float]) -> Table:
    ours = (OURS, WRAPPER)
    rows = tuple(
        Row(
            (name,),
            {"seconds": time, "cost": time / seconds[ALONE]},
            "geqlib" if name in ours else "peer",
        )
        for name, time in seconds.items()
    )
    return Table(("forward and backward",), COST, rows, "seconds")


def eigen_table(seconds: dict[str, float], residuals: dict[str, float]) -> Table:
    rows = tuple(
        Row(
            (name,),
            {"seconds": time, "residual": residuals[name]},
            "geqlib" if name == CLOSED else "peer",
        )
        for name, time in seconds.items()
    )
    return Table((f"{MATRICES} matrices of 3 x 3, float64",), EIGEN, rows, "seconds")


if __name__ == "__main__":
    start(main)
