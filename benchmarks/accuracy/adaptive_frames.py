"""The frame that a network prefers, beside the mean over frames and the plain network.

Protocol: normals of analytic surfaces (configs/normals_dgcnn.yaml and
configs/normals_fa_dgcnn.yaml) and classes of the 40 meshes of GeometricShapes
(configs/shapes_pointnet.yaml and configs/shapes_fa_pointnet.yaml), 128 points a cloud, trained
upright and tested on clouds that are turned, each by a random rotation of its own. The plain
network, the same on clouds that are turned anew in each step, the mean over the four frames of
SE(3), and of these the one of which the network is most confident (mode "argmax"): the one with the
longest vectors on average for normals, the one of the most probable class for classes. Beside them
learnt local frames (TransportNet, configs/normals_transport.yaml and
configs/shapes_transport.yaml). One learning rate schedule over the training steps that took
{minutes} minutes of processor time, the same for all; the epoch with the best validation metric
under averaged weights is tested. Seeds {seeds}.

    GEQLIB_DATA=FOLDER python benchmarks/accuracy/adaptive_frames.py [--minutes 1] [--seeds 0 1 2]
    python benchmarks/accuracy/adaptive_frames.py --tiny         # some steps, nothing is written
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.provenance import start
from benchmarks.rows import Cell, Column, Row, Table, measured
from benchmarks.tables import drawn, markdown, publish
from benchmarks.training import QUIET, RUNS, budgeted, measured_by, metric, trained_here

NAME = "adaptive_frames"
MINUTES, SEEDS = 1.0, (0, 1, 2)
TURNED = {"data.init_args.rotations": "I/SO(3)"}
MODE, AUGMENTED = "model.init_args.model.init_args.mode", {"model.init_args.rotate": True}
PLAIN = ("plain", "plain, rotations")
Setting = tuple[Path, dict[str, object]]


def settings_of(plain: str, averaged: str, local: str) -> dict[str, Setting]:
    """Configuration and changes of each method, from the names of three configurations."""
    paths = [Path(f"configs/{name}.yaml") for name in (plain, averaged, local)]
    return {
        "plain": (paths[0], {}),
        "plain, rotations": (paths[0], dict(AUGMENTED)),
        "mean over frames": (paths[1], {}),
        "preferred frame": (paths[1], {MODE: "argmax"}),
        "local frames": (paths[2], {}),
    }


METHODS = {
    "normals": settings_of("normals_dgcnn", "normals_fa_dgcnn", "normals_transport"),
    "shapes": settings_of("shapes_pointnet", "shapes_fa_pointnet", "shapes_transport"),
}
COUNTS = (Column("parameters", "parameters"), Column("steps", "steps"))
COLUMNS = {
    "normals": (
        Column("error", "1 - (n . n')²", "", ".4f"),
        Column("degrees", "angle", "°", ".1f"),
        *COUNTS,
    ),
    "shapes": (Column("accuracy", "accuracy", "%", ".1f", 100), *COUNTS),
}
TINY: dict[str, object] = {
    "data.init_args.source": "surfaces",
    "data.init_args.points": 8,
    "data.init_args.train": 16,
    "data.init_args.val": 8,
    "data.init_args.test": 8,
    "trainer.max_epochs": 1,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=MINUTES, help="of processor time per run")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--data", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--tiny", action="store_true", help="a test of the script")
    options = parser.parse_args()
    torch.set_num_threads(1)
    chosen = {(data, name): METHODS[data][name] for data in options.data for name in METHODS[data]}
    budgets: Mapping[tuple[str, str], Mapping[str, object]] = dict.fromkeys(chosen, TINY)
    if not options.tiny:
        budgets = budgets_of(chosen, options.minutes)
    label = "tiny" if options.tiny else f"{options.minutes:g}min"
    runs: dict[tuple[str, str], list[dict[str, Any]]] = {key: [] for key in chosen}
    for seed in options.seeds:
        for key, setting in chosen.items():
            runs[key].append(run(key, setting, label, seed, budgets[key]))
    tables = [table(data, runs) for data in options.data]
    if options.tiny or options.data != list(METHODS):
        sys.stdout.writelines(markdown(*drawn(one)) for one in tables)
        return
    settings = {"minutes": options.minutes, "seeds": options.seeds}
    publish(measured("accuracy/adaptive_frames", __doc__, tables, settings))


def budgets_of(
    chosen: Mapping[tuple[str, str], Setting], minutes: float
) -> dict[tuple[str, str], dict[str, float]]:
    """Trainer options of each run: the steps that took that many minutes."""
    named = {" ".join(key): (path, QUIET | options) for key, (path, options) in chosen.items()}
    budget = budgeted(NAME, named, minutes)
    return {key: budget[" ".join(key)] for key in chosen}


def run(
    key: tuple[str, str], setting: Setting, label: str, seed: int, changes: Mapping[str, object]
) -> dict[str, Any]:
    """Results of a run that is read, or trained and tested."""
    words = "-".join(key).replace(",", "").replace(" ", "-")
    path, own = setting
    options = QUIET | TURNED | own | dict(changes)
    return trained_here(RUNS / f"{NAME}-{words}-{label}-seed{seed}", path, options, seed)


def table(data: str, runs: Mapping[tuple[str, str], Sequence[dict[str, Any]]]) -> Table:
    rows = tuple(row(key, several) for key, several in runs.items() if key[0] == data)
    return Table((f"{data}, turned",), COLUMNS[data], rows, COLUMNS[data][0].key)


def row(key: tuple[str, str], several: Sequence[dict[str, Any]]) -> Row:
    data, name = key
    names = [column.key for column in COLUMNS[data] if column not in COUNTS]
    cells: dict[str, Cell] = {key: metric(several, f"test/{key}") for key in names}
    cells |= {key: several[0]["fit"][key] for key in ("parameters", "steps")}
    return Row((name,), cells, "peer" if name in PLAIN else "geqlib", **measured_by(several))


if __name__ == "__main__":
    start(main)
