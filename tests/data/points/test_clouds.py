"""Meshes are read as torch_geometric reads them, sampled by area, turned as the protocol says."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch_geometric.datasets import GeometricShapes, ModelNet

from geqlib.data import PointCloudData
from geqlib.data.points.clouds import (
    mesh_files,
    mesh_splits,
    normalised,
    read_off,
    sample_mesh,
)
from tests.data.points import raw_meshes

SMALL: dict[str, Any] = {"points": 16, "train": 14, "val": 7, "test": 9}
MIRROR = os.environ.get("GEQLIB_DATA")


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEQLIB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GEQLIB_DATA", str(tmp_path / "mirror"))


def built(source: str = "surfaces", **options: Any) -> PointCloudData:
    data = PointCloudData(source, 4, **(SMALL | options))
    data.prepare_data()
    data.setup()
    return data


def assert_as_in_torch_geometric(files: Any, split: str, dataset: Any) -> None:
    mine = [(y, *read_off(files.folder / path)) for y, path in getattr(files, split)]
    theirs = {label: [] for label in range(len(files.classes))}
    for data in dataset:
        faces = sorted(map(tuple, data.face.T.tolist()))  # it puts those of three corners first
        theirs[int(data.y)].append((data.pos - data.pos.mean(0), faces))
    assert len(mine) == len(dataset)
    for label, pos, face in mine:
        place = next(
            k
            for k, (points, faces) in enumerate(theirs[label])  # folders are listed in any order
            if points.shape == pos.shape
            and np.allclose(points, pos - pos.mean(0), atol=1e-5)  # read in float32
            and faces == sorted(map(tuple, face.tolist()))
        )
        del theirs[label][place]


def test_miniature_modelnet_as_torch_geometric_reads_it(tmp_path: Path) -> None:
    raw_meshes.write_modelnet(tmp_path / "mirror" / "ModelNet10")
    files = mesh_files("ModelNet10")
    assert files.classes == raw_meshes.MODELNET10
    folder = shutil.copytree(tmp_path / "mirror" / "ModelNet10", tmp_path / "pyg")
    for split in ("train", "test"):
        assert_as_in_torch_geometric(files, split, ModelNet(str(folder), train=split == "train"))


@pytest.mark.skipif(MIRROR is None, reason="GEQLIB_DATA does not name the mirror")
def test_geometric_shapes_as_torch_geometric_reads_them(tmp_path: Path) -> None:
    place = Path(MIRROR or "") / "GeometricShapes"
    files = mesh_files(str(place))
    assert len(files.classes) == 40
    folder = shutil.copytree(place, tmp_path / "pyg")
    for split in ("train", "test"):
        assert_as_in_torch_geometric(
            files, split, GeometricShapes(str(folder), train=split == "train")
        )


def test_held_out_meshes_are_not_trained_on(tmp_path: Path) -> None:
    raw_meshes.write_modelnet(tmp_path / "ModelNet10")
    parts = mesh_splits(mesh_files(str(tmp_path / "ModelNet10")))
    assert [len(part) for part in parts.values()] == [11 + 18, 1 + 18, 10]
    train, val, test = parts.values()
    assert not [mesh for mesh in val if mesh[0] == 0 and mesh in train]
    # of the other classes a tenth is none: new samples of the same meshes
    assert all(mesh in train for mesh in val if mesh[0] > 0)
    assert not set(test) & set(train + val)
    assert all(path.startswith(raw_meshes.MODELNET10[label]) for label, path in train + val + test)


def test_polygons_colours_comments_and_a_missing_last_break(tmp_path: Path) -> None:
    path = tmp_path / "pentagon.off"
    angles = 2 * np.pi * np.arange(5) / 5
    rows = [f"{np.cos(a)} {np.sin(a)} 0" for a in angles]
    path.write_text("\n".join(["OFF # a pentagon", "5 1 0", "", *rows, "5 0 1 2 3 4 255 0 0"]))
    pos, face = read_off(path)
    assert face.tolist() == [[0, 1, 2], [0, 2, 3], [0, 3, 4]]
    np.testing.assert_allclose(pos[:, :2].T, [np.cos(angles), np.sin(angles)])


@pytest.mark.parametrize(
    "head", ["OFF\n3 1 0", "OFF3 1 0", "OFF 3 1 0", "# a\nOFF 3 1 0 # b", "3 1 0"]
)
def test_headers(tmp_path: Path, head: str) -> None:
    """The numbers stand on the line after OFF, or on its own, with a space or without."""
    path = tmp_path / "triangle.off"
    path.write_text(f"{head}\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n")
    pos, face = read_off(path)
    assert pos.tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0]] and face.tolist() == [[0, 1, 2]]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "OFF\n",
        "OFF 3\n0 0 0\n",
        "OFF\n1 1 0\n0 0\n3 0 0 0\n",
        "OFF\n1 1 0\n0 0 0\n3 0 0 1\n",
        "OFF\n2 1 0\n0 0 0\n",
    ],
)
def test_broken_files(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.off"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"broken\.off is no OFF mesh .*: correct or remove it"):
        read_off(path)


def test_meshes_are_sampled_by_area() -> None:
    """A box of unequal faces, and a triangle: share of each face, and moments within it."""
    pos = np.array([[i, j, k] for i in (0, 1) for j in (0, 2) for k in (0, 5)], dtype=float)
    quads = raw_meshes.CUBE
    face = np.array([t for a, b, c, d in quads for t in ((a, b, c), (a, c, d), (a, a, a))])
    n = 40_000
    points, normals = sample_mesh(pos, face, n, np.random.default_rng(0))
    for axis, area in enumerate((10, 5, 2)):
        share = area / 17
        actual = (np.abs(normals[:, axis]) > 0.5).mean()
        assert abs(actual - share) < 5 * (share * (1 - share) / n) ** 0.5  # five deviations
        on_it = np.abs(normals[:, axis]) > 0.5
        assert set(np.unique(points[on_it, axis].round(12))) == {0.0, [1.0, 2.0, 5.0][axis]}
    triangle = np.array([[0.0, 0, 0], [3, 0, 0], [0, 3, 0]])
    points, _ = sample_mesh(triangle, np.array([[0, 1, 2]]), n, np.random.default_rng(1))
    # the centroid, and E[x y] = 2 area times 9 / 24; deviations of both are below 1
    assert np.abs(points.mean(0) - [1, 1, 0]).max() < 5 / n**0.5
    assert abs((points[:, 0] * points[:, 1]).mean() - 0.75) < 5 / n**0.5


@pytest.mark.parametrize("source", ["surfaces", "GeometricShapes"])
def test_clouds_are_normalised_and_points_lie_where_normals_say(
    tmp_path: Path, source: str
) -> None:
    raw_meshes.write_shapes(tmp_path / "mirror", 7)
    data = built(source, rotations="I/I")
    assert len(data.classes) == 7
    for split, part in data.splits.items():
        assert len(part) == SMALL[split]
        assert part.y.tolist() == [k % 7 for k in range(len(part))]
        pos, normal = part.pos.view(-1, 16, 3), part.normal.view(-1, 16, 3)
        torch.testing.assert_close(pos.mean(1), torch.zeros(len(part), 3), atol=1e-6, rtol=0)
        torch.testing.assert_close(pos.square().sum(2).mean(1), torch.ones(len(part)))
        torch.testing.assert_close(normal.norm(dim=2), torch.ones(len(part), 16))
    batch: Any = data.splits["val"].__getitems__([3, 0])
    assert batch.pos.shape == batch.normal.shape == (32, 3)
    assert batch.ptr.tolist() == [0, 16, 32] and batch.num_graphs == 2
    assert torch.equal(batch.pos[:16], data.splits["val"][3].pos)
    assert torch.equal(batch.batch, torch.arange(2).repeat_interleave(16))


@pytest.mark.parametrize("source", ["surfaces", "GeometricShapes"])
def test_protocols_turn_points_and_normals(tmp_path: Path, source: str) -> None:
    raw_meshes.write_shapes(tmp_path / "mirror", 7)
    upright, half, full = (
        built(source, rotations=r).splits for r in ("I/I", "I/SO(3)", "SO(3)/SO(3)")
    )
    for split in ("train", "val"):
        assert torch.equal(upright[split].pos, half[split].pos)
    assert torch.equal(half["test"].pos, full["test"].pos)
    turns = []
    for split in upright:
        for k in range(len(upright[split])):
            before, after = upright[split], full[split]
            u, _, vh = torch.linalg.svd(before[k].pos.double().T @ after[k].pos.double())
            turn = u @ torch.diag(torch.tensor([1.0, 1.0, float(torch.det(u @ vh))]).double()) @ vh
            for name in ("pos", "normal"):  # up to rounding of float32
                x, y = (s[k][name].double() for s in (before, after))
                torch.testing.assert_close(x @ turn, y, atol=1e-5, rtol=0)
            turns.append(turn)
    traces = torch.stack(turns).diagonal(dim1=1, dim2=2).sum(1)
    # cos of the angle is (trace - 1) / 2; 30 uniform rotations are not all within 30 degrees
    assert traces.min() < 1 and len(traces.round(decimals=6).unique()) == len(traces)
    assert torch.stack(turns).mean(0).abs().max() < 0.6  # six standard deviations of 0.1


def test_splits_are_a_function_of_the_seed() -> None:
    one, same, other = built(), built(cache=None), built(data_seed=1)
    longer = built(train=20)
    for split in one.splits:
        assert torch.equal(one.splits[split].pos, same.splits[split].pos)
        assert not torch.equal(one.splits[split].pos, other.splits[split].pos)
        n = len(one.splits[split].pos)
        assert torch.equal(one.splits[split].pos, longer.splits[split].pos[:n])
        assert torch.equal(one.splits[split].normal, longer.splits[split].normal[:n])
    assert not torch.equal(one.splits["train"].subset(range(7)).pos, one.splits["val"].pos)


def test_changed_meshes_are_sampled_again(tmp_path: Path) -> None:
    raw_meshes.write_shapes(tmp_path / "mirror", 2)
    before = built("GeometricShapes").splits["train"]
    path = next((tmp_path / "mirror").rglob("shape_00/train/*.off"))
    path.write_text(raw_meshes.box_text(9, 9))
    after = built("GeometricShapes").splits["train"]
    assert not torch.equal(before[0].pos, after[0].pos)
    assert torch.equal(before[1].pos, after[1].pos)


def test_points_that_coincide() -> None:
    assert normalised(np.ones((1, 3, 3))).tolist() == np.zeros((1, 3, 3)).tolist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rotations": "so3"}, r"one of I/I, I/SO\(3\), SO\(3\)/SO\(3\), got 'so3'"),
        ({"points": 1}, "points must be at least 2, .* got 1, 4, 14, 7 and 9"),
        ({"val": 0}, "at least 1, got 16, 4, 14, 0 and 9"),
        ({"kinds": ["cube"]}, r"kinds are \['cube'\]: choose from sphere"),
        ({"source": "ModelNet40"}, "no folder ModelNet40 of meshes, .*: unpack"),
    ],
)
def test_errors_say_what_and_how_to_fix(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        built(**options)


def test_folders_without_meshes(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no meshes to train on in .*CLASS/train: put OFF"):
        mesh_files(str(tmp_path))
    raw_meshes.write_shapes(tmp_path, 2)
    folder = tmp_path / "GeometricShapes"
    for path in folder.rglob("test/*.off"):
        path.unlink()
    with pytest.raises(ValueError, match="no test meshes"):
        mesh_splits(mesh_files(str(folder)))


def test_a_mesh_without_area_is_named(tmp_path: Path) -> None:
    raw_meshes.write_shapes(tmp_path / "mirror", 2)
    path = next((tmp_path / "mirror").rglob("shape_01/train/*.off"))
    path.write_text("OFF\n3 1 0\n0 0 0\n1 0 0\n2 0 0\n3 0 1 2\n")
    with pytest.raises(ValueError, match=r"In .*shape_01/train/shape_01\.off: .* no area"):
        built("GeometricShapes")


def test_a_byte_order_mark_is_passed_over(tmp_path):
    path = tmp_path / "marked.off"
    path.write_text("OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n", encoding="utf-8-sig")
    pos, face = read_off(path)
    assert len(pos) == 3 and face.tolist() == [[0, 1, 2]]
