"""Counts as features: where they go, that batches agree, that they are counted once."""

from __future__ import annotations

import math
from typing import Any

import networkx as nx
import pytest
import torch
from torch_geometric.data import Batch, Data

from geqlib.models import SPEN, MessagePassingNet, PPGNpp
from geqlib.motifs.bounds import ADVICE
from geqlib.motifs.features import MotifFeatures
from geqlib.motifs.homomorphisms import Counter
from geqlib.motifs.orbits import ORBIT_PAIRS, OrbitPair
from geqlib.motifs.patterns import Pattern
from geqlib.motifs.transforms import HomomorphismCounts, OrbitCounts, SubgraphCounts
from tests.motifs.brute_force import edges_of

GRAPHS = [nx.complete_graph(4), nx.path_graph(3), nx.empty_graph(2), nx.gnp_random_graph(7, 0.6)]


def data(graph: nx.Graph) -> Data:
    return Data(torch.ones(len(graph), 2), edges_of(graph))


TRANSFORMS = {
    "nodes": HomomorphismCounts(["C5", "K4"]),
    "edges": SubgraphCounts(["C4", "paw"], roots=2),
    "pairs": SubgraphCounts(["C4"], roots=2, pairs="all", induced=True),
    "graphs": SubgraphCounts(["C3", "K4"], roots=0, log=False),
    "orbits": OrbitCounts(),
    "orbits of pairs": OrbitCounts(pairs="all"),
    "degrees": OrbitCounts(roots=1),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_batches_equal_single_graphs(name: str) -> None:
    transform = TRANSFORMS[name]
    alone: Any = Batch.from_data_list([transform(data(graph)) for graph in GRAPHS])
    whole: Any = transform(Batch.from_data_list([data(graph) for graph in GRAPHS]))
    for key in ("x", "edge_attr", "motifs", "pair_index", "pair_attr"):
        one, two = alone.to_dict().get(key), whole.to_dict().get(key)
        assert (one is None) == (two is None)
        assert one is None or torch.equal(one, two), key


def test_where_counts_go() -> None:
    triangle: Any = data(nx.complete_graph(3))
    assert TRANSFORMS["nodes"](triangle).x.shape == (3, 2 + 2)
    triangle.edge_attr = torch.zeros(6)
    assert TRANSFORMS["edges"](triangle).edge_attr.shape == (6, 1 + 2 + 7)
    assert TRANSFORMS["graphs"](triangle).motifs.tolist() == [[1, 0]]
    assert repr(TRANSFORMS["edges"]) == "SubgraphCounts(9 channels, roots=2)"


def test_edges_of_cycles() -> None:
    """Two squares with a common side: every other side is in one."""
    graph: Any = Data(edge_index=edges_of(nx.ladder_graph(3)), num_nodes=6)
    adjacent = SubgraphCounts(["C4"], roots=2, log=False)(graph).edge_attr[:, 0]
    ends = graph.edge_index.T.tolist()
    assert {tuple(e) for e, n in zip(ends, adjacent.tolist(), strict=True) if n == 2} == {
        (1, 4),
        (4, 1),
    }
    assert adjacent.sum() == 2 * (6 + 2)


def test_orbit_channels() -> None:
    star: Any = OrbitCounts(log=False)(Data(edge_index=edges_of(nx.star_graph(3)), num_nodes=4))
    channel = star.edge_attr[:, ORBIT_PAIRS.index(OrbitPair(1, 6, 7))]
    assert channel.tolist() == [float(source != 0) for source in star.edge_index[0].tolist()]


def test_counts_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    transform = HomomorphismCounts(["C4"])
    calls = []
    count = transform._count
    monkeypatch.setattr(transform, "_count", lambda graphs: calls.append(1) or count(graphs))
    for _ in range(3):
        transform(data(GRAPHS[0]))
    transform(data(GRAPHS[1]))
    assert len(calls) == 2


def test_models_take_the_features() -> None:
    """Node counts as x for a GIN, orbit adjacencies as edge_attr for SPEN."""
    batch: Any = Batch.from_data_list([data(graph) for graph in GRAPHS])
    batch = OrbitCounts()(HomomorphismCounts(["C3", "C4", "C5"])(batch))
    ends = {"batch": batch.batch, "num_graphs": batch.num_graphs}
    assert MessagePassingNet(5, 2)(batch.x, batch.edge_index, **ends).shape == (4, 2)
    out = SPEN(5, 2, edge_dim=28)(batch.x, batch.edge_index, edge_attr=batch.edge_attr, **ends)
    assert out.shape == (4, 2)


def test_counts_are_not_rounded() -> None:
    """Numbers of stars that float64 holds, and float32 does not."""
    star = Data(edge_index=edges_of(nx.star_graph(5000)), num_nodes=5001)
    exact = 5000 * (5000 - 1) * (5000 - 2) // 6
    with pytest.raises(ValueError, match=f"A count is {exact}, which float32 would round"):
        SubgraphCounts(["star3"], roots=0, log=False)(star.clone())
    small = SubgraphCounts(["star2"], roots=0, log=False)(star.clone())
    assert small.motifs.item() == 5000 * 4999 // 2
    value = SubgraphCounts(["star3"], roots=0)(star.clone()).motifs
    assert value.dtype == torch.float32 and value.item() == pytest.approx(math.log1p(exact), 1e-7)
    torch.set_default_dtype(torch.float64)
    try:
        whole = SubgraphCounts(["star3"], roots=0, log=False)(star.clone())
    finally:
        torch.set_default_dtype(torch.float32)
    assert int(whole.motifs.item()) == exact


@pytest.mark.parametrize(
    ("transform", "advice"),
    [
        (
            lambda data: MotifFeatures(nodes=["C5"])(data),
            "allowed: name smaller patterns, or leave",
        ),
        (
            lambda data: MotifFeatures(graph=["K5"])(data),
            "allowed: name smaller patterns, or leave",
        ),
        (lambda data: OrbitCounts()(data), "allowed: count patterns of three nodes instead"),
        (lambda data: PPGNpp(2, 2).plan(data.edge_index, 30), "allowed: take polynomials of a sm"),
        (lambda data: SubgraphCounts(["K5"])(data), "allowed: count smaller .* larger most_steps"),
    ],
    ids=["nodes", "cliques", "orbits", "polynomials", "subgraphs"],
)
def test_advice_can_be_followed(
    transform: Any, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A larger bound is an option of counts alone."""
    begin = Counter.__init__

    def bounded(self: Counter, graphs: Any, most_steps: float = 0.0, advice: str = ADVICE) -> None:
        begin(self, graphs, 10.0, advice)

    monkeypatch.setattr(Counter, "__init__", bounded)
    monkeypatch.setattr("geqlib.motifs.counts.FEW_PAIRS", -1)
    with pytest.raises(ValueError, match=advice):
        transform(data(nx.complete_graph(30)))


def test_kinds_are_not_numbers() -> None:
    """As features of a data set, whose counts are joined elsewhere."""
    path = Data(torch.tensor([[3], [7], [20]]), edges_of(nx.path_graph(3)))
    with pytest.raises(ValueError, match=r"x holds integers, such as kinds.* make them one-hot"):
        SubgraphCounts(["P3"])(path)
    path.edge_attr = torch.tensor([1, 1, 2, 2])
    with pytest.raises(ValueError, match="edge_attr holds integers"):
        OrbitCounts()(path)


def test_errors() -> None:
    with pytest.raises(ValueError, match="patterns is empty"):
        HomomorphismCounts([])
    with pytest.raises(ValueError, match=r"patterns is the text 'C3': write a list, \['C3'\]"):
        HomomorphismCounts("C3")
    with pytest.raises(ValueError, match="of 1 nodes cannot have 2 roots"):
        HomomorphismCounts(["K1"], roots=2)
    with pytest.raises(ValueError, match="roots must be 0, 1 or 2, got 3"):
        SubgraphCounts(["C3"], roots=3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match='pairs must be "edges" or "all"'):
        SubgraphCounts(["C3"], pairs="none")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="roots must be 1 or 2"):
        OrbitCounts(roots=0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="has no edge back"):
        HomomorphismCounts(["C3"])(Data(edge_index=torch.tensor([[0], [1]]), num_nodes=2))
    with pytest.raises(ValueError, match="has no edge_index, and motifs are counted from it"):
        HomomorphismCounts(["C3"])(Data(x=torch.ones(2, 1)))


def test_disconnected_patterns_are_products() -> None:
    """Of homomorphisms; copies of two edges without a node in common are counted among pairs."""
    ring = data(nx.cycle_graph(6))
    two = HomomorphismCounts(["0-1,2-3", "0-1,1-2,3-4"], roots=0, log=False)(ring.clone()).motifs
    assert two.tolist() == [[12 * 12, 24 * 12]]
    pairs = SubgraphCounts(["0-1,2-3"], roots=0, log=False)(ring.clone()).motifs
    assert pairs.item() == 6 * 5 // 2 - 6


def test_later_counts_join_earlier_ones() -> None:
    """Of graphs and of pairs too, which have no features before; pairs that one lacks get zero."""
    path: Any = data(nx.path_graph(4))
    one, two = (SubgraphCounts([p], roots=0, log=False) for p in ("P2", "P3"))
    assert two(one(path)).motifs.tolist() == [[3, 2]]
    walks = [HomomorphismCounts([Pattern(n, e, (0, n - 1))], roots=2, pairs="all", log=False)
             for n, e in ((2, ((0, 1),)), (3, ((0, 1), (1, 2))))]  # fmt: skip
    both = walks[1](walks[0](path))
    pairs = dict(zip(map(tuple, both.pair_index.T.tolist()), both.pair_attr.tolist(), strict=True))
    A = torch.tensor(nx.to_numpy_array(nx.path_graph(4)))
    expected = {(i, j): [float(A[i, j]), float((A @ A)[i, j])] for i in range(4) for j in range(4)}
    assert pairs == {pair: value for pair, value in expected.items() if any(value)}


def test_features_of_another_shape() -> None:
    for name, tensor, roots in (
        ("x", torch.ones(3, 2, 2), 1),
        ("x", torch.ones(4, 2), 1),
        ("edge_attr", torch.ones(5, 1), 2),
    ):
        graph = Data(edge_index=edges_of(nx.cycle_graph(3)), num_nodes=3, **{name: tensor})
        with pytest.raises(ValueError, match=rf"{name} has shape .* give it the shape \[\d, feat"):
            SubgraphCounts(["C3"], roots=roots)(graph)  # type: ignore[arg-type]


def test_labels_are_named() -> None:
    edge = Pattern(2, ((0, 1),), labels=(0, 1))
    graph = Data(edge_index=edges_of(nx.path_graph(3)), num_nodes=3, z=torch.tensor([0, 1, 1]))
    counts = SubgraphCounts([edge], labels="z", log=False)(graph).x
    assert counts is not None and counts.tolist() == [[1, 0], [0, 1], [0, 0]]
    with pytest.raises(ValueError, match="no tensor 'kind', which `labels` names"):
        SubgraphCounts([edge], labels="kind")(graph)
    with pytest.raises(ValueError, match="name the tensor that holds those of the nodes by"):
        SubgraphCounts([edge])(graph)
