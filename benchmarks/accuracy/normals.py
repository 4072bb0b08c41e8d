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

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.rotations import measure, rotation_table

CONFIGS = {
    "DGCNN": Path("configs/normals_dgcnn.yaml"),
    "FA-DGCNN": Path("configs/normals_fa_dgcnn.yaml"),
    "FA-Local-PointNet": Path("configs/normals_fa_local.yaml"),
}


def main() -> None:
    measure("normals", __doc__ or "", CONFIGS, 0.5, ["error", "degrees"])


def table(found: dict[str, Any]) -> str:
    return rotation_table(found, "1 - (n . n')²", "error")


if __name__ == "__main__":
    main()
