"""Frame averages near sets of points where frames degenerate: how exact, and how steady?

Protocol: a random two-layer network on points with no symmetry but that of relabelling, to scalars
and points, averaged under E(3) in float64, on a single point's four copies, a line, a flat set, a
square, a tetrahedron, a cube and a random set, to which Gaussian noise of a given size is added.
"Error": the largest equivariance error over sets and 4 random motions. "Step": the largest change
of an output from the set without noise, over sets and 4 draws of the noise.

    python benchmarks/accuracy/near_symmetry.py
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.provenance import start
from benchmarks.rows import Column, Row, Table, measured
from benchmarks.tables import publish
from geqlib.nn import FrameAveraging
from geqlib.testing import degenerate_sets, equivariance_error

NAMES = ("coincident", "collinear", "planar", "square", "tetrahedron", "cube")
NOISE = (1e-2, 1e-4, 1e-6, 1e-8)
MODES = ("full", "weighted")
OUTPUTS = ("scalar", "point")
COLUMNS = tuple(
    Column(f"{quantity}, {mode}", f"{quantity}, {mode}", "", ".0e")
    for quantity in ("error", "step")
    for mode in MODES
)


class Net(nn.Module):
    """Each point, beside the mean over all: smooth, and not symmetric."""

    def __init__(self) -> None:
        super().__init__()
        self.points, self.head = nn.Linear(3, 16), nn.Linear(32, 5)

    def forward(self, pos: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.sin(2 * self.points(pos))
        y = self.head(torch.cat([h, h.mean(0).expand_as(h)], 1))
        return y[:, :2], y[:, 2:]


def averaged(mode: Any) -> FrameAveraging:
    torch.manual_seed(0)
    types = {"pos": "point"}
    return FrameAveraging(Net().double(), "E(3)", inputs=types, outputs=OUTPUTS, mode=mode)


@torch.no_grad()
def errors_and_steps(mode: str, noise: float) -> tuple[float, float]:
    """Largest error and largest step over all sets."""
    net, generator = averaged(mode), torch.Generator().manual_seed(0)
    sets = degenerate_sets()
    sets["random"] = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    errors, steps = [], []
    for name in (*NAMES, "random"):
        at = net(pos=sets[name])
        for _ in range(4):
            pos = sets[name] + noise * torch.randn(sets[name].shape, generator=generator).double()
            steps += [float((y - x).abs().max()) for x, y in zip(at, net(pos=pos), strict=True)]
        errors.append(equivariance_error(net, {"pos": (pos, "point")}, OUTPUTS, "E(3)", 4))
    return max(errors), max(steps)


def main() -> None:
    rows = []
    for noise in NOISE:
        pairs = {mode: errors_and_steps(mode, noise) for mode in MODES}
        cells = {f"error, {mode}": error for mode, (error, _) in pairs.items()}
        cells |= {f"step, {mode}": step for mode, (_, step) in pairs.items()}
        rows.append(Row((f"{noise:.0e}",), cells | {"noise": noise}))
    publish(measured("accuracy/near_symmetry", __doc__, [bounded(rows)]))


def bounded(rows: list[Row]) -> Table:
    bound = max(row.number("step, weighted") / row.number("noise") for row in rows)
    note = f"Weighted steps are at most {bound:.0f} times the noise."
    return Table(("noise",), COLUMNS, tuple(rows), note=note)


if __name__ == "__main__":
    start(main)
