"""Normals of surfaces from their points, under the three rotation protocols.

Protocol: clouds of 128 points on spheres, ellipsoids, tori, boxes, cylinders, cones and blobs of
random proportions (2048 to train on, 64 for validation, 256 for testing), configs/normals_*.yaml
with a learning rate schedule of so many minutes of processor time for training steps of each run,
the same for all networks; the epoch with the lowest validation error under averaged weights is
tested. I/I and I/SO(3) test one run trained upright, upright and turned; SO(3)/SO(3) a run trained
on clouds that are turned anew each time. Seeds 0, 1 and 2; 1 - (n . n')^2, mean over points.

    python benchmarks/accuracy/normals.py [--minutes 0.5] [--seeds 0 1 2]
"""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.budget import budgeted
from benchmarks.markdown import markdown
from benchmarks.measure import write_result
from benchmarks.training import RUNS, show, summary, trained

CONFIGS = {
    "DGCNN": Path("configs/normals_dgcnn.yaml"),
    "FA-DGCNN": Path("configs/normals_fa_dgcnn.yaml"),
    "FA-Local-PointNet": Path("configs/normals_fa_local.yaml"),
}
PROTOCOLS = ("I/I", "I/SO(3)", "SO(3)/SO(3)")
SEEDS = (0, 1, 2)
MINUTES = 0.5


def main() -> None:
    parser = ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=MINUTES, help="of processor time a run")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    given = parser.parse_args()
    steps = budgeted("normals", {name: (path, {}) for name, path in CONFIGS.items()}, given.minutes)
    runs = {name: {p: [] for p in PROTOCOLS} for name in CONFIGS}
    for seed in given.seeds:
        for name in CONFIGS:
            for protocol in PROTOCOLS:
                found = run(name, protocol, seed, given.minutes, steps[name])
                runs[name][protocol].append(found)
    rows = {name: row(found) for name, found in runs.items()}
    show("1 - (n . n')^2", ("", *PROTOCOLS, "parameters", "steps"), cells(rows))
    protocol = " ".join((__doc__ or "").split("\n\n")[1].split())
    content = {"protocol": protocol, "minutes": given.minutes, "seeds": given.seeds, "rows": rows}
    sys.stdout.write(f"wrote {write_result('accuracy/normals', content)}\n")


def run(
    name: str, protocol: str, seed: int, minutes: float, steps: dict[str, float]
) -> dict[str, Any]:
    turned = protocol == "SO(3)/SO(3)"
    kind = "turned" if turned else "upright"
    folder = RUNS / f"normals-{name}-{kind}-{minutes:g}min-seed{seed}"
    options: dict[str, object] = {"trainer.enable_progress_bar": False, **steps}
    options["data.init_args.rotations"] = "SO(3)/SO(3)" if turned else "I/I"
    options["model.init_args.rotate"] = turned
    tested = {"data.init_args.rotations": protocol}
    found = trained(folder, CONFIGS[name], options, seed, tested=tested)
    return found | {"fit": json.loads((folder / "fit.json").read_text())}


def row(found: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    first = found["I/I"][0]["fit"]
    return {
        "error": {p: summary(results, "test/error") for p, results in found.items()},
        "degrees": {p: summary(results, "test/degrees") for p, results in found.items()},
        "parameters": first["parameters"],
        "steps": first["steps"],
    }


def cells(rows: dict[str, Any]) -> list[tuple[object, ...]]:
    return [
        (name, *(spread(r["error"][p]) for p in PROTOCOLS), r["parameters"], r["steps"])
        for name, r in rows.items()
    ]


def spread(entry: dict[str, Any]) -> str:
    if entry["std"] is None:
        return f"{entry['mean']:.4f}"
    return f"{entry['mean']:.4f} ± {entry['std']:.4f}"


def table(found: dict[str, Any]) -> str:
    return markdown(("1 - (n . n')²", *PROTOCOLS, "parameters", "steps"), cells(found["rows"]))


if __name__ == "__main__":
    main()
