"""Sets of graphs to be generated: splits, generators, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch

from geqlib.data import GraphGeneration
from geqlib.data.graphs.random_graphs import (
    block_model_graph,
    planar_graph,
    small_grid_graph,
)
from geqlib.data.graphs.sampled_files import write_graphs
from geqlib.data.molecules import bonded
from geqlib.generation import bond_orders
from tests.data.graphs.raw_graphs import write_generated
from tests.data.molecules.raw_qm9 import arrays, write_npz


def sizes(data: GraphGeneration, split: str) -> list[int]:
    return data.splits[split].counts["node"].tolist()


def test_the_first_fifth_of_a_gdss_set_is_tested(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEQLIB_DATA", str(tmp_path))
    write_generated(tmp_path, "ego_small", [nx.star_graph(k + 1) for k in range(20)])
    data = GraphGeneration("ego_small", 4)
    data.setup()
    assert sizes(data, "test") == [2, 3, 4, 5]
    rest = sizes(data, "train") + sizes(data, "val")
    assert sorted(rest) == list(range(6, 22)) and len(data.splits["val"]) == 3
    batch = next(iter(data.val_dataloader()))
    assert batch.x.dtype == torch.long and not batch.x.any() and batch.num_graphs == 3
    assert data.limits(0) == (21, 0) and data.limits(1) == (20, 1)


def test_spectre_sets_are_permuted_by_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEQLIB_DATA", str(tmp_path))
    graphs = [nx.path_graph(k + 2) for k in range(100)]
    write_generated(tmp_path, "community_12_21_100", graphs)
    data = GraphGeneration("community")
    data.setup()
    order = torch.randperm(100, generator=torch.Generator().manual_seed(0))
    expected = {"train": order[:64], "val": order[64:80], "test": order[80:]}
    for split, numbers in expected.items():
        assert sizes(data, split) == sorted((numbers + 2).tolist())


def test_random_graphs() -> None:
    planar, again = (planar_graph(np.random.default_rng(3)) for _ in range(2))
    assert nx.is_planar(planar) and nx.is_connected(planar) and len(planar) == 64
    assert nx.utils.graphs_equal(planar, again)
    # a triangulation of n points with h of them on the hull has 3 n - 3 - h edges
    assert 3 * 64 - 3 - 64 < planar.number_of_edges() <= 3 * 64 - 6
    small = small_grid_graph(np.random.default_rng(1))
    sides = [(a, b) for a in range(3, 9) for b in range(3, 9)]
    assert any(nx.is_isomorphic(small, nx.grid_2d_graph(a, b)) for a, b in sides)
    inside, between = [], []
    for seed in range(20):
        graph = block_model_graph(np.random.default_rng(seed))
        assert 40 <= len(graph) <= 200 and not nx.number_of_selfloops(graph)
        first = [(i, j) for i, j in graph.edges() if max(i, j) < 20]
        inside.append(len(first) / 190)
        last = range(len(graph) - 20, len(graph))
        between.append(sum(graph.has_edge(i, j) for i in range(20) for j in last) / 400)
    # five standard deviations of shares of 20 graphs
    assert abs(np.mean(inside) - 0.3) < 5 * (0.21 / 3800) ** 0.5
    assert abs(np.mean(between) - 0.005) < 5 * (0.005 / 8000) ** 0.5


def test_files(tmp_path: Path) -> None:
    plain = [nx.cycle_graph(5), nx.empty_graph(1)]
    write_graphs(tmp_path / "a.g6", plain)
    lines = (tmp_path / "a.g6").read_bytes().split()
    for line, graph in zip(lines, plain, strict=True):
        assert nx.utils.graphs_equal(nx.from_graph6_bytes(line), graph)
    bonds = nx.Graph([(0, 1, {"kind": 2})])
    bonds.nodes[0]["kind"] = 1
    write_graphs(tmp_path / "b.json", [bonds])
    text = (tmp_path / "b.json").read_text()
    assert text == '[{"nodes": [1, 0], "edges": [[0, 1, 2]]}]\n'
    with pytest.raises(ValueError, match="graph6 has no kinds"):
        write_graphs(tmp_path / "b.g6", [bonds])
    with pytest.raises(ValueError, match=r"must end in \.g6 or \.json"):
        write_graphs(tmp_path / "b.txt", [bonds])


RINGS = [nx.cycle_graph(n) for n in range(3, 13)]
ERRORS: dict[str, tuple[Callable[[], Any], str]] = {
    "name": (lambda: GraphGeneration("grids"), "choose one of community_small"),
    "batch": (lambda: GraphGeneration(batch_size=0), "at least 1 graph in a batch"),
    "share": (lambda: GraphGeneration(validation=1.0), r"a share in \(0, 1\)"),
    "few": (lambda: GraphGeneration.from_networkx(RINGS[:4]), "5 in all|at least 5"),
    "directed": (
        lambda: GraphGeneration.from_networkx([*RINGS, nx.DiGraph()]),
        "10 of the graphs, ",
    ),
    "loop": (lambda: GraphGeneration.from_networkx([*RINGS, nx.Graph([(0, 0)])]), "without loops"),
    "empty": (
        lambda: GraphGeneration.from_networkx([*RINGS, nx.empty_graph(0)]).setup(),
        "Graph 10 of networkx has no nodes",
    ),
    "kinds of a set": (lambda: GraphGeneration("grid", node_kind="a"), "grid has kinds of its own"),
    "no kind": (
        lambda: GraphGeneration.from_networkx(RINGS, node_kind="kind").setup(),
        "Graph 0 has nodes without 'kind'",
    ),
    "no file": (lambda: GraphGeneration("networkx").setup(), "no file holds them"),
    "corner": (lambda: planar_graph(np.random.default_rng(0), 2), "at least 3 nodes"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name: str) -> None:
    call, message = ERRORS[name]
    with pytest.raises(ValueError, match=message):
        call()


def test_files_that_are_missing_or_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEQLIB_DATA", str(tmp_path))
    with pytest.raises(ValueError, match=r"There is no graph_generation/grid\.g6"):
        GraphGeneration("grid").setup()
    write_generated(tmp_path, "grid", RINGS)
    (tmp_path / "graph_generation" / "grid.g6").write_bytes(b"\x01\x02\n")
    with pytest.raises(ValueError, match="does not hold graphs in the graph6 format"):
        GraphGeneration("grid").setup()


def test_attributes_that_are_not_read_are_named() -> None:
    bonds = nx.Graph([(0, 1, {"kind": 2})])
    bonds.nodes[0]["charge"] = 1
    with pytest.warns(UserWarning, match="The attributes charge, kind of nodes or edges are not"):
        GraphGeneration.from_networkx([*RINGS, bonds])


def test_molecules_of_qm9(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Atoms and bonds of the npz, by the rules one molecule at a time, in EDM's split."""
    monkeypatch.setenv("GEQLIB_DATA", str(tmp_path))
    monkeypatch.setattr(bonded, "CHUNK", 3)
    write_npz(tmp_path)
    stored, (train, test) = arrays(), (round(20 * 100_000 / 130_831), 2)
    order = np.random.RandomState(0).permutation(20)
    begins = np.cumsum(stored["n_atoms"], dtype=int) - stored["n_atoms"]
    data = GraphGeneration("qm9", batch_size=4)
    data.setup()
    assert data.species == ("H", "C", "N", "O", "F")
    parts = {"train": order[:train], "val": order[train : 20 - test], "test": order[20 - test :]}
    some = 0
    for split, numbers in parts.items():
        graphs = data.splits[split]
        assert len(graphs) == len(numbers)
        for k, number in enumerate(numbers):
            own = slice(begins[number], begins[number] + stored["n_atoms"][number])
            z = torch.from_numpy(stored["z"][own].astype(np.int64))
            assert torch.tensor([1, 6, 7, 8, 9])[graphs[k].x].tolist() == z.tolist()
            bonds = bond_orders(z, torch.from_numpy(stored["pos"][own]))
            pairs = zip(*bonds.pair.tolist(), bonds.order.tolist(), strict=True)
            expected = {(i, j, kind) for a, b, kind in pairs for i, j in ((a, b), (b, a))}
            edges = zip(*graphs[k].edge_index.tolist(), graphs[k].edge_attr.tolist(), strict=True)
            assert set(edges) == expected and graphs[k].edge_index.size(1) == len(expected)
            some += len(expected)
    assert some
    batch = next(iter(data.train_dataloader()))
    assert batch.num_graphs == 4 and batch.edge_attr.dtype == torch.long


