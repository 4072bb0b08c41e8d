"""Normals of surfaces from their points, under the three rotation protocols.

Protocol: clouds of 128 points on spheres, ellipsoids, tori, boxes, cylinders, cones and blobs of
random proportions (2048 to train on, 64 for validation, 256 for testing), configs/normals_*.yaml
with a learning rate schedule over the training steps that took {minutes} minutes of processor time,
the same for all networks; the epoch with the lowest validation error under averaged weights is
tested. I/I and I/SO(3) test one run trained upright, upright and turned; SO(3)/SO(3) a run trained
on clouds that are turned anew each time. Seeds {seeds}; 1 - (n . n')^2, mean over points.

    python benchmarks/accuracy/normals.py [--minutes 0.5] [--seeds 0 1 2]
"""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.provenance import start
from benchmarks.rows import Cell, Column, Row, Table, measured
from benchmarks.tables import publish
from benchmarks.training import QUIET, RUNS, budgeted, measured_by, metric, trained

CONFIGS = {
    "DGCNN": Path("configs/normals_dgcnn.yaml"),
    "FA-DGCNN": Path("configs/normals_fa_dgcnn.yaml"),
    "FA-Local-PointNet": Path("configs/normals_fa_local.yaml"),
}
MINUTES, SEEDS = 0.5, (0, 1, 2)
PROTOCOLS = ("I/I", "I/SO(3)", "SO(3)/SO(3)")
ERROR = Column("error", "1 - (n . n')²", "", ".4f")


def main() -> None:
    measure("normals", __doc__ or "", CONFIGS, MINUTES, ERROR, ["error", "degrees"])


def measure(
    name: str,
    about: str,
    configs: Mapping[str, Path],
    minutes: float,
    quantity: Column,
    metrics: Sequence[str],
    changes: Mapping[str, object] | None = None,
) -> None:
    """Train and test every network under every protocol; write the result.

    Args:
        name: of the benchmark.
        about: the docstring of its script.
        configs: of the networks, by name.
        minutes: of processor time per run, unless the command line says otherwise.
        quantity: that the table shows.
        metrics: of the test.
        changes: to all configurations, by dotted name.
    """
    fixed = dict(changes or {})
    parser = ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=minutes, help="of processor time per run")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    options = parser.parse_args()
    budget = budgeted(name, {net: (path, fixed) for net, path in configs.items()}, options.minutes)
    runs: dict[str, Any] = {net: {p: [] for p in PROTOCOLS} for net in configs}
    for seed in options.seeds:
        for net, path in configs.items():
            for protocol in PROTOCOLS:
                turned = "turned" if protocol == "SO(3)/SO(3)" else "upright"
                folder = RUNS / f"{name}-{net}-{turned}-{options.minutes:g}min-seed{seed}"
                run = _run(folder, path, protocol, seed, fixed | budget[net])
                runs[net][protocol].append(run)
    rows = [
        replace(
            own_row(net, cells(of_net, metrics)),
            **measured_by([run for of_protocol in of_net.values() for run in of_protocol]),
        )
        for net, of_net in runs.items()
    ]
    settings = {"minutes": options.minutes, "seeds": options.seeds}
    publish(measured(f"accuracy/{name}", about, [compared(quantity, rows)], settings))


def compared(quantity: Column, rows: Sequence[Row]) -> Table:
    """The quantity under each protocol."""
    shown = [
        Column(f"{quantity.key}, {p}", p, quantity.unit, quantity.format, quantity.scale)
        for p in PROTOCOLS
    ]
    columns = (*shown, Column("parameters", "parameters"), Column("steps", "steps"))
    return Table((quantity.title,), columns, tuple(rows), shown[1].key)


def cells(runs: Mapping[str, list[dict[str, Any]]], metrics: Sequence[str]) -> dict[str, Cell]:
    fit = runs[PROTOCOLS[0]][0]["fit"]
    errors: dict[str, Cell] = {
        f"{name}, {protocol}": metric(results, f"test/{name}")
        for name in metrics
        for protocol, results in runs.items()
    }
    return errors | {"parameters": fit["parameters"], "steps": fit["steps"]}


def own_row(net: str, cells: Mapping[str, Cell]) -> Row:
    return Row((net,), cells, "geqlib" if net.startswith("FA-") else "peer")


def _run(
    folder: Path, config: Path, protocol: str, seed: int, changes: Mapping[str, object]
) -> dict[str, Any]:
    turned = protocol == "SO(3)/SO(3)"
    options = QUIET | dict(changes)
    options["data.init_args.rotations"] = "SO(3)/SO(3)" if turned else "I/I"
    options["model.init_args.rotate"] = turned
    tested = {"data.init_args.rotations": protocol}
    run = trained(folder, config, options, seed, tested=tested)
    return run | {"fit": json.loads((folder / "fit.json").read_text())}


if __name__ == "__main__":
    start(main)
