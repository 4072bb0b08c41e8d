"""Graphs of the multitask benchmark, their labels and their batches."""

from __future__ import annotations

from collections import Counter
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch

import geqlib.data.graphs.multitask
from geqlib.data import MultitaskData
from geqlib.data.graphs.multitask import (
    GENERATORS,
    MIXTURE,
    graph_labels,
    node_labels,
    random_adjacency,
    toggled,
)


def drawn(kind: str, n: int, seed: int = 0) -> nx.Graph:
    return GENERATORS[kind](n, np.random.default_rng(seed))


# --- the mixture ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", GENERATORS)
@pytest.mark.parametrize("n", [2, 15, 16, 24])
def test_kinds_have_all_nodes(kind: str, n: int) -> None:
    graphs = [drawn(kind, n, seed) for seed in range(4)]
    assert {graph.number_of_nodes() for graph in graphs} == {n}
    if kind in ("tree", "line", "star", "caterpillar", "lobster"):
        assert all(nx.is_tree(graph) for graph in graphs)


def test_kinds_are_what_they_are_called() -> None:
    assert nx.is_isomorphic(drawn("grid", 20), nx.grid_2d_graph(4, 5))
    assert nx.is_isomorphic(drawn("caveman", 20), nx.caveman_graph(4, 5))
    assert nx.is_isomorphic(drawn("star", 9), nx.star_graph(8))
    ladder = drawn("ladder", 9)
    assert ladder.number_of_edges() == nx.ladder_graph(4).number_of_edges() + 1
    for seed in range(20):  # without its leaves a caterpillar is a path, a lobster a caterpillar
        for kind, rounds in (("caterpillar", 1), ("lobster", 2)):
            graph = drawn(kind, 20, seed)
            for _ in range(rounds):
                graph.remove_nodes_from([v for v, degree in list(graph.degree) if degree <= 1])
            assert max((d for _, d in graph.degree), default=0) <= 2


def test_the_mixture_has_its_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: Counter[str] = Counter()

    def count(kind: str) -> Any:
        def draw(n: int, rng: np.random.Generator) -> nx.Graph:
            seen[kind] += 1
            return nx.complete_graph(n)

        return draw

    generators = {kind: count(kind) for kind in GENERATORS}
    monkeypatch.setattr(geqlib.data.graphs.multitask, "GENERATORS", generators)
    rng = np.random.default_rng(0)
    for _ in range(2000):
        random_adjacency(4, rng)
    assert sum(MIXTURE.values()) == pytest.approx(1)
    for kind, share in MIXTURE.items():  # binomial, five standard deviations
        assert abs(seen[kind] / 2000 - share) < 5 * (share * (1 - share) / 2000) ** 0.5


@pytest.mark.parametrize("n", [15, 20, 33])
def test_graphs_are_simple_and_leave_no_node_alone(n: int) -> None:
    rng = np.random.default_rng(n)
    for _ in range(20):
        a = random_adjacency(n, rng)
        assert a.dtype == bool and (a == a.T).all() and not a.diagonal().any() and a.any(1).all()


def test_toggling_keeps_what_the_published_generator_keeps() -> None:
    """u is the mean of two uniform numbers: P(u < 0.9) = 1 - 2 0.1^2, P(u < p) = 2 p^2."""
    rng, line = np.random.default_rng(0), nx.to_numpy_array(nx.path_graph(40)) > 0
    upper = np.triu(np.ones_like(line), 1)
    new = [toggled(line, rng) for _ in range(400)]
    remaining = np.mean([a[line & upper].mean() for a in new])
    added = np.mean([a[~line & upper].mean() for a in new])
    p = 0.1 * 39 / (780 - 39)
    assert remaining == pytest.approx(0.98, abs=5 * (0.98 * 0.02 / 400 / 39) ** 0.5)
    assert added == pytest.approx(2 * p * p, abs=5 * (2 * p * p / 400 / 741) ** 0.5)
    assert toggled(np.ones((6, 6), bool) ^ np.eye(6, dtype=bool), rng).sum() > 20


# --- labels --------------------------------------------------------------------------------------


def walks_everywhere(a: np.ndarray) -> bool:
    """The published test: some power of two of the matrix has no zero."""
    power = a.copy()
    for _ in range(1 + int(np.ceil(np.log2(len(a))))):
        power = (power.astype(int) @ power.astype(int)) > 0
    return bool(power.all())


GRAPHS = [
    *(random_adjacency(n, np.random.default_rng(n)) for n in range(4, 24)),
    *(nx.to_numpy_array(g) > 0 for g in (nx.path_graph(9), nx.cycle_graph(7), nx.star_graph(5))),
    nx.to_numpy_array(nx.disjoint_union(nx.cycle_graph(5), nx.path_graph(4))) > 0,
]


