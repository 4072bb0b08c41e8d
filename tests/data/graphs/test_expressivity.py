"""Pairs that colour refinement cannot tell apart, and the refinement itself."""

from __future__ import annotations

import os
from itertools import combinations

import networkx as nx
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks.accuracy.expressivity import separated
from geqlib.data.graphs.expressivity import (
    CSL_SKIPS,
    GraphPairs,
    PlainGraph,
    colour_refinement,
    graph_pairs,
    plain,
)
from geqlib.models import SPEN, MessagePassingNet

MIRROR = os.environ.get("GEQLIB_DATA")
needs_mirror = pytest.mark.skipif(
    MIRROR is None, reason="GEQLIB_DATA names no folder of published files"
)


def test_colour_refinement_is_networkx_hash() -> None:
    graphs = [g for g in nx.graph_atlas_g() if 0 < len(g) < 6]
    for graph in graphs:
        nx.set_node_attributes(graph, 0, "kind")
    options = {"iterations": 6, "node_attr": "kind"}
    hashes = [nx.weisfeiler_lehman_graph_hash(graph, **options) for graph in graphs]
    numbers = colour_refinement([plain(g) for g in graphs])
    for i, j in combinations(range(len(graphs)), 2):
        assert (numbers[i] == numbers[j]) == (hashes[i] == hashes[j]), (i, j)


def test_colour_refinement_knows_kinds_of_nodes() -> None:
    path = plain(nx.path_graph(3))
    middle, end = (PlainGraph(path.edge_index, np.eye(3, dtype=int)[k]) for k in (1, 0))
    other = PlainGraph(path.edge_index, np.eye(3, dtype=int)[2])
    one, two, three = colour_refinement([middle, end, other])
    assert one != two == three
    assert colour_refinement([]) == []


def test_copies_are_isomorphic() -> None:
    graph = PlainGraph(plain(nx.gnp_random_graph(12, 0.3, seed=0)).edge_index, np.arange(12) % 3)
    copy = graph.relabelled(np.random.default_rng(0))
    one, two = (networkx(g) for g in (graph, copy))
    assert not np.array_equal(graph.edge_index, copy.edge_index)
    assert nx.is_isomorphic(one, two, node_match=lambda a, b: a == b)


def networkx(graph: PlainGraph) -> nx.Graph:
    built = nx.Graph(graph.edge_index.T.tolist())
    built.add_nodes_from((i, {"kind": int(k)}) for i, k in enumerate(graph.kind))
    return built


def test_models_are_put_to_the_test() -> None:
    ring, triangles = nx.cycle_graph(6), nx.disjoint_union_all([nx.cycle_graph(3)] * 2)
    twin = nx.relabel_nodes(ring, {0: 3, 3: 0})
    pairs = GraphPairs(
        tuple(map(plain, (ring, triangles, twin))), ((0, 1), (0, 2)), {"apart": 1, "alike": 1}
    )
    actual = {
        name: separated(build, pairs)
        for name, build in {
            "GIN": lambda kinds: MessagePassingNet(kinds, 4, channels=4, layers=2),
            "SPEN": lambda kinds: SPEN(kinds, 4, channels=4, layers=2),
            "in order": FirstNodes,
        }.items()
    }
    assert actual["GIN"]["parts"] == {"apart": 0, "alike": 0}
    assert actual["SPEN"]["parts"] == {"apart": 1, "alike": 0}
    assert actual["GIN"]["copies_separated"] == actual["SPEN"]["copies_separated"] == 0
    assert actual["in order"]["copies_separated"] > 0  # which makes its row void


class FirstNodes(nn.Module):
    """Looks at how nodes are numbered."""

    def __init__(self, kinds: int) -> None:
        super().__init__()

    def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor, num_graphs: int) -> Tensor:
        first = torch.searchsorted(batch, torch.arange(num_graphs))
        source, target = edge_index - first[batch[edge_index[0]]]
        seen = (source + 2 * target**2).sin().double()
        graph = batch[edge_index[0]]
        return torch.zeros(num_graphs).double().index_add(0, graph, seen)[:, None]


def test_circular_skip_links() -> None:
    actual = graph_pairs("CSL")
    assert len(actual.graphs) == len(CSL_SKIPS) == 10 and len(actual.pairs) == 45
    assert len(set(colour_refinement(actual.graphs))) == 1
    assert all(len(g.kind) == 41 and g.edge_index.shape[1] == 164 for g in actual.graphs)


@needs_mirror
@pytest.mark.parametrize(
    ("name", "pairs"),
    [("SR", 151), ("EXP", 600), pytest.param("BREC", 400, marks=pytest.mark.slow)],
)
def test_published_pairs(name, pairs) -> None:
    actual = graph_pairs(name)
    assert len(actual.pairs) == pairs == sum(actual.parts.values())
    colours = colour_refinement(actual.graphs)
    assert all(colours[i] == colours[j] for i, j in actual.pairs)


def test_missing_files(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("GEQLIB_DATA", str(tmp_path))
    with pytest.raises(ValueError, match=r"no expressivity/sr/sr16622\.g6: put it there, below"):
        graph_pairs("SR")
    with pytest.raises(ValueError, match="name 'SLC' is unknown: choose graph8c, CSL"):
        graph_pairs("SLC")  # type: ignore[arg-type]
