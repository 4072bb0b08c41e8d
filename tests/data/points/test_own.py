"""Clouds of one's own: every kind of file, folders and tables, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from geqlib.cli import main
from geqlib.data import CloudData
from geqlib.data.near_pairs import with_near_pairs
from geqlib.data.packed import PackedGraphs
from geqlib.data.points.cloud_files import read_cloud

FAR = 1e6
DRAW = np.random.default_rng(3)
POINTS = DRAW.normal(size=(7, 3)).astype(np.float32)
NORMALS = POINTS / np.linalg.norm(POINTS, axis=1, keepdims=True)
TETRAHEDRON = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=np.float32)
FACES = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])


def ply(
    points: np.ndarray, normals: np.ndarray | None = None, faces: Any = (), *, form: str
) -> bytes:
    """A PLY file, written by hand; of each point also a colour, which is not read."""
    names = ["x", "y", "z", *(["nx", "ny", "nz"] if normals is not None else [])]
    columns = points if normals is None else np.concatenate([points, normals], 1)
    lines = ["ply", f"format {form} 1.0", "comment own", f"element vertex {len(points)}"]
    lines += [f"property float {name}" for name in names] + ["property uchar red"]
    if len(faces):
        lines += [f"element face {len(faces)}", "property list uchar int vertex_indices"]
    head = ("\n".join([*lines, "end_header"]) + "\n").encode()
    if form == "ascii":
        rows = [" ".join([*(repr(float(v)) for v in row), "7"]) for row in columns]
        rows += [" ".join(map(str, [len(face), *face])) for face in faces]
        return head + ("\n".join(rows) + "\n").encode()
    little = "<" if "little" in form else ">"
    body = b"".join(row.astype(f"{little}f4").tobytes() + b"\x07" for row in columns)
    body += b"".join(
        bytes([len(face)]) + np.array(face, dtype=f"{little}i4").tobytes() for face in faces
    )
    return head + body


def stl(form: str) -> bytes:
    corners = TETRAHEDRON[FACES]
    if form == "ascii":
        facets = "".join(
            "facet normal 0 0 0\nouter loop\n"
            + "".join(f"vertex {a} {b} {c}\n" for a, b, c in triangle)
            + "endloop\nendfacet\n"
            for triangle in corners
        )
        return f"solid own\n{facets}endsolid own\n".encode()
    body = b"".join(bytes(12) + t.astype("<f4").tobytes() + bytes(2) for t in corners)
    return b"solid binary".ljust(80) + len(corners).to_bytes(4, "little") + body


def test_arrays(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", POINTS)
    wide = np.concatenate([POINTS, DRAW.normal(size=(7, 2))], 1)
    np.save(tmp_path / "b.npy", wide)
    np.savez(tmp_path / "c.npz", pos=POINTS, normal=NORMALS)
    np.savez(tmp_path / "d.npz", wide)
    lines = "\n".join(" ".join(map(str, row)) for row in wide)
    (tmp_path / "e.xyz").write_text(f"# x y z and two more\n{lines}\n\n")
    assert np.array_equal(read_cloud(tmp_path / "a.npy").pos, POINTS)
    for name in ("b.npy", "d.npz", "e.xyz"):
        cloud = read_cloud(tmp_path / name)
        assert np.allclose(cloud.pos, POINTS) and np.allclose(cloud.x, wide[:, 3:])
    assert np.array_equal(read_cloud(tmp_path / "c.npz").normal, NORMALS)


@pytest.mark.parametrize("form", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_ply(form: str, tmp_path: Path) -> None:
    pytest.importorskip("plyfile", reason="PLY is read by plyfile, which is optional")
    path = tmp_path / "a.ply"
    path.write_bytes(ply(POINTS, NORMALS, form=form))
    cloud = read_cloud(path)
    assert np.array_equal(cloud.pos, POINTS) and np.array_equal(cloud.normal, NORMALS)
    assert cloud.face is None
    path.write_bytes(ply(TETRAHEDRON, None, [[0, 2, 1], [0, 1, 2, 3]], form=form))
    mesh = read_cloud(path)
    assert mesh.face.tolist() == [[0, 2, 1], [0, 1, 2], [0, 2, 3]]
    whole = path.read_bytes()
    path.write_bytes(whole[:-6])
    with pytest.raises(ValueError, match=r"a.ply holds no cloud of points"):
        read_cloud(path)


@pytest.mark.parametrize("form", ["ascii", "binary"])
def test_stl(form: str, tmp_path: Path) -> None:
    path = tmp_path / "a.stl"
    path.write_bytes(stl(form))
    mesh = read_cloud(path)
    assert np.array_equal(mesh.pos[mesh.face], TETRAHEDRON[FACES])
    path.write_bytes(stl(form)[:-20])
    with pytest.raises(ValueError, match=r"a.stl holds no cloud of points"):
        read_cloud(path)


def test_surfaces_are_sampled_with_their_normals(tmp_path: Path) -> None:
    lines = [" ".join(map(str, row)) for row in TETRAHEDRON]
    lines += [" ".join(map(str, [3, *row])) for row in FACES]
    (tmp_path / "a.off").write_text("OFF\n4 4 0\n" + "\n".join(lines))
    mesh = read_cloud(tmp_path / "a.off")
    cloud = mesh.sampled(200, np.random.default_rng(0))
    inside = (cloud.pos >= -1e-6).all(1) & (cloud.pos.sum(1) <= 1 + 1e-6)
    assert cloud.pos.shape == (200, 3) and inside.all()
    outward = np.where(np.isclose(cloud.pos.sum(1), 1)[:, None], 1 / np.sqrt(3), 0)
    slanted = outward[:, 0] > 0
    assert np.allclose(cloud.normal[slanted], outward[slanted])
    with pytest.raises(ValueError, match="it is a surface: say by `points`"):
        mesh.sampled(None, np.random.default_rng(0))


def test_points_are_drawn_without_repeats_where_there_are_enough(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", POINTS)
    cloud = read_cloud(tmp_path / "a.npy")
    few = cloud.sampled(5, np.random.default_rng(1)).pos
    assert len(np.unique(few, axis=0)) == 5
    many = cloud.sampled(20, np.random.default_rng(1)).pos
    assert len(many) == 20 and len(np.unique(many, axis=0)) <= 7


def folders(tmp_path: Path, count: int = 6) -> Path:
    for name in ("cups", "pens"):
        (tmp_path / name).mkdir()
        for k in range(count):
            np.save(tmp_path / name / f"{k}.npy", DRAW.normal(size=(9 + k, 3)))
        (tmp_path / name / "notes.txt").write_text("not a cloud")
    return tmp_path


def test_folders_of_classes(tmp_path: Path) -> None:
    data = CloudData(folders(tmp_path), points=None, val=0.2, test=0.2, cutoff=0.8)
    data.setup()
    assert data.classes == ["cups", "pens"]
    assert {k: len(v) for k, v in data.splits.items()} == {"train": 8, "val": 2, "test": 2}
    whole = data.splits["train"]
    for k in range(len(whole)):
        graph = whole[k]
        assert torch.allclose(graph.pos.mean(0), torch.zeros(3), atol=1e-6)
        assert float(graph.pos.square().sum(1).mean()) == pytest.approx(1)
        distance = torch.cdist(graph.pos, graph.pos).fill_diagonal_(9.0)
        assert graph.edge_index.size(1) == int((distance <= 0.8).sum())
    for fold in range(3):
        own = CloudData(tmp_path, points=None, fold=fold, num_folds=3, val=0.25)
        own.setup()
        assert sorted(own.splits["test"].y.tolist()) == [0, 0, 1, 1]


def test_tables_of_files_and_numbers(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    rows = []
    for k in range(10):
        np.save(tmp_path / "deep" / f"{k}.npy", DRAW.normal(size=(9, 3)))
        rows.append(f"deep/{k}.npy,{k * 1.5},{'' if k == 3 else k}")
    (tmp_path / "all.csv").write_text("\ufefffile,mass,age\n" + "\n".join(rows))
    data = CloudData(
        tmp_path / "all.csv", 0, 0, target=["mass", "age"], kind="numbers", normalize=False
    )
    data.setup()
    y = data.splits["train"].y
    assert y[:, 0].tolist() == [1.5 * k for k in range(10)]
    assert y[:, 1].isnan().nonzero().tolist() == [[3]]
    first = np.load(tmp_path / "deep" / "0.npy").astype(np.float32)
    drawn = data.splits["train"][0].pos.numpy()
    assert len(drawn) == 256
    assert np.isclose(drawn[:, None], first[None], atol=1e-6).all(2).any(1).all()
    again = CloudData(tmp_path / "all.csv", 0, 0, target="mass", kind="numbers", normalize=False)
    again.setup()
    assert torch.equal(again.splits["train"].pos, data.splits["train"].pos)
    assert again.target_scale()[0] == pytest.approx(6.75)


def test_edges_are_all_near_pairs() -> None:
    sizes = [4, 0, 1, 6]
    pos = torch.from_numpy(DRAW.normal(size=(11, 3)))
    edge = torch.zeros(2, 4, dtype=torch.long)
    arrays = {"nodes": sizes, "edges": [4, 0, 0, 0], "edge_index": edge, "pos": pos, "y": sizes}
    arrays |= {"weight": torch.ones(4)}
    graphs = PackedGraphs(arrays, {"pos": "node", "y": "graph", "weight": "edge"})
    near = with_near_pairs(graphs, 1.5)
    for k in range(4):
        one = near[k]
        distance = torch.cdist(one.pos, one.pos).fill_diagonal_(9.0)
        assert {tuple(e) for e in one.edge_index.T.tolist()} == {
            tuple(e) for e in (distance <= 1.5).nonzero().tolist()
        }
        assert int(one.y) == sizes[k] and "weight" not in one


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "nowhere"}, "There is no folder or CSV file nowhere, here or in the folder GE"),
        ({"source": "flat"}, r"There are no clouds in flat.CLASS: put .npy"),
        ({"source": "hollow"}, r"There are no clouds in hollow.cups: put .npy"),
        ({"source": "a.csv"}, "a.csv has no column 'label', only file, mass: .* in `target`"),
        ({"source": "b.csv"}, "b.csv, row 1 after the header: there is no file lost.npy"),
        ({"source": "c.csv"}, r"c.csv is no table of files \(it has no rows\)"),
        ({"source": "d.csv"}, "two.npy has 2 columns of pos, but one.npy 3: give all clouds the"),
        ({"source": "e.csv"}, "pic.png is no file of points: convert it to one of .npy"),
        ({"source": "d.csv", "kind": "numbers"}, "target of cloud 0 is 'p', which is no number"),
        ({"points": 1}, "points must be at least 2, or null for all, got 1"),
        ({"kind": "text"}, '"classes" or "numbers"'),
        ({"target": ["a", "b"]}, "several targets are numbers"),
        ({"cutoff": -1.0}, "cutoff must be positive"),
    ],
)
def test_what_is_refused(
    options: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("flat").mkdir()
    Path("hollow/cups").mkdir(parents=True)
    np.save("one.npy", POINTS)
    np.save("two.npy", POINTS[:, :2])
    Path("pic.png").write_text("")
    Path("a.csv").write_text("file,mass\none.npy,1\n")
    Path("b.csv").write_text("file,label\nlost.npy,1\n")
    Path("c.csv").write_text("file,label\n")
    Path("d.csv").write_text("file,label\none.npy,p\ntwo.npy,q\n")
    Path("e.csv").write_text("file,label\npic.png,p\n")
    with pytest.raises(ValueError, match=message):
        CloudData(**({"source": "d.csv"} | options)).setup()


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("a.npy", lambda path: np.save(path, np.ones(4)), "its array is .4,., not .points, col"),
        ("a.npy", lambda path: np.save(path, [[0, np.nan, 1]]), "pos of point 0 is NaN or inf"),
        ("a.npy", lambda path: np.save(path, np.ones((3, 1))), "points are .3, 1., not .at least"),
        ("a.npy", lambda path: np.save(path, np.array([{}])), "allow_pickle"),
        ("a.npz", lambda path: np.savez(path, a=POINTS, b=POINTS), 'it has a, b, and no "pos"'),
        ("a.npz", lambda path: np.savez(path, pos=POINTS, x=POINTS[:2]), "x is float32 .2, 3., n"),
        ("a.xyz", lambda path: path.write_text("2\nwater\nO 0 0 0\nH 0 0 1"), "it holds atoms, w"),
        ("a.xyz", lambda path: path.write_text("0 0 0\n1 1"), "different numbers of columns"),
        (
            "a.off",
            lambda path: path.write_text("OFF\n3 1 0\n0 0 0"),
            "a.off holds no cloud of poin",
        ),
    ],
)
def test_damaged_files(name: str, write: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    write(path)
    with pytest.raises(ValueError, match=message):
        read_cloud(path)


@pytest.mark.slow
def test_classes_are_cross_validated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folders(tmp_path)
    net = {"class_path": "FAPointNet", "init_args": {"out_scalars": 2, "channels": 4}}
    settings = {
        "monitor": "val/loss",
        "model": {"class_path": "ClassificationTask", "init_args": {"classes": 2, "model": net}},
        "data": {
            "class_path": "CloudData",
            "init_args": {"source": ".", "num_folds": 2, "val": 0.25, "points": 8},
        },
        "trainer": {"max_epochs": 1, "accelerator": "cpu"},
    }
    Path("own.yaml").write_text(yaml.safe_dump(settings))
    Path("out").mkdir()
    assert main(["cv", "--config=own.yaml", f"--out={tmp_path.parent / 'cv-clouds'}"]) == 2
    Path("out").rmdir()
    assert main(["cv", "--config=own.yaml", f"--out={tmp_path.parent / 'cv-clouds'}"]) == 0
    summary = json.loads((tmp_path.parent / "cv-clouds" / "folds.json").read_text())
    assert summary["measure"] == "accuracy" and len(summary["confusion"]) == 2


def test_clouds_far_from_the_origin(tmp_path: Path) -> None:
    """In float32 a thousand values at a million become seventeen."""
    points = np.random.default_rng(0).normal(size=(50, 3))
    for name, shift in (("near", 0.0), ("far", FAR)):
        (tmp_path / name / "a").mkdir(parents=True)
        for k in range(4):
            np.save(tmp_path / name / "a" / f"{k}.npy", points + shift)

    def positions(name: str, **options: Any) -> Any:
        data = CloudData(tmp_path / name, 0.25, 0.25, points=None, **options)
        data.setup()
        return data.splits["train"].pos

    torch.testing.assert_close(positions("near"), positions("far"), atol=1e-6, rtol=0)
    torch.testing.assert_close(
        positions("near", normalize=False)[:50], torch.from_numpy(points).float()
    )
    with pytest.raises(ValueError, match="npy: its points are so far from the origin that float32"):
        positions("far", normalize=False)
    for k in range(4):  # which has the digits that float32 has
        np.save(tmp_path / "far" / "a" / f"{k}.npy", (points + 1000).astype(np.float32))
    assert len(positions("far", normalize=False))


def test_one_point_in_float64_is_not_far(tmp_path: Path) -> None:
    for k in range(4):
        (tmp_path / "a").mkdir(exist_ok=True)
        np.save(tmp_path / "a" / f"{k}.npy", np.full((1, 3), 0.1))
    CloudData(tmp_path, 0.25, 0.25, points=None, normalize=False).setup()


def test_points_depend_on_the_file_and_the_seed_alone(tmp_path: Path) -> None:
    """Not on which files there are beside it, where it lies and what it is called."""
    draw = np.random.default_rng(0)
    for label in ("a", "b"):
        (tmp_path / "one" / label).mkdir(parents=True)
        for k in range(10):
            np.save(tmp_path / "one" / label / f"{k}.npy", draw.normal(size=(40, 3)))
    one = CloudData(tmp_path / "one", points=8)
    one.setup()
    moved = tmp_path / "one" / "b" / "3.npy"
    expected = one.cloud(moved).pos
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone" / "0.npy").write_bytes(moved.read_bytes())
    alone = one.of_file(tmp_path / "alone")
    alone.setup()
    actual = alone.splits["test"].pos
    torch.testing.assert_close(actual, torch.from_numpy(expected).to(actual.dtype))
    every = torch.cat([part.pos for part in one.splits.values()]).view(-1, 8, 3)
    assert int((every - actual).abs().amax((1, 2)).lt(1e-6).sum()) == 1
    other = CloudData(tmp_path / "one", points=8, data_seed=1).cloud(moved).pos
    assert not np.allclose(np.sort(other, 0), np.sort(expected, 0))
    different = one.cloud(tmp_path / "one" / "b" / "4.npy").pos
    assert not np.allclose(different, expected)
