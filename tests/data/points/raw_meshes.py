"""Miniature sets of meshes, in the layouts of GeometricShapes, ABC and ModelNet."""

from __future__ import annotations

from pathlib import Path

import numpy as np

MODELNET10 = (
    *("bathtub", "bed", "chair", "desk", "dresser"),
    *("monitor", "night_stand", "sofa", "table", "toilet"),
)
CUBE = [
    (0, 1, 3, 2),
    (4, 6, 7, 5),
    (0, 4, 5, 1),
    (2, 3, 7, 6),
    (0, 2, 6, 4),
    (1, 5, 7, 3),
]


def write_shapes(folder: Path, classes: int = 40) -> None:
    """Boxes of different proportions, one mesh to train on and one for testing in each class."""
    for label in range(classes):
        _write_boxes(folder / "GeometricShapes" / "raw" / f"shape_{label:02d}", label)


def write_abc(folder: Path) -> None:
    """One class, as configurations of normals expect ABC's meshes."""
    _write_boxes(folder / "ABC" / "raw" / "abc", 0)


def _write_boxes(folder: Path, label: int) -> None:
    for split in ("train", "test"):
        path = folder / split / f"{folder.name}.off"
        path.parent.mkdir(parents=True)
        path.write_text(box_text(1 + label % 7, 2 + label // 7))


def write_modelnet40(folder: Path) -> None:
    """Forty classes of boxes, as ModelNet40's archive is unpacked."""
    for label in range(40):
        _write_boxes(folder / "ModelNet40" / f"thing_{label:02d}", label)


def write_modelnet(folder: Path) -> None:
    """ModelNet10's classes, files and names; some headers lack their line break.

    The first class has 12 meshes to train on and the others 2; each has one for testing.
    """
    for label, name in enumerate(MODELNET10):
        train = 2 if label else 12
        for number in range(1, train + 2):
            split = "train" if number <= train else "test"
            path = folder / "raw" / name / split / f"{name}_{number:04d}.off"
            path.parent.mkdir(parents=True, exist_ok=True)
            text = box_text(1 + label / 2, 1 + number / 10)
            path.write_text(text.replace("OFF\n", "OFF") if number % 2 else text)


def box_text(width: float, height: float) -> str:
    """A box of the edges `width`, `height` and 1, of four-cornered faces."""
    ends = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    corners = [" ".join(map(str, row)) for row in ends * [width, height, 1.0]]
    faces = [f"4 {' '.join(map(str, face))}" for face in CUBE]
    return "\n".join(["OFF", f"{len(corners)} {len(faces)} 0", *corners, *faces]) + "\n"
