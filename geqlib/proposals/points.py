"""A configuration for classes of point clouds, from a folder of meshes or clouds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from geqlib.counted import counted
from geqlib.data.download import find_folder
from geqlib.data.points.cloud_files import read_cloud
from geqlib.data.points.clouds import mesh_files, read_off
from geqlib.data.points.own import listed_files
from geqlib.proposals.proposal import Line, Proposal, run_name, written

POINTS = 256
MOST = 2048  # clouds of an epoch
EACH = 16  # clouds of a mesh in an epoch, up to that
LOOKED_AT = 20  # meshes
MESHES = """class_path: PointCloudData
  init_args:
    source: {file}  # CLASS/train/*.off and CLASS/test/*.off
    points: 256
    train: {train}  # clouds of an epoch, the same number of each mesh
    val: {val}
    test: {test}
    rotations: I/SO(3)  # of training / test clouds"""
CLOUDS = """class_path: CloudData
  init_args:
    source: {file}  # a folder of files for each class
    points: {points}  # of each cloud
    val: 0.1  # a share, or a folder of its own
    test: 0.1"""
SPACE = """class_path: FAPointNet
      init_args:
        out_scalars: {classes}
        in_scalars: {features}  # further columns of each point
        channels: 32
        group: SE(3)  # E(3) where mirror images have the same class"""
PLANE = """class_path: PONITA
      init_args:
        out_scalars: {classes}
        out_vectors: 0
        in_scalars: {features}  # further columns of each point
        in_vectors: 0
        space: R2xS1  # of points in the plane
        orientations: 8
        level: graph
        channels: 32
        layers: 3
        cutoff: {cutoff}  # of neighbours; the root mean square radius of a cloud is 1"""
NEIGHBORS = 24  # of a point in the plane, on average


def look(file: str) -> Proposal:
    """Propose a classifier for a folder of meshes or clouds in classes.

    Raises:
        ValueError: if there are no files of at least two classes, or no meshes to test on.
    """
    if Path(file).is_file():
        raise ValueError(
            f"{file} is one file: give a folder that has a folder of such files for each class."
        )
    folder = find_folder(file)
    if folder is not None and not any(folder.rglob("train")):
        return _look_at_clouds(file)
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
    val, test = max(len(classes), train // 8), max(len(meshes.test), len(classes))
    settings = {
        "classes": len(classes),
        "model": Line(SPACE.format(classes=len(classes), features=0)),
        "data": Line(MESHES.format(file=written(file), train=train, val=val, test=test)),
        "batch": max(min(32, train // 8), 1),
    }
    shown = _listed(classes)
    reasons = (
        f"{len(classes)} classes ({shown}); {count} meshes to train on and {len(meshes.test)} to "
        f"test on, of {mean(corners):.0f} corners on average",
        f"points {POINTS}: drawn anew from the surface of each mesh, uniformly by area",
        f"train {train}: clouds of an epoch, {train / count:.3g} of each mesh",
        "group SE(3): turned clouds have the same class, and mirror images may have another",
        "rotations I/SO(3): test clouds are turned, so that the accuracy is that of any position",
    )
    return Proposal("points", run_name(file), settings, reasons)


def _look_at_clouds(file: str) -> Proposal:
    """Clouds or surfaces in a folder for each class, of which shares are for testing."""
    files = listed_files(file, ["label"])
    classes = sorted({name for _, name in files})
    if len(classes) < 2:
        raise ValueError(f"{file} has {len(classes)} classes: a classifier needs two or more.")
    read = [read_cloud(path) for path, _ in files]
    sizes = [len(cloud.pos) for cloud in read if cloud.face is None]
    clouds, surfaces = len(read), len(read) - len(sizes)
    points = POINTS if surfaces else min(POINTS, int(mean(sizes)))
    plane = read[0].pos.shape[1] == 2
    features = 0 if read[0].x is None else read[0].x.shape[1]
    # of a disc of points whose root mean square radius is 1, so that its area is 2 pi
    cutoff = round(min((2 * NEIGHBORS / points) ** 0.5, 2.0), 2)
    network = {"classes": len(classes), "features": features, "cutoff": cutoff}
    settings = {
        "classes": len(classes),
        "model": Line((PLANE if plane else SPACE).format(**network)),
        "data": Line(CLOUDS.format(file=written(file), points=points)),
        "batch": max(min(32, clouds // 20), 1),
    }
    reasons = (
        f"{len(classes)} classes ({_listed(classes)}); {_counted(sizes, surfaces)}",
        f"points {points} of each, drawn once; of surfaces uniformly by area"
        if surfaces
        else f"points {points} of each cloud, drawn once",
        f"points of a plane: PONITA on R2xS1, with edges of all pairs within {cutoff}"
        if plane
        else "group SE(3): turned clouds have the same class, and mirror images may have another",
        f"{counted(features, 'column')} beside the positions: in_scalars {features}; they do not "
        "turn with a cloud, so that vectors, such as normals, do not belong there"
        if features
        else "",
        f"normals are left out: {'PONITA' if plane else 'FAPointNet'} is built without vectors"
        if any(cloud.normal is not None for cloud in read)
        else "",
        "a tenth of the clouds for validation (val), another for testing (test)",
    )
    return Proposal("points", run_name(file), settings, tuple(filter(None, reasons)))


def _counted(sizes: Sequence[int], surfaces: int) -> str:
    """How many clouds there are of how many points, and how many surfaces."""
    parts = []
    if sizes:
        few, many = min(sizes), max(sizes)
        each = f"{few} to {many}" if few < many else f"{few}"
        parts.append(f"{counted(len(sizes), 'cloud')} of {each} points")
    return " and ".join(parts + ([f"{surfaces} surfaces"] if surfaces else []))


def _listed(classes: Sequence[str]) -> str:
    return ", ".join(classes[:8]) + (", ..." if len(classes) > 8 else "")


EXAMPLE = Proposal(
    "points",
    "my_points",
    {
        "classes": 10,
        "model": Line(SPACE.format(classes=10, features=0)),
        "data": Line(MESHES.format(file="my_meshes", train=MOST, val=256, test=512)),
        "batch": 32,
    },
    (
        "data: source, and the number of classes in `classes` and `out_scalars`, are examples",
        "meshes lie in my_meshes/CLASS/train/*.off and my_meshes/CLASS/test/*.off; CloudData reads",
        "clouds in a folder for each class, which needs no split",
        "or name the folder, and this command looks at it: geqlib new points FOLDER",
    ),
)
