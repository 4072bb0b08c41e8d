"""DGCNN's text format against the TU files of the same sets."""

from __future__ import annotations

import os
from pathlib import Path

import networkx as nx
import numpy as np
import pytest

from geqlib.data.graphs.folds import read_folds
from geqlib.data.graphs.tu import match_graphs, read_dgcnn, tu_arrays
from tests.data.graphs import raw_graphs

MIRROR = os.environ.get("GEQLIB_DATA")
published = pytest.mark.skipif(MIRROR is None, reason="GEQLIB_DATA names no published files")
KINDS = 3


def text(graphs: list[nx.Graph], classes: list[int], tags: list[list[int]]) -> str:
    lines = [str(len(graphs))]
    for graph, label, kinds in zip(graphs, classes, tags, strict=True):
        lines.append(f"{len(graph)} {label}")
        lines += [" ".join(map(str, [kinds[i], len(graph[i]), *graph[i]])) for i in graph]
    return "\n".join(lines) + "\n"


@pytest.fixture
def shuffled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, list[int]]:
    """A TU set below GEQLIB_DATA, and its text in another order with other names of kinds."""
    monkeypatch.setenv("GEQLIB_DATA", str(tmp_path))
    monkeypatch.setenv("GEQLIB_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    graphs = [nx.gnp_random_graph(4 + k // 4, 0.4, seed=k) for k in range(40)]
    raw_graphs.write_set(tmp_path, "TINY", graphs, [k % 2 for k in range(40)], KINDS)
    raw_graphs.write_folds(tmp_path, "TINY", np.arange(40).reshape(10, -1).tolist(), 40)
    kinds = rng.choice(KINDS, sum(map(len, graphs)), p=[0.6, 0.3, 0.1])
    labels = tmp_path / "TUDataset" / "TINY" / "raw" / "TINY_node_labels.txt"
    labels.write_text("".join(f"{kind}\n" for kind in kinds))
    other = np.array([12, 10, 11])[kinds]
    tags = np.split(other, np.cumsum([len(graph) for graph in graphs])[:-1])
    order = rng.permutation(40).tolist()
    moved = []
    for k in order:
        names = rng.permutation(len(graphs[k]))
        copy = nx.relabel_nodes(graphs[k], dict(enumerate(names.tolist())))
        ordered = nx.Graph()
        ordered.add_nodes_from(sorted(copy))
        ordered.add_edges_from(copy.edges)
        moved.append((ordered, k % 2, [tags[k][i] for i in np.argsort(names)]))
    path = tmp_path / "TU_10fold" / "TINY" / "TINY.txt"
    path.write_text(text(*map(list, zip(*moved, strict=True))))  # pyright: ignore
    return path, order


def test_graphs_of_another_order_are_matched(shuffled: tuple[Path, list[int]]) -> None:
    path, order = shuffled
    ours, theirs = tu_arrays("TINY"), read_dgcnn(path)
    assert match_graphs(theirs, ours).tolist() == order
    assert read_folds("TINY", ours)[2][1].tolist() == order[8:12]


def test_other_graphs(shuffled: tuple[Path, list[int]]) -> None:
    path, _ = shuffled
    lines = path.read_text().splitlines()
    lines[1] = lines[1][:-1] + str(1 - int(lines[1][-1]))  # another class
    path.write_text("\n".join(lines))
    with pytest.raises(ValueError, match=r"has other graphs than the TU set TINY \(its graph 0 is"):
        read_folds("TINY", tu_arrays("TINY"))


def test_a_set_without_tu_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEQLIB_DATA", str(tmp_path))
    path = tmp_path / "TU_10fold" / "TINY" / "TINY.txt"
    path.parent.mkdir(parents=True)
    ring, lone = nx.cycle_graph(3), nx.empty_graph(1)
    path.write_text(text([ring, lone], [4, -1], [[2, 5, 2], [3]]))
    arrays = tu_arrays("TINY", tmp_path / "cache")
    assert arrays["nodes"].tolist() == [3, 1] and arrays["edges"].tolist() == [6, 0]
    assert arrays["edge_index"].tolist() == [[0, 0, 1, 1, 2, 2], [1, 2, 0, 2, 0, 1]]
    assert arrays["y"].tolist() == [1, 0]
    assert arrays["label"].argmax(1).tolist() == [0, 3, 0, 1] and arrays["label"].shape == (4, 4)


@pytest.mark.parametrize("content", ["", "2\n1 0\n0 0\n", "1\n1 0\n0 1 5\n", "1\n1 0\nx 0\n"])
def test_damaged_text(tmp_path: Path, content: str) -> None:
    path = tmp_path / "TINY.txt"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"TINY\.txt does not hold graphs in DGCNN's format"):
        read_dgcnn(path)


@pytest.mark.slow
@published
@pytest.mark.parametrize("name", ["PTC", "IMDB-BINARY", "PROTEINS"])
def test_published_texts_are_the_tu_sets(name: str, tmp_path: Path) -> None:
    folder = name.replace("-", "")
    theirs = read_dgcnn(Path(str(MIRROR)) / "TU_10fold" / folder / f"{folder}.txt")
    ours = tu_arrays(name, tmp_path)
    for key, array in theirs.items():
        assert np.array_equal(array, ours[key]), key


@published
def test_the_order_of_mutag(tmp_path: Path) -> None:
    folder = Path(str(MIRROR)) / "TU_10fold" / "MUTAG"
    actual = match_graphs(read_dgcnn(folder / "MUTAG.txt"), tu_arrays("MUTAG", tmp_path))
    assert actual.tolist() == np.loadtxt(folder / "to_TU_index.txt", dtype=int).tolist()
