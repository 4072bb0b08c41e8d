"""What exact averaging over frames costs, and the closed-form decomposition beside LAPACK's.

Protocol: charged 5-body, batches of 100 graphs with all 20 edges, the published size (60 channels,
4 layers, 8 frames found again before every layer, held constant in derivatives), float32; forward
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

from benchmarks.markdown import markdown
from benchmarks.measure import interleaved, write_result
from benchmarks.peers.fa_gnn_direct import PlainGNN, averaged
from benchmarks.training import show
from geqlib.data import NBodyData
from geqlib.frames.eigen3 import symmetric_eigen
from geqlib.models import FAGNN
from geqlib.nn import FrameAveraging

ALONE, OURS, COPIES = "backbone by itself", "FAGNN", "FAGNN, a copy for each frame"
WRAPPER = "FrameAveraging around the backbone"
CLOSED, LAPACK = "closed form", "torch.linalg.eigh"
MATRICES = 100_000


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
    given = {"pos": batch.pos, "edge_index": batch.edge_index, "vec": batch.vec}
    given |= {"edge_attr": batch.edge_attr, "batch": batch.batch}
    flat = [given[name] for name in ("pos", "edge_index", "vec", "edge_attr")]

    def step(run: Callable[[], Tensor]) -> Tensor:
        for part in (net, plain):
            part.zero_grad(set_to_none=True)
        out = run()
        out.square().mean().backward()
        return out.detach()

    return {
        ALONE: lambda: step(lambda: plain(*flat)),
        OURS: lambda: step(lambda: net(**given, num_graphs=graphs)[1]),
        COPIES: lambda: step(lambda: averaged(plain, **given, x=None, graphs=graphs)[1]),
        WRAPPER: lambda: step(lambda: wrapper(**given)),
    }


def decompositions(count: int = MATRICES) -> tuple[Tensor, dict[str, Callable[[], Any]]]:
    """Random covariances of five points, and the contestants."""
    points = torch.randn(count, 5, 3, generator=torch.Generator().manual_seed(0)).double()
    matrix = points.mT @ points
    return matrix, {
        CLOSED: lambda: symmetric_eigen(matrix),
        LAPACK: lambda: torch.linalg.eigh(matrix),
    }


def residual(matrix: Tensor, found: Any) -> float:
    values, vectors = found
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
    content = {
        "protocol": " ".join((__doc__ or "").split("\n\n")[1].split()),
        "rounds": rounds,
        "seconds": seconds,
        "cost": {name: s / seconds[ALONE] for name, s in seconds.items()},
        "output_difference": float((outputs[0] - outputs[1]).abs().max() / outputs[1].abs().max()),
        "matrices": MATRICES,
        "eigen_seconds": eigen_seconds,
        "eigen_speedup": eigen_seconds[LAPACK] / eigen_seconds[CLOSED],
        "eigen_residual": {name: residual(matrix, run()) for name, run in eigen.items()},
    }
    rows = [(n, 1e3 * s, f"{content['cost'][n]:.2f}") for n, s in seconds.items()]
    rows += [(n, 1e3 * s, "") for n, s in eigen_seconds.items()]
    show("Frames", ("", "ms", "times the backbone"), rows)
    sys.stdout.write(f"wrote {write_result('speed/frames', content)}\n")


def table(found: dict[str, Any]) -> str:
    cost = [
        (name, f"{1e3 * s:.0f}", f"{found['cost'][name]:.1f}")
        for name, s in found["seconds"].items()
    ]
    eigen = [
        (name, f"{1e3 * s:.0f}", f"{found['eigen_residual'][name]:.1e}")
        for name, s in found["eigen_seconds"].items()
    ]
    return (
        markdown(("forward and backward", "ms", "times the backbone"), cost)
        + "\n"
        + markdown(
            (f"{found['matrices']} matrices of 3 x 3, float64", "ms", "largest residual"), eigen
        )
    )


if __name__ == "__main__":
    main()
