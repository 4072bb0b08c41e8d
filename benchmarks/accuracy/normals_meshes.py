"""Normals of the 40 meshes of GeometricShapes, under the three rotation protocols.

Protocol: as benchmarks/accuracy/normals.py, on clouds of 128 points that are sampled from meshes,
with the normals of their triangles: 2000 clouds to train on, 80 for validation and 400 for testing.
The set has one mesh a class, the same in both of its splits, so that the question is which way the
surface faces at new points of known shapes. {minutes} minutes; seeds {seeds}; 1 - (n . n')^2, mean
over points.

    GEQLIB_DATA=FOLDER python benchmarks/accuracy/normals_meshes.py [--minutes 0.5] [--seeds 0 1 2]
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.accuracy.normals import CONFIGS, ERROR, measure
from benchmarks.provenance import start

MINUTES, SEEDS = 0.5, (0, 1, 2)
MESHES = {
    "data.init_args.source": "GeometricShapes",
    "data.init_args.train": 2000,
    "data.init_args.val": 80,
    "data.init_args.test": 400,
}


def main() -> None:
    measure("normals_meshes", __doc__ or "", CONFIGS, MINUTES, ERROR, ["error", "degrees"], MESHES)


if __name__ == "__main__":
    start(main)
