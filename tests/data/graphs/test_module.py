"""Graph classification sets: what batches hold, and folds that can be trusted."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch

from geqlib.data import GraphData
from geqlib.data.graphs.folds import check_folds, read_folds, split_validation, stratified_folds
from geqlib.data.graphs.tu import tu_arrays
from geqlib.spen.plan import ego_plan
from tests.data.graphs import raw_graphs

MIRROR = os.environ.get("GEQLIB_DATA")


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GEQLIB_DATA", str(tmp_path / "mirror"))
    monkeypatch.setenv("GEQLIB_CACHE", str(tmp_path / "cache"))
    raw_graphs.write(tmp_path / "mirror", "TINY", kinds=3, edge_kinds=2)
    return tmp_path / "mirror"


def ready(name: str = "TINY", *options: Any, **changes: Any) -> GraphData:
    data = GraphData(name, *options, **changes)
    data.prepare_data()
    data.setup()
    return data


def test_batches_hold_the_graphs(mirror: Path) -> None:
    data = ready(batch_size=3, edge_labels=True, fold=2)
    assert {k: len(v) for k, v in data.splits.items()} == {"train": 32, "val": 4, "test": 4}
    assert data.numbers["test"].tolist() == [8, 9, 10, 11]
    batch = next(iter(data.test_dataloader()))
    # graphs 8, 9, 10: a ring and a star of 7 nodes, a ring of 8
    assert batch.ptr.tolist() == [0, 7, 14, 22] and batch.y.tolist() == [0, 1, 0]
    ends = batch.edge_index[:, batch.edge_index[0] < 7]
    assert set(map(tuple, ends.T.tolist())) == set(nx.cycle_graph(7).to_directed().edges())
    assert batch.x.shape == (22, 3) and (batch.x.sum(1) == 1).all()
    assert batch.edge_attr.shape == (14 + 12 + 16, 2)


def test_sets_without_labels_have_degrees(mirror: Path) -> None:
    raw_graphs.write(mirror, "BARE")
    batch = next(iter(ready("BARE").test_dataloader()))
    degree = torch.bincount(batch.edge_index[0], minlength=len(batch.x))
    kinds = torch.tensor([1, 2, 3, 4, 5, 6, 7])  # of stars of up to 8 nodes
    assert torch.equal(kinds[batch.x.argmax(1)], degree) and (batch.x.sum(1) == 1).all()


def test_ego_nets_are_made_before(mirror: Path) -> None:
    data = ready(hops=2, batch_size=7)
    for batch in data.train_dataloader():
        expected = ego_plan(batch.edge_index, len(batch.x), hops=2)
        assert torch.equal(batch.plan.target, expected.target)
        assert torch.equal(batch.plan.lines.back, expected.lines.back)
    assert sum(data.degrees()) == sum(len(b.x) for b in data.train_dataloader())


def test_hubs(mirror: Path) -> None:
    with pytest.raises(ValueError, match="nodes, and at most 4 fit: take fewer hops"):
        ready(hops=1, max_size=4)
    sizes = [
        size
        for batch in ready(hops=1, max_size=4, oversize="shrink").train_dataloader()
        for size in batch.plan.size.tolist()
    ]
    assert set(sizes) == {1, 2, 3, 4}  # rings, leaves, and hubs of which little or nothing is left


def test_nothing_is_written_into_the_mirror(mirror: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in mirror.rglob("*")}
    first = ready().splits["train"]
    again = ready().splits["train"]  # from the cache
    assert {path: path.stat().st_mtime_ns for path in mirror.rglob("*")} == before
    assert torch.equal(first.edge_index, again.edge_index)


def test_no_validation_graphs(mirror: Path) -> None:
    data = ready(validation=0.0)
    assert set(data.splits) == {"train", "test"} and len(data.splits["train"]) == 36
    assert len(data.val_dataloader().dataset) == 4
    assert [len(x.dataset) for x in ready().val_dataloader()] == [4, 4]


@pytest.mark.parametrize("folds", ["files", "stratified"])
def test_folds_are_disjoint_and_cover_everything(mirror: Path, folds: Any) -> None:
    parts = [ready(fold=k, folds=folds).numbers for k in range(10)]
    assert sorted(i for p in parts for i in p["test"].tolist()) == list(range(40))
    for part in parts:
        assert sorted(np.concatenate(list(part.values())).tolist()) == list(range(40))


def test_stratified_folds_keep_classes_and_follow_the_seed() -> None:
    labels = np.array([0] * 40 + [1] * 20)
    folds = stratified_folds(labels, 10)
    assert all(labels[test].tolist() == [0] * 4 + [1] * 2 for _, test in folds)
    assert np.array_equal(folds[3][1], stratified_folds(labels, 10)[3][1])
    assert not np.array_equal(folds[3][1], stratified_folds(labels, 10, 1)[3][1])


def test_validation_graphs_by_class() -> None:
    labels = np.array([0] * 60 + [1] * 30)
    train, val = split_validation(np.arange(90), labels, 0.1, 0)
    assert labels[val].tolist() == [0] * 6 + [1] * 3 and len(train) == 81
    rare = np.array([0] * 9 + [1])
    train, val = split_validation(np.arange(10), rare, 0.2, 0)
    assert sorted([*train, *val]) == list(range(10)) and len(val) == 2


def test_index_files_of_another_order(mirror: Path) -> None:
    order = np.random.default_rng(0).permutation(40)
    (mirror / "TU_10fold/TINY/to_TU_index.txt").write_text("".join(f"{i}\n" for i in order))
    assert read_folds("TINY", tu_arrays("TINY"))[2][1].tolist() == order[8:12].tolist()


def test_graphs_of_your_own() -> None:
    graphs = [nx.cycle_graph(n) for n in range(3, 9)] + [nx.path_graph(n) for n in range(1, 7)]
    graphs.append(nx.empty_graph(0))
    for graph in graphs:
        nx.set_node_attributes(graph, {node: node / 2 for node in graph}, "height")
        nx.set_edge_attributes(graph, 1.5, "length")
    options = {"num_folds": 2, "batch_size": 13, "validation": 0.0, "edge_labels": True}
    data = GraphData.from_networkx(
        graphs, [0] * 6 + [1] * 7, nodes=["height"], edges=["length"], **options
    )
    data.setup()
    sizes = []
    for split in ("train", "test"):
        batch = next(iter(data._in_order(split)))
        sizes += batch.ptr.diff().tolist()
        local = torch.arange(len(batch.x)) - batch.ptr[batch.batch]
        assert torch.equal(batch.x[:, 0], local / 2) and (batch.edge_attr == 1.5).all()
    assert sorted(sizes) == sorted(len(graph) for graph in graphs)


def test_directed_graphs_stay_directed() -> None:
    graphs = [nx.DiGraph([(0, 1), (1, 2)])] * 4
    data = GraphData.from_networkx(graphs, [0, 1, 0, 1], num_folds=2, validation=0.0)
    data.setup()
    batch = next(iter(data.test_dataloader()))
    assert batch.edge_index.tolist() == [[0, 1, 3, 4], [1, 2, 4, 5]]


FOLDS: dict[str, tuple[list[Any], str]] = {
    "overlap": ([([0, 1], [2]), ([0], [1, 2])], "Folds 0 and 1 both test graph 2."),
    "leak": ([([0, 1], [1, 2])], "Fold 0 both trains on and tests graph 1."),
    "range": ([([0, 1], [4])], "Fold 0 names graph 4, of 3: count them from 0."),
    "negative": ([([-1], [2])], "Fold 0 names graph -1, of 3"),
}


@pytest.mark.parametrize("name", FOLDS)
def test_wrong_folds(name: str) -> None:
    folds, said = FOLDS[name]
    with pytest.raises(ValueError, match=re.escape(said)):
        check_folds(folds, 3)


def test_graphs_that_no_fold_tests_are_a_warning(mirror: Path) -> None:
    raw_graphs.write_set(mirror, "MORE", [nx.path_graph(3)] * 44, [0, 1] * 22)
    raw_graphs.write_folds(mirror, "MORE", np.arange(40).reshape(10, -1).tolist(), 44)
    with pytest.warns(UserWarning, match="4 of 44 graphs are in no test fold"):
        data = ready("MORE")
    assert len(data.splits["train"]) + len(data.splits["val"]) == 40


def spoil(mirror: Path, name: str, text: str) -> GraphData:
    (mirror / name).write_text(text)
    return ready()


ERRORS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "name": (lambda m: ready("NOPE"), "There is no TUDataset/NOPE/raw/NOPE_A.txt: put the files"),
    "set": (
        lambda m: spoil(m, "TUDataset/TINY/raw/TINY_A.txt", "not, numbers\n"),
        "does not hold the TU set TINY",
    ),
    "index": (
        lambda m: spoil(m, "TU_10fold/TINY/10fold_idx/test_idx-3.txt", "a\n"),
        "test_idx-3.txt does not hold numbers of graphs",
    ),
    "beyond": (
        lambda m: spoil(m, "TU_10fold/TINY/10fold_idx/test_idx-3.txt", "40\n"),
        "test_idx-3.txt names graph 40, of 40",
    ),
    "labels": (
        lambda m: (raw_graphs.write(m, "BARE"), ready("BARE", edge_labels=True)),
        "the edges of this set have no labels: unset it",
    ),
    "fold": (lambda m: GraphData("TINY", fold=10), "fold is 10: choose one of 0 to 9"),
    "folds": (lambda m: GraphData("TINY", folds="own"), '"files" or "stratified", got \'own\''),  # type: ignore
    "batch": (lambda m: GraphData("TINY", 0), "batch_size must be positive, got 0"),
    "share": (lambda m: GraphData("TINY", validation=1.0), "a share in [0, 1), got 1.0"),
    "small": (
        lambda m: ready(validation=0.01),
        "validation 0.01 of 36 training graphs is 0 graphs",
    ),
    "many": (
        lambda m: ready(folds="stratified", num_folds=30),
        "num_folds is 30: choose between 2 and 20, the graphs of the largest class",
    ),
    "classes": (
        lambda m: GraphData.from_networkx([nx.path_graph(2)], [0, 1]),
        "There are 1 graphs, but 2 classes",
    ),
    "attribute": (
        lambda m: GraphData.from_networkx([nx.path_graph(2)], [0], nodes=["mass"]),
        "graph 0 has nodes without 'mass'",
    ),
}


@pytest.mark.parametrize("error", ERRORS)
def test_errors_say_what_and_how_to_fix(error: str, mirror: Path) -> None:
    call, message = ERRORS[error]
    with pytest.raises(ValueError, match=re.escape(message)):
        call(mirror)


def test_missing_index_files(mirror: Path) -> None:
    raw_graphs.write_set(mirror, "ALONE", [nx.path_graph(3)] * 20, [0, 1] * 10)
    with pytest.raises(ValueError, match=r'10fold_idx/train_idx-1.txt: put .* folds="stratified"'):
        ready("ALONE")
    assert len(ready("ALONE", folds="stratified").splits["test"]) == 2


SETS = {
    "MUTAG": (188, 7, 8),
    "PTC": (344, 21, 4),
    "PROTEINS": (1113, 3, 3),
    "NCI1": (4110, 37, 0),
    "IMDB-BINARY": (1000, 65, 0),
}


@pytest.mark.skipif(MIRROR is None, reason="GEQLIB_DATA names no folder of published files")
@pytest.mark.filterwarnings("ignore:.*graphs are in no test fold")
@pytest.mark.parametrize(
    "name", ["MUTAG", *(pytest.param(x, marks=pytest.mark.slow) for x in ("PTC", "IMDB-BINARY"))]
)
def test_published_sets(name: str, tmp_path: Path) -> None:
    graphs, features, missed = SETS[name]
    data = ready(name, cache=str(tmp_path))
    assert sum(map(len, data.numbers.values())) == graphs
    batch = next(iter(data.test_dataloader()))
    assert batch.x.shape[1] == features
    arrays = tu_arrays(name, tmp_path)
    tested = {int(i) for _, test in read_folds(name, arrays) for i in test}
    assert graphs - len(tested) == missed
