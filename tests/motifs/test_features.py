"""Counts of all kinds at once: where they go, which networks take them, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning as L
import networkx as nx
import pytest
import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from geqlib.data import GraphData
from geqlib.data.graphs.motif_counts import counted_together, with_motifs
from geqlib.data.packed import PackedGraphs
from geqlib.graph import accepted
from geqlib.graph.pair_values import check_pairs, values_at
from geqlib.models import SPEN, MessagePassingNet, MonoidGNN, PPGNpp
from geqlib.motifs.features import MotifFeatures, check_taken
from geqlib.motifs.network import PPGNPlan
from geqlib.train import GraphClassificationTask
from geqlib.train.check import symmetry_errors
from tests.motifs.brute_force import edges_of

GRAPHS = [nx.cycle_graph(n) for n in (5, 6, 7, 8)] + [nx.wheel_graph(n) for n in (5, 6, 7, 8)]
CLASSES = [0] * 4 + [1] * 4
NODES = {"nodes": ["C3", "C4"]}
EDGES, PAIRS, GRAPH = {"edges": ["C3"]}, {"pairs": "orbits"}, {"graph": "cliques"}


def data(features: dict[str, Any] | None, **options: Any) -> GraphData:
    options = {"num_folds": 2, "validation": 0.25, "batch_size": 2} | options
    return GraphData.from_networkx(GRAPHS, CLASSES, features=features, **options)


@pytest.fixture(autouse=True)
def cache(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEQLIB_CACHE", str(tmp_path))


def width(features: dict[str, Any] | None) -> int:
    """Of x: the one-hot degrees of all graphs, and the counts."""
    degrees = {degree for graph in GRAPHS for _, degree in graph.degree()}
    return len(degrees) + MotifFeatures(**features or NODES).channels.get("x", 0)


SMALL = {"channels": 4, "layers": 2}
ALL = NODES | PAIRS | GRAPH
# network -> what it is given, how it is made
NETWORKS: dict[str, tuple[dict[str, Any], dict[str, Any], Callable[[int], nn.Module]]] = {
    "GIN": (
        NODES | EDGES | GRAPH,
        {},
        lambda x: MessagePassingNet(x, 2, edge_dim=1, graph_dim=4, **SMALL),
    ),
    "PNA": (
        NODES | EDGES | GRAPH,
        {},
        lambda x: MessagePassingNet(
            x, 2, conv="PNA", degrees=[0, 0, 9, 9, 1], edge_dim=1, graph_dim=4, **SMALL
        ),
    ),
    "MonoidGNN": (
        NODES | EDGES | GRAPH,
        {},
        lambda x: MonoidGNN(x, "max", out_graph=2, edge_dim=1, graph_dim=4, **SMALL),
    ),
    "SPEN": (
        ALL | EDGES,
        {"hops": 2, "symmetric": True},
        lambda x: SPEN(x, 2, edge_dim=1, pair_dim=28, graph_dim=4, hops=2, symmetric=True, **SMALL),
    ),
    "PPGNpp": (
        ALL | EDGES,
        {"degree": 6},
        lambda x: PPGNpp(x, 2, edge_dim=1, pair_dim=28, graph_dim=4, **SMALL),
    ),
}


def trainer(**options: Any) -> L.Trainer:
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    return L.Trainer(accelerator="cpu", enable_checkpointing=False, **quiet, **options)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NETWORKS)
def test_two_steps_move_what_reads_the_features(name: str) -> None:
    features, options, build = NETWORKS[name]
    torch.manual_seed(0)
    task = GraphClassificationTask(build(width(features)), 2, lr=0.01)
    before = [p.detach().clone() for p in task.model.parameters()]
    trainer(max_steps=2).fit(task, data(features, **options))
    after = list(task.model.parameters())
    assert all(p.isfinite().all() for p in after)
    moved = [not torch.equal(p, q) for p, q in zip(before, after, strict=True)]
    assert sum(moved) > len(moved) / 2  # a ReLU of so small a network may be dead


@pytest.mark.parametrize("name", NETWORKS)
def test_every_feature_is_read(name: str) -> None:
    """Another number anywhere, and the outputs are others."""
    features, options, build = NETWORKS[name]
    torch.manual_seed(0)
    net, module = build(width(features)).eval(), data(features, **options)
    module.setup()
    batch = next(iter(module.test_dataloader()))
    names = ["x", "edge_attr", "motifs"] + ["pair_attr"] * ("pairs" in features)
    reference = net(**accepted(net.forward, batch))
    for key in names:
        changed = batch.clone()
        changed[key] = changed[key] + 1
        assert not torch.allclose(net(**accepted(net.forward, changed)), reference), key


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("features", "net", "message"),
    [
        (PAIRS, lambda x: MessagePassingNet(x, 2, **SMALL), "MessagePassingNet takes no pair_attr"),
        (PAIRS, lambda x: MonoidGNN(x, "max", out_graph=2), "such as SPEN or PPGNpp"),
        (EDGES, lambda x: MessagePassingNet(x, 2, **SMALL), "has edge_dim=0"),
        (GRAPH, lambda x: MonoidGNN(x, "max", out_graph=2), "graph_dim=0, so that it takes no m"),
        (PAIRS, lambda x: SPEN(x, 2, **SMALL), "SPEN has pair_dim=0"),
        (NODES, lambda x: MessagePassingNet(x - 1, 2), "x has shape .* set in_channels"),
    ],
    ids=["GIN pairs", "monoid pairs", "GIN edges", "monoid graph", "SPEN pairs", "GIN width"],
)
def test_networks_that_do_not_take_them(features: Any, net: Any, message: str) -> None:
    task = GraphClassificationTask(net(width(features)), 2)
    with pytest.raises(ValueError, match=message):
        trainer(max_steps=1).fit(task, data(features))


def test_a_data_set_has_the_counts_of_its_graphs() -> None:
    """Counted together, from the cache, or one by one: the same."""
    features = {"nodes": ["C3", "P3"], "edges": "orbits", "pairs": ["C4"], "graph": ["C3", "K4"]}
    for _ in range(2):  # counted, and read from the cache
        module = data(features, validation=0.0)
        module.prepare_data()
        module.setup()
        for k, number in enumerate(module.numbers["test"].tolist()):
            graph = module.splits["test"][k]
            alone: Any = module.splits["test"][k].clone()
            bare = alone.x[:, : width(features) - 3]
            alone.x, alone.edge_attr = bare, None
            del alone["pair_index"], alone["pair_attr"], alone["motifs"]
            alone = MotifFeatures(**features)(alone)
            assert graph.num_nodes == len(GRAPHS[number])
            for key in ("x", "edge_attr", "pair_index", "pair_attr", "motifs"):
                assert torch.equal(graph[key], alone[key]), key
    batch = next(iter(module.test_dataloader()))
    assert torch.equal(batch.batch[batch.pair_index[0]], batch.batch[batch.pair_index[1]])


@pytest.mark.parametrize("degree", [4, 5, 6])
def test_polynomials_in_the_loader_are_those_of_the_network(degree: int) -> None:
    net, module = PPGNpp(width(NODES), 2, degree=degree, **SMALL), data(NODES, degree=degree)
    module.setup()
    for batch in module.train_dataloader():
        plan = net.plan(batch.edge_index, batch.num_nodes, batch.batch, batch.num_graphs)
        assert isinstance(batch.plan, PPGNPlan) and batch.plan.degree == degree
        torch.testing.assert_close(batch.plan.polynomials, plan.polynomials.float())
        assert torch.equal(batch.plan.pairs.row, plan.pairs.row)
    assert sum(module.degrees()) == sum(len(b.x) for b in module.train_dataloader())


def test_graphs_counted_together() -> None:
    """As one by one, tensor by tensor."""
    features = MotifFeatures(nodes="orbits", edges=["C4"], pairs="orbits", graph="cliques")
    graphs = [Data(torch.ones(len(g), 1), edges_of(g)) for g in GRAPHS[2:6]]
    for one, two in zip(counted_together(graphs, features), graphs, strict=True):
        alone: Any = MotifFeatures(**features.settings)(two.clone())
        names = alone.keys()
        assert set(one.keys()) == set(names)
        assert all(torch.equal(one[key], alone[key]) for key in names)


def test_kinds_cannot_be_joined() -> None:
    graphs = PackedGraphs(
        {"nodes": [2], "edges": [2], "edge_index": [[0, 1], [1, 0]], "x": [3, 4]}, {"x": "node"}
    )
    with pytest.raises(ValueError, match="x holds integers, such as kinds"):
        with_motifs(graphs, MotifFeatures(nodes=["C3"]))


def test_symmetry_is_measured_with_the_features() -> None:
    """Pairs are relabelled with their nodes."""
    net = SPEN(width(ALL), 2, pair_dim=28, graph_dim=4, **SMALL)
    errors = symmetry_errors(GraphClassificationTask(net, 2), data(ALL), samples=2)
    assert errors["relabelling S_n"]["float64"] < 1e-10


def directed() -> GraphData:
    graphs = [nx.cycle_graph(3), nx.DiGraph([(0, 1), (1, 2)])] * 4
    return GraphData.from_networkx(graphs, [0, 1] * 4, num_folds=2, features=NODES)


DATA_ERRORS: dict[str, tuple[Callable[[], GraphData], str]] = {
    "key": (lambda: data({"node": ["C3"]}), "features has no key 'node': choose from nodes, edges"),
    "word": (
        lambda: data({"nodes": "cliques"}),
        r"of nodes are 'cliques': write a list .* 'orbits'",
    ),
    "orbits of graphs": (lambda: data({"graph": "orbits"}), "of graph are 'orbits'"),
    "nothing": (lambda: data({}), "There are no features: name some of nodes, edges"),
    "pattern": (lambda: data({"nodes": ["C99"]}), "99"),
    "number": (lambda: data({"nodes": [5]}), "5 is no pattern: write C5"),
    "no list": (lambda: data({"nodes": 5}), "of nodes are 5: write a list of patterns"),
    "roots": (lambda: data({"pairs": ["K1"]}), "of 1 nodes cannot have 2 roots"),
    "directed": (directed, "Motifs of graph 1 are not counted. The edge 0 -> 1 has no edge back"),
    "two plans": (lambda: data(None, hops=1, degree=6), "leave out one"),
    "degree": (lambda: data(None, degree=7), "degree must be 1 to 6, got 7"),
}


@pytest.mark.parametrize("name", DATA_ERRORS)
def test_errors_of_data(name: str) -> None:
    make, message = DATA_ERRORS[name]
    with pytest.raises(ValueError, match=message):
        make().setup()


X, RING = torch.zeros(3, 2), edges_of(nx.cycle_graph(3))
PAIR, VALUE = torch.tensor([[0], [2]]), torch.ones(1, 4)
SHAPE_ERRORS: dict[str, tuple[Callable[[], Tensor], str]] = {
    "missing": (lambda: SPEN(2, 3, pair_dim=4)(X, RING), "pair_attr is missing, but pair_dim is 4"),
    "index": (
        lambda: PPGNpp(2, 3, pair_dim=4)(X, RING, pair_attr=VALUE),
        "pair_index is missing",
    ),
    "width": (
        lambda: SPEN(2, 3, pair_dim=5)(X, RING, pair_index=PAIR, pair_attr=VALUE),
        r"pair_attr has shape \(1, 4\), expected \(1, 5\)",
    ),
    "range": (
        lambda: PPGNpp(2, 3, pair_dim=4)(X, RING, pair_index=PAIR + 1, pair_attr=VALUE),
        "pair_index names node 3 or a negative one, but there are only nodes 0 to 2",
    ),
    "twice": (
        lambda: SPEN(2, 3, pair_dim=4)(
            X, RING, pair_index=PAIR.repeat(1, 2), pair_attr=VALUE.repeat(2, 1)
        ),
        r"names the pair \(0, 2\) twice",
    ),
    "graphs": (
        lambda: MessagePassingNet(2, 3, graph_dim=2)(X, RING, motifs=torch.zeros(2, 2)),
        r"motifs has shape \(2, 2\), expected \(1, 2\)",
    ),
    "no graphs": (lambda: PPGNpp(2, 3, graph_dim=2)(X, RING), "motifs is missing"),
    "GIN": (lambda: MessagePassingNet(2, 3, edge_dim=2)(X, RING), "edge_attr is missing"),
    "plan": (
        lambda: PPGNpp(2, 3)(X, RING, plan=SPEN(2, 3).plan(RING, 3)),  # type: ignore[arg-type]
        "The plan is a EgoPlan, which belongs to another network",
    ),
    "monoid": (
        lambda: MonoidGNN(2, "max", out_node=1, graph_dim=2)(X, RING),  # type: ignore[return-value]
        "no outputs of graphs",
    ),
}


@pytest.mark.parametrize("name", SHAPE_ERRORS)
def test_errors_of_shapes(name: str) -> None:
    call, message = SHAPE_ERRORS[name]
    with pytest.raises(ValueError, match=message):
        call()


def test_values_at_other_pairs() -> None:
    """Against a dense table, pairs in any order."""
    torch.manual_seed(0)
    pairs = torch.randperm(25)[:9]
    index, value = torch.stack([pairs // 5, pairs % 5]), torch.randn(9, 2)
    dense = torch.zeros(5, 5, 2)
    dense[index[0], index[1]] = value
    row, column = torch.cartesian_prod(torch.arange(5), torch.arange(5)).T
    assert torch.equal(values_at(index, value, row, column, 5), dense[row, column])
    empty = values_at(index[:, :0], value[:0], row, column, 5)
    assert empty.shape == (25, 2) and not empty.any()
    check_pairs(index, value, 2, 5)


def test_a_network_of_your_own_that_takes_them() -> None:
    class Own(nn.Module):
        def forward(self, x: Tensor, pair_attr: Tensor) -> Tensor:
            return x.sum() + pair_attr.sum()

    check_taken(Own(), ["nodes", "pairs"])
    with pytest.raises(ValueError, match="Own takes no motifs"):
        check_taken(Own(), ["graph"])