@pytest.mark.parametrize("k", range(len(GRAPHS)))
def test_labels_are_those_of_networkx(k: int) -> None:
    a = GRAPHS[k]
    n, graph = len(a), nx.from_numpy_array(a)
    values, source = np.random.default_rng(k).uniform(size=n), k % n
    steps = {v: dict(d) for v, d in nx.all_pairs_shortest_path_length(graph)}
    actual = node_labels(a, source, values)
    assert actual[:, 0].tolist() == [steps[source].get(v, 0) for v in range(n)]
    assert actual[:, 1].tolist() == [max(steps[v].values()) for v in range(n)]
    assert actual[:, 2] == pytest.approx(nx.laplacian_matrix(graph).toarray() @ values, abs=1e-12)
    whole = graph_labels(a)
    assert whole[0] == walks_everywhere(a)
    assert whole[1] == max(max(d.values()) for d in steps.values())
    assert whole[2] == pytest.approx(np.abs(np.linalg.eigvals(a.astype(float))).max(), abs=1e-9)


# --- batches -------------------------------------------------------------------------------------


def built(tmp_path: Any, **options: Any) -> MultitaskData:
    small = {"train": 2, "val": 1, "test": 1, "starts": (15, 20), "cache": str(tmp_path)}
    data = MultitaskData(4, **(small | options))
    data.prepare_data()
    data.setup()
    return data


def test_protocol(tmp_path: Any) -> None:
    data = built(tmp_path)
    sizes = {name: part.counts["node"].tolist() for name, part in data.splits.items()}
    assert sizes["train"] == [n for n in range(15, 25) for _ in range(2)]
    assert sizes["val"] == sizes["15-19"] == [15, 16, 17, 18, 19]
    assert sizes["20-24"] == [20, 21, 22, 23, 24]
    train: Any = data.splits["train"].__getitems__(range(20))
    assert train.y_node.max(0).values.tolist() == train.y_graph.max(0).values.tolist() == [1] * 3
    assert [next(iter(loader)).sizes for loader in data.test_dataloader()] == ["15-19", "20-24"]


def test_a_batch_holds_whole_graphs(tmp_path: Any) -> None:
    part = built(tmp_path).splits["train"]
    batch: Any = part.__getitems__([19, 3])
    assert batch.num_graphs == 2 and torch.bincount(batch.batch).tolist() == [24, 16]
    source, target = batch.edge_index
    assert (batch.batch[source] == batch.batch[target]).all() and (target.diff() >= 0).all()
    again: Any = part[3]
    assert torch.equal(again.x, batch.x[24:]) and torch.equal(again.y_graph, batch.y_graph[1:])
    assert torch.equal(again.edge_index + 24, batch.edge_index[:, batch.batch[target] == 1])
    marks = torch.zeros(2).index_add(0, batch.batch, batch.x[:, 0])
    assert marks.tolist() == [1, 1]


def test_labels_belong_to_the_graphs_of_the_batch(tmp_path: Any) -> None:
    data = built(tmp_path)
    part = data.splits["train"]
    every = [part[k] for k in range(len(part))]
    adjacency, raw = [], []
    for graph in every:
        g: Any = graph
        a = np.zeros((len(g.x), len(g.x)), bool)
        a[g.edge_index[1], g.edge_index[0]] = True
        adjacency.append(a)
        raw.append(node_labels(a, int(g.x[:, 0].argmax()), g.x[:, 1].double().numpy()))
    top = np.concatenate(raw).max(0)
    for graph, labels, a in zip(every, raw, adjacency, strict=True):
        g = graph
        assert np.allclose(g.y_node, labels / top, atol=1e-6)  # float32
        assert g.y_graph[0, 1] == pytest.approx(
            graph_labels(a)[1] / max(x[:, 1].max() for x in raw)
        )


def test_data_are_a_function_of_the_seed(tmp_path: Any) -> None:
    one, other = built(tmp_path / "a"), built(tmp_path / "b")
    assert all(torch.equal(one.splits[k][0].x, other.splits[k][0].x) for k in one.splits)
    third = built(tmp_path / "c", data_seed=1)
    assert not torch.equal(one.splits["train"][0].x, third.splits["train"][0].x)
    assert not torch.equal(one.splits["val"][0].x, one.splits["15-19"][0].x)


def test_degrees_are_counted_over_training_nodes(tmp_path: Any) -> None:
    data = built(tmp_path)
    part: Any = data.splits["train"].__getitems__(range(20))
    degrees = torch.bincount(part.edge_index[1], minlength=part.num_nodes)
    assert data.degrees() == [int((degrees == k).sum()) for k in range(int(degrees.max()) + 1)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"val": 0}, "must be positive, got 4, 2, 0 and 1"),
        ({"starts": ()}, r"sizes of at least 2 nodes, got \[\]"),
        ({"starts": (1,)}, r"got \[1\]"),
    ],
)
def test_errors_say_what_and_how_to_fix(tmp_path: Any, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        built(tmp_path, **options)
    with pytest.raises(ValueError, match="at least two nodes, got n = 1"):
        random_adjacency(1, np.random.default_rng(0))
