"""How small can the network be? Test error at equal training steps against the cost of a step.

Protocol: configs/nbody_ponita.yaml, seed {seed}, {epochs} epochs of 30 steps each; one thing
changed at a time around the default, and the published size beside it. Seconds per step are medians
of one interleaved run of forward and backward on one batch of 100 graphs.

    python benchmarks/accuracy/nbody_size.py
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.measure import interleaved
from benchmarks.provenance import start
from benchmarks.rows import Column, Row, Table, measured
from benchmarks.tables import publish
from benchmarks.training import QUIET, RUNS, measured_by, trained
from geqlib.data import NBodyData
from geqlib.models import PONITA
from geqlib.nn import LogGaussianBasis

CONFIG = Path("configs/nbody_ponita.yaml")
DEFAULT = {"channels": 32, "basis": 32, "layers": 4, "orientations": 12}
SIZES: dict[str, dict[str, int]] = {
    "as configured": {},
    "basis 8": {"basis": 8},
    "basis 16": {"basis": 16},
    "6 orientations": {"orientations": 6},
    "8 orientations": {"orientations": 8},
    "16 channels": {"channels": 16, "basis": 16},
    "factored": {"factored": True},
    "64 channels": {"channels": 64},
    "64 channels, factored": {"channels": 64, "factored": True},
    "128 channels": {"channels": 128, "basis": 64},
    "128 channels, factored": {"channels": 128, "basis": 64, "factored": True},
    "128 channels, 5 layers": {"channels": 128, "basis": 64, "layers": 5},
    "published size": {"channels": 128, "basis": 256, "layers": 5, "orientations": 16},
}
EPOCHS, SEED = 10, 0
COLUMNS = (
    Column("mse", "test MSE", "", "error"),
    Column("median", "median", "", "error"),
    Column("parameters", "parameters"),
    Column("seconds", "time per step", "s", ".3f"),
)


def main() -> None:
    runs = {name: _error(name, change) for name, change in SIZES.items()}
    seconds = interleaved({name: _step(change) for name, change in SIZES.items()}, 7)
    rows = []
    for name, run in runs.items():
        metrics, parameters = run["metrics"], run["fit"]["parameters"]
        cells = {"mse": metrics["test/mse"], "median": metrics["test/median"]}
        cells |= {"parameters": parameters, "seconds": seconds[name]}
        rows.append(Row((name,), cells | DEFAULT | SIZES[name], **measured_by([run])))
    tables = [Table(("",), COLUMNS, tuple(rows), "mse")]
    publish(measured("accuracy/nbody_size", __doc__, tables), draw(rows))


def _error(name: str, change: dict[str, int]) -> dict[str, Any]:
    prefix = "model.init_args.model.init_args."
    options: dict[str, object] = {prefix + key: value for key, value in change.items()}
    options |= QUIET | {"trainer.max_epochs": EPOCHS}
    folder = RUNS / f"nbody-size-{name.replace(',', '').replace(' ', '-')}"
    return trained(folder, CONFIG, options, SEED)


def _step(change: dict[str, int]) -> Callable[[], None]:
    data = NBodyData()
    data.prepare_data()
    data.setup()
    batch = data.splits["train"].__getitems__(range(100))
    net = PONITA(1, 1, 0, 1, radial=LogGaussianBasis(), **(DEFAULT | change))

    def step() -> None:
        net.zero_grad(set_to_none=True)
        vectors = net(batch.pos, batch.edge_index, x=batch.x, vec=batch.vec)[1]
        torch.mean(vectors**2).backward()

    return step


def draw(rows: list[Row]) -> Figure:
    """Test error against the time of a step."""
    figure = Figure(figsize=(7.2, 4.6), layout="constrained")
    axes = figure.add_subplot()
    for row in rows:
        name, point = row.labels[-1], (row.number("seconds"), row.number("mse"))
        below = "factored" in name
        axes.plot(*point, "s" if below else "o", color="#0072B2")
        offset = (4, -11 if below else 4)
        axes.annotate(name, point, offset, textcoords="offset points", fontsize=8)
    axes.set(xscale="log", xlabel="seconds per training step", ylabel="test MSE", xlim=(0.03, 1.2))
    ticks = [0.03, 0.1, 0.3, 1.0]
    axes.set_xticks(ticks, [str(t) for t in ticks])
    axes.set_title(f"PONITA on 5-body after {EPOCHS} epochs: error against cost")
    axes.grid(alpha=0.3)
    return figure


if __name__ == "__main__":
    start(main)
