"""Classification of the 40 meshes of GeometricShapes, under the three rotation protocols.

Protocol: clouds of 128 points, 64 a mesh to train on, 4 for validation and 20 for testing: the set
has one mesh a class, the same in both of its splits. configs/shapes_*.yaml with a learning rate
schedule over the training steps that took {minutes} minutes of processor time, the same for both
networks; the epoch with the lowest validation loss under averaged weights is tested. I/I and
I/SO(3) test one run trained upright, upright and turned; SO(3)/SO(3) a run trained on clouds that
are turned anew each time. Seeds {seeds}.

    python benchmarks/accuracy/shapes.py [--minutes 0.35] [--seeds 0 1 2]
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.accuracy.normals import measure
from benchmarks.provenance import start
from benchmarks.rows import Column

CONFIGS = {
    "PointNet": Path("configs/shapes_pointnet.yaml"),
    "FA-PointNet": Path("configs/shapes_fa_pointnet.yaml"),
}
MINUTES, SEEDS = 0.35, (0, 1, 2)
ACCURACY = Column("accuracy", "accuracy", "%", ".1f", 100)


def main() -> None:
    measure("shapes", __doc__ or "", CONFIGS, MINUTES, ACCURACY, ["accuracy"])


if __name__ == "__main__":
    start(main)
