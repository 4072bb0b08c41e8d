"""Digits as point clouds in the plane: trained upright, tested turned by random angles.

Protocol: scikit-learn's 1797 digits (70 / 15 / 15 %, by class); {epochs} epochs, no augmentation,
seeds: {seeds}; the epoch with the lowest validation loss under averaged weights is tested, upright
and turned. PONITA on R^2 x S^1 (8 orientations) and on R^2, and a plain PointNet, with about the
same number of parameters.

    python benchmarks/accuracy/digits.py
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.provenance import start
from benchmarks.rows import Column, Row, Table, measured
from benchmarks.tables import publish
from benchmarks.training import QUIET, RUNS, measured_by, metric, trained
from benchmarks.variants import options

PONITA, POINTNET = Path("configs/digits_ponita.yaml"), Path("configs/digits_pointnet.yaml")
CONFIGS = {
    "PONITA R2xS1": (PONITA, {}),
    "PONITA R2": (PONITA, options(PONITA, "R2")),
    "PointNet": (POINTNET, {}),
}
SEEDS, EPOCHS = (0,), 15
COLUMNS = (
    Column("upright", "upright", "%", ".1f", 100),
    Column("turned", "turned", "%", ".1f", 100),
    Column("parameters", "parameters"),
)


def main() -> None:
    rows = []
    for name in CONFIGS:
        runs = {turn: [_run(name, s, turn) for s in SEEDS] for turn in ("none", "random")}
        cells = {
            "upright": metric(runs["none"], "test/accuracy"),
            "turned": metric(runs["random"], "test/accuracy"),
            "parameters": runs["none"][0]["fit"]["parameters"],
            "seconds": runs["none"][0]["fit"]["seconds"],
        }
        origin = "peer" if name == "PointNet" else "geqlib"
        rows.append(Row((name,), cells, origin, **measured_by(runs["none"] + runs["random"])))
    table = Table(("accuracy",), COLUMNS, tuple(rows), "turned")
    publish(measured("accuracy/digits", __doc__, [table], {"seeds": SEEDS}))


def _run(name: str, seed: int, turn: str) -> dict[str, Any]:
    config, changes = CONFIGS[name]
    folder = RUNS / f"digits-{name.replace(' ', '-')}-seed{seed}"
    tested = {"data.init_args.test_rotation": turn}
    options = changes | QUIET | {"trainer.max_epochs": EPOCHS}
    return trained(folder, config, options, seed, tested)


if __name__ == "__main__":
    start(main)
