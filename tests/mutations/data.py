"""Files of data sets to be spoilt."""

from __future__ import annotations

import lzma
import pickle
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from geqlib.data import (
    GraphData,
    MD17Data,
    MoleculeNetData,
    QM9Data,
    SuperpixelData,
    ZincData,
)
from geqlib.data.graphs.expressivity import graph_pairs
from geqlib.data.graphs.tu import read_dgcnn
from geqlib.data.points.clouds import mesh_files, read_off, sample_mesh
from geqlib.files.atomic import cached_arrays
from tests.data.graphs import raw_graphs
from tests.data.molecules import raw_md17, raw_molecules, raw_qm9
from tests.data.points import raw_meshes, raw_superpixels
from tests.mutations.mutators import BINARY, TEXT, inside_xz, other_json
from tests.mutations.reader import Payload, Reader, same_arrays


def first_batches(data: Any) -> list[Any]:
    """What training would begin with."""
    data.prepare_data()
    data.setup("fit")
    batches = [data.splits["train"].__getitems__([0, 1]), data.splits["val"].__getitems__([0])]
    for batch in batches:
        for _, value in batch:
            assert (
                not isinstance(value, Tensor)
                or not value.is_floating_point()
                or bool(value.isfinite().all())
            )
        ends = batch.edge_index
        assert not ends.numel() or 0 <= int(ends.min()) <= int(ends.max()) < len(batch.batch)
    return [batch.to_dict() for batch in batches]


def same_batches(actual: Any, sound: Any) -> None:
    for one, other in zip(actual, sound, strict=True):
        same_arrays(one, other)


def md17() -> Any:
    return first_batches(MD17Data("revised aspirin", ".", stride=10))


def qm9() -> Any:
    return first_batches(QM9Data(train=12, val=3))


def write_tu() -> None:
    raw_graphs.write(Path(), "TINY", kinds=3, edge_kinds=2, graphs=20)


def tu() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of graphs that no fold tests
        return first_batches(GraphData("TINY", edge_labels=True, cache="cache"))


def zinc() -> Any:
    return first_batches(ZincData(cache="cache"))


def lipo() -> Any:
    return first_batches(MoleculeNetData("lipo", split="random", cache="cache"))


def other_molecules(raw: bytes, rng: Generator) -> bytes:
    """Programs, and molecules of other types."""
    if rng.random() < 0.3:
        return foreign_pickle(rng)
    molecules = pickle.loads(raw)  # noqa: S301
    molecule = molecules[rng.integers(len(molecules))]
    key = list(molecule)[rng.integers(len(molecule))]
    changes = [None, torch.zeros(2), torch.full((3, 3), 7), "text", torch.tensor(float("nan")), []]
    molecule[key] = changes[rng.integers(len(changes))]
    return pickle.dumps(molecules)


def foreign_pickle(rng: Generator) -> bytes:
    programs = (
        pickle.dumps([Payload()]),
        b"cposix\nsystem\n(S'touch canary'\ntR.",
        b'cbuiltins\nexec\n(S\'open("canary", "w")\'\ntR.',
        b"ctorch.storage\n_load_from_bytes\n(S'x'\ntR.",
        pickle.dumps({"a": 1}),
        pickle.dumps(3),
        pickle.dumps([1, 2]),
    )
    return programs[rng.integers(len(programs))]


def write_mesh() -> None:
    for split in ("train", "test"):
        path = Path("set/box") / split / "box.off"
        path.parent.mkdir(parents=True)
        path.write_text(raw_meshes.box_text(1, 2))


def mesh() -> Any:
    files = mesh_files("set")
    pos, face = read_off(files.folder / files.train[0][1])
    points, normals = sample_mesh(pos, face, 16, np.random.default_rng(0))
    assert np.isfinite(points).all() and np.isfinite(normals).all()
    return points


def write_g6() -> None:
    graphs = [nx.cycle_graph(6), nx.disjoint_union(nx.cycle_graph(3), nx.cycle_graph(3))]
    Path("expressivity/EXP").mkdir(parents=True)
    text = b"".join(nx.to_graph6_bytes(graph, header=False) for graph in graphs)
    Path("expressivity/graph8c.g6").write_bytes(text)


