"""TU sets some of whose graphs have no edges: as many graphs and edges as the files say."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest

from geqlib.data import GraphData
from geqlib.data.graphs.tu import tu_arrays
from tests.data.graphs import raw_graphs

RING, LONE, PAIR = nx.cycle_graph(4), nx.empty_graph(1), nx.empty_graph(2)
SETS = {
    "none is bare": [RING, RING],
    "first": [LONE, RING, RING],
    "middle": [RING, PAIR, RING],
    "last": [RING, RING, LONE],
    "last ones": [RING, LONE, PAIR, LONE],
    "all": [LONE, PAIR, LONE],
}


@pytest.mark.parametrize("case", SETS)
@pytest.mark.parametrize("kinds", [0, 2])
@pytest.mark.parametrize("edge_kinds", [0, 2])
def test_graphs_without_edges(tmp_path, monkeypatch, case, kinds, edge_kinds):
    monkeypatch.setenv("GEQLIB_DATA", str(tmp_path))
    graphs = SETS[case]
    classes = [k % 2 for k in range(len(graphs))]
    raw_graphs.write_set(tmp_path, "BARE", graphs, classes, kinds, edge_kinds)
    arrays = tu_arrays("BARE", tmp_path / "cache")
    assert arrays["nodes"].tolist() == [len(graph) for graph in graphs]
    assert arrays["edges"].tolist() == [2 * graph.number_of_edges() for graph in graphs]
    assert arrays["edge_index"].shape == (2, arrays["edges"].sum())
    assert arrays["y"].tolist() == classes
    nodes = arrays["nodes"].sum()
    assert ("label" in arrays) == bool(kinds)
    if kinds and nodes > 1:
        assert arrays["label"].argmax(1).tolist() == [k % 2 for k in range(nodes)]


def test_they_come_in_batches(tmp_path, monkeypatch):
    monkeypatch.setenv("GEQLIB_DATA", str(tmp_path))
    raw_graphs.write_set(tmp_path, "BARE", [RING, LONE] * 8, [0, 1] * 8)
    options = {"folds": "stratified", "num_folds": 2, "validation": 0.0, "batch_size": 8}
    data = GraphData("BARE", **options)
    data.setup()
    batch = next(iter(data.train_dataloader()))
    rings = batch.batch.bincount() == 4
    assert np.array_equal(batch.y, (~rings).long()) and batch.edge_index.size(1) == 8 * rings.sum()


def test_files_that_do_not_fit_are_still_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("GEQLIB_DATA", str(tmp_path))
    raw_graphs.write_set(tmp_path, "CUT", [RING, LONE], [0, 1])
    labels = tmp_path / "TUDataset/CUT/raw/CUT_graph_labels.txt"
    labels.write_text("1\n")
    with pytest.raises(ValueError, match="does not hold the TU set CUT"):
        tu_arrays("CUT", tmp_path / "cache")
