"""Classes of point clouds: what a folder of meshes holds."""

from __future__ import annotations

from pathlib import Path
from statistics import mean

from geqlib.data.points.clouds import mesh_files, read_off
from geqlib.proposals.proposal import Proposal, run_name

POINTS = 256
MOST = 2048  # clouds of an epoch
EACH = 16  # clouds of a mesh in an epoch, up to that
LOOKED_AT = 20  # meshes


def look(file: str) -> Proposal:
    """Propose a classifier for a folder of meshes in classes.

    Raises:
        ValueError: if there are no meshes of at least two classes, or none to test on.
    """
    meshes = mesh_files(file)
    classes = list(meshes.classes)
    if len(classes) < 2:
        raise ValueError(
            f"{file} has the class {classes[0]} alone: a classifier needs meshes of two or more."
        )
    if not meshes.test:
        raise ValueError(
            f"There are no test meshes in {file}: move some of each class to CLASS/test, such as "
            f"{Path(file) / classes[0] / 'test'}."
        )
    step = max(len(meshes.train) // LOOKED_AT, 1)
    corners = [len(read_off(meshes.folder / path)[0]) for _, path in meshes.train[::step]]
    count = len(meshes.train)
    train = max(min(EACH * count, MOST), count)
    settings = {
        "file": file,
        "classes": len(classes),
        "points": POINTS,
        "train": train,
        "val": max(len(classes), train // 8),
        "test": max(len(meshes.test), len(classes)),
        "batch": max(min(32, train // 8), 1),
    }
    shown = ", ".join(classes[:8]) + (", ..." if len(classes) > 8 else "")
    reasons = (
        f"{len(classes)} classes ({shown}); {count} meshes to train on and {len(meshes.test)} to "
        f"test on, of {mean(corners):.0f} corners on average",
        f"points {POINTS}: drawn anew from the surface of each mesh, uniformly by area",
        f"train {train}: clouds of an epoch, {train / count:.3g} of each mesh",
        "group SE(3): turned clouds have the same class, and mirror images may have another",
        "rotations I/SO(3): test clouds are turned, so that the accuracy is that of any position",
    )
    return Proposal("points", run_name(file), settings, reasons)


EXAMPLE = Proposal(
    "points",
    "my_points",
    {
        "file": "my_meshes",
        "classes": 10,
        "points": POINTS,
        "train": MOST,
        "val": 256,
        "test": 512,
        "batch": 32,
    },
    (
        "data: source, and the number of classes in `classes` and `out_scalars`, are examples",
        "meshes lie in my_meshes/CLASS/train/*.off and my_meshes/CLASS/test/*.off",
        "or name the folder, and this command looks at it: geqlib new points FOLDER",
    ),
)