def write_exp() -> None:
    graphs = [nx.cycle_graph(4), nx.path_graph(4)]
    lines = [str(len(graphs))]
    for graph in graphs:
        lines.append(f"{len(graph)} 0")
        lines += [f"0 {graph.degree(i)} {' '.join(map(str, graph[i]))}" for i in graph]
    Path("expressivity/EXP").mkdir(parents=True)
    Path("expressivity/EXP/GRAPHSAT.txt.xz").write_bytes(lzma.compress("\n".join(lines).encode()))


def pairs(name: Any) -> Callable[[], Any]:
    def read() -> Any:
        actual = graph_pairs(name)
        for graph in actual.graphs:
            assert graph.edge_index.max(initial=-1) < len(graph.kind)
            assert graph.edge_index.min(initial=0) >= 0
        return len(actual.graphs)

    return read


def write_dgcnn() -> None:
    rings = [
        f"{n} {n % 2}\n" + "".join(f"{i} 2 {(i + 1) % n} {(i - 1) % n}\n" for i in range(n))
        for n in range(3, 8)
    ]
    Path("TINY.txt").write_text(f"{len(rings)}\n{''.join(rings)}")


def dgcnn() -> dict[str, np.ndarray]:
    actual = read_dgcnn(Path("TINY.txt"))
    ends, nodes = actual["edge_index"], np.repeat(actual["nodes"], actual["edges"])
    assert ((ends >= 0) & (ends < nodes)).all() and len(actual["y"]) == len(actual["nodes"])
    return actual


def superpixels() -> Any:
    return first_batches(SuperpixelData(4))


def remaining() -> dict[str, np.ndarray]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is made again
        return cached_arrays("numbers", {"n": 20}, lambda: {"x": np.arange(20.0)}, Path("cache"))


write_molecules = partial(raw_molecules.write, Path())
READERS = {
    "MD17": Reader(
        partial(raw_md17.revised, Path("rmd17_aspirin.npz"), 60),
        md17,
        "*.npz",
        BINARY,
        40,
        same_batches,
    ),
    "QM9": Reader(partial(raw_qm9.write_npz, Path()), qm9, "qm9/*.npz", BINARY, 40, same_batches),
    "TU": Reader(write_tu, tu, "TUDataset/TINY/raw/*.txt", TEXT, 60, says="TINY"),
    "folds": Reader(write_tu, tu, "TU_10fold/TINY/10fold_idx/*.txt", TEXT, 30, says="Fold"),
    "DGCNN": Reader(write_dgcnn, dgcnn, "TINY.txt", TEXT, 30),
    "superpixels": Reader(
        partial(raw_superpixels.write, Path()), superpixels, "MNISTSuperpixels/raw/*", BINARY, 30
    ),
    "ZINC": Reader(write_molecules, zinc, "ZINC/raw/train.pickle", BINARY, 40),
    "ZINC, other contents": Reader(
        write_molecules, zinc, "ZINC/raw/train.pickle", (other_molecules,), 30
    ),
    "ZINC, index": Reader(write_molecules, zinc, "ZINC/raw/*.index", TEXT, 20),
    "MoleculeNet": Reader(write_molecules, lipo, "MoleculeNet/lipo/raw/*.csv", TEXT, 30),
    "meshes": Reader(write_mesh, mesh, "set/box/train/*.off", TEXT, 40),
    "graph6": Reader(write_g6, pairs("graph8c"), "expressivity/*.g6", TEXT, 20),
    "EXP": Reader(write_exp, pairs("EXP"), "expressivity/EXP/*", (*BINARY, *inside_xz(*TEXT)), 20),
    "cache": Reader(remaining, remaining, "cache/*/*/*", TEXT, 30, same_arrays),
    "cache, other manifest": Reader(
        remaining, remaining, "cache/*/*/manifest.json", (other_json,), 10, same_arrays
    ),
}