def test_own_graphs_of_a_file(tmp_path: Path) -> None:
    """Those of the file, with the kinds that its attributes say, as from networkx itself."""
    graphs = [nx.path_graph(n) for n in range(2, 22)]
    for graph in graphs:
        for node in graph:
            graph.nodes[node]["place"] = "end" if graph.degree(node) == 1 else "middle"
        for i, j in graph.edges():
            graph.edges[i, j]["bond"] = 3 if i == 0 else 7
    content = [nx.node_link_data(graph, edges="edges") for graph in graphs]
    (tmp_path / "own.json").write_text(json.dumps(content))
    kinds: dict[str, Any] = {"node_kind": "place", "edge_kind": "bond", "data_seed": 1}
    data = GraphGeneration(source=tmp_path / "own.json", **kinds)
    same = GraphGeneration.from_networkx(graphs, **kinds)
    for one in (data, same):
        one.setup()
    assert {name: len(part) for name, part in data.splits.items()} == {
        "train": 13,
        "val": 3,
        "test": 4,
    }
    for split, part in data.splits.items():
        assert sizes(data, split) == sizes(same, split)
        for k in range(len(part)):
            graph = graphs[int(part[k].index)]
            assert part[k].x.tolist() == [int(graph.degree(node) == 2) for node in graph]
            ends = part[k].edge_index
            assert set(zip(*ends.tolist(), strict=True)) == {*graph.to_directed().edges()}
            first = (ends == 0).any(0)
            assert part[k].edge_attr.tolist() == (2 - first.long()).tolist()
            assert torch.equal(part[k].edge_attr, same.splits[split][k].edge_attr)
    other = GraphGeneration(source=tmp_path / "own.json", **kinds | {"data_seed": 2})
    other.setup()
    assert sizes(other, "train") != sizes(data, "train")
    (tmp_path / "few.json").write_text(json.dumps(content[:4]))
    with pytest.raises(ValueError, match=r"4 graphs of .*few\.json: at least 5"):
        GraphGeneration(source=tmp_path / "few.json").setup()
