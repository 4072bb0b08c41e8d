"""Positions alone, positions and orientations, or the whole group SE(3)? At equal parameters.

Protocol: charged 5-body, configs/nbody_ponita.yaml with the space and the width changed (46
thousand parameters each, within 2 %; 12 orientations where there are any), {epochs} epochs, seeds:
{seeds}. Seconds per step: medians of one interleaved run of forward and backward on 100 graphs.
Peak memory: rise of a fresh process over one such step.

    python benchmarks/accuracy/nbody_space.py
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.measure import in_own_process, interleaved, peak_memory
from benchmarks.provenance import start
from benchmarks.rows import Column, Row, Table, measured
from benchmarks.tables import publish
from benchmarks.training import QUIET, RUNS, measured_by, metric, trained
from geqlib.data import NBodyData
from geqlib.models import PONITA
from geqlib.nn import LogGaussianBasis

CONFIG = Path("configs/nbody_ponita.yaml")
SPACES: dict[str, dict[str, Any]] = {
    "R3": {"space": "R3", "channels": 33},
    "R3xS2": {"space": "R3xS2", "channels": 32},
    "SE3": {"space": "SE3", "channels": 30, "degree": 2},
}
EPOCHS, SEEDS = 30, (0,)
COLUMNS = (
    Column("mse", "test MSE", "", "error"),
    Column("median", "median", "", "error"),
    Column("parameters", "parameters"),
    Column("seconds", "time per step", "s", ".3f"),
    Column("memory", "peak memory", "MiB", ".0f"),
)


def main() -> None:
    if len(sys.argv) == 3 and sys.argv[1] == "--memory":
        change = SPACES[sys.argv[2]]
        step(change, graphs=2)()
        sys.stdout.write(json.dumps(peak_memory(step(change))) + "\n")
        return
    runs = {name: [_run(name, change, s) for s in SEEDS] for name, change in SPACES.items()}
    seconds = interleaved({name: step(change) for name, change in SPACES.items()}, 9)
    rows = tuple(
        Row(
            (name,),
            {
                "mse": metric(results, "test/mse"),
                "median": metric(results, "test/median").mean,
                "parameters": results[0]["fit"]["parameters"],
                "seconds": seconds[name],
                "memory": in_own_process(__file__, "--memory", name),
            },
            **measured_by(results),
        )
        for name, results in runs.items()
    )
    table = Table(("space",), COLUMNS, rows, "mse")
    publish(measured("accuracy/nbody_space", __doc__, [table], {"seeds": SEEDS}))


def step(change: dict[str, Any], graphs: int = 100) -> Callable[[], None]:
    """One forward and backward."""
    data = NBodyData()
    data.prepare_data()
    data.setup()
    batch: Any = data.splits["train"].__getitems__(range(graphs))
    net = PONITA(1, 1, 0, 1, radial=LogGaussianBasis(), layers=4, **change)

    def run() -> None:
        net.zero_grad(set_to_none=True)
        vectors = net(batch.pos, batch.edge_index, x=batch.x, vec=batch.vec)[1]
        torch.mean(vectors**2).backward()

    return run


def _run(name: str, change: dict[str, Any], seed: int) -> dict[str, Any]:
    prefix = "model.init_args.model.init_args."
    options = {prefix + key: value for key, value in change.items()}
    options |= QUIET | {"trainer.max_epochs": EPOCHS}
    return trained(RUNS / f"nbody-space-{name}-seed{seed}", CONFIG, options, seed)


if __name__ == "__main__":
    start(main)
