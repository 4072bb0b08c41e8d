"""The likelihood of graphs: its parts, its errors, and graphs that are drawn from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import networkx as nx
import pytest
import torch

from geqlib.models import PARD
from geqlib.pard.model import PARDPlan
from geqlib.pard.order import partial_order
from geqlib.pard.sampling import SampledGraphs, sample_graphs
from geqlib.train.graph_samples import as_networkx
from tests.pard.test_order import batched

SMALL = {"channels": 8, "pair_channels": 4, "layers": 1, "heads": 2, "steps": 4}
PATH = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
X = torch.zeros(3, dtype=torch.long)
GRAPHS = [nx.star_graph(3), nx.path_graph(5), nx.cycle_graph(4)]


def model(**options: Any) -> PARD:
    torch.manual_seed(0)
    return PARD(4, 2, **SMALL | options).eval()


def seen(net: PARD, graphs: list[nx.Graph] = GRAPHS) -> PARD:
    edges, batch = batched(graphs)
    order = partial_order(edges, len(batch), batch, len(graphs), hops=net.hops)
    net.observe(torch.tensor([len(graph) for graph in graphs]), order)
    return net


@pytest.mark.parametrize("training", ["parallel", "prefixes"])
def test_graphs_of_a_batch_are_those_alone(training: str) -> None:
    """With noise by a generator, a graph without blocks and a graph of one node beside them."""
    net = model(training=training)
    graphs = [nx.empty_graph(0), nx.path_graph(4), nx.empty_graph(1)]
    edges, batch = batched(graphs)
    losses = net(torch.zeros_like(batch), edges, None, batch, 3, noise=False)
    for k, graph in enumerate(graphs):
        edges, own = batched([graph])
        alone = net(torch.zeros_like(own), edges, None, own, 1, noise=False)
        for part, single in zip(losses, alone, strict=True):
            torch.testing.assert_close(part[k], single[0], atol=1e-5, rtol=0)
    assert not losses.divergence[0] and not losses.sizes[0]


def test_noise_is_that_of_the_generator() -> None:
    net = model()
    draws = [
        net(X, PATH, generator=torch.Generator().manual_seed(seed)).divergence for seed in (0, 0, 1)
    ]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])


def test_plans_go_through_tensors() -> None:
    net = model()
    plan = net.plan(PATH, 3)
    again = PARDPlan.from_tensors(plan.tensors())
    torch.testing.assert_close(net(X, PATH, plan=again, noise=False), net(X, PATH, noise=False))


@pytest.mark.parametrize("hops", [0, 1])
def test_sizes_are_a_chain_of_probabilities(hops: int) -> None:
    """By hand: -log p of each size and degree, and of the stop."""
    net = model(hops=hops)
    plan = net.plan(PATH, 3)
    total = net.totals(X, torch.zeros(9).long().index_fill(0, torch.tensor([1, 3, 5, 7]), 1),
                       net.degree_of_nodes(plan, X), plan)  # fmt: skip
    size, degree = plan.size, plan.degree
    assert size.tolist() == ([3] if hops == 0 else [1, 2])
    expected = -net.sizes.first_degree(size[:1]).log_softmax(1)[0, degree[0]]
    for k in range(len(size)):
        next_size = size[k + 1] if k + 1 < len(size) else torch.tensor(0)
        expected = expected - net.sizes.next_size(total[k : k + 1]).log_softmax(1)[0, next_size]
        if k + 1 < len(size):
            logits = net.sizes.next_degree(total[k : k + 1], next_size[None])
            expected = expected - logits.log_softmax(1)[0, degree[k + 1]]
    torch.testing.assert_close(net(X, PATH).sizes[0], expected)


ERRORS: dict[str, tuple[Callable[[], Any], str]] = {
    "training": (lambda: model(training="both"), 'must be "parallel" or "prefixes"'),
    "classes": (lambda: model(edge_classes=1), "at least 1, 0, 0, 1 and 2"),
    "size": (lambda: PARD(1, 2, **SMALL)(X, PATH), "A block has 2 nodes"),
    "degree": (lambda: PARD(3, 0, **SMALL)(X, PATH), "one has degree 1"),
    "kinds of nodes": (lambda: model()(X + 1, PATH), "x goes from 1 to 1"),
    "kinds of edges": (lambda: model()(X, PATH, X[:1].expand(4)), "edge_attr goes from 0 to 0"),
    "two kinds": (
        lambda: model(edge_classes=3)(X, PATH, torch.tensor([1, 2, 1, 1])),
        "another kind in its other direction",
    ),
    "features": (lambda: model()(X.float(), PATH), "as integers"),
    "directed": (lambda: model()(X, PATH[:, :1]), "both directions of every edge"),
    "graphs": (lambda: model()(X, PATH, batch=X), "without num_graphs"),
    "between": (
        lambda: model()(X, PATH, batch=torch.tensor([0, 0, 1]), num_graphs=2),
        "joins nodes of two graphs",
    ),
    "plan": (lambda: model()(X, PATH, plan=model(hops=2).plan(PATH, 3)), "made for hops=2"),
    "not trained": (lambda: sample_graphs(model(), 1), "has seen no graphs"),
    "count": (lambda: sample_graphs(seen(model()), -1), "count must be at least 0"),
    "most": (lambda: sample_graphs(seen(model()), 1, max_nodes=0), "max_nodes must be"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name: str) -> None:
    call, message = ERRORS[name]
    with pytest.raises(ValueError, match=message):
        call()


def samples(net: PARD, seed: int = 0, **options: Any) -> SampledGraphs:
    generator = torch.Generator().manual_seed(seed)
    return sample_graphs(net, 8, generator=generator, **options)


@pytest.mark.parametrize("options", [{}, {"training": "prefixes", "hops": 2}, {"hops": 0}])
def test_samples_are_simple_graphs(options: dict[str, Any]) -> None:
    net = seen(model(node_classes=2, edge_classes=3, **options), GRAPHS[:1] + GRAPHS[2:])
    graphs = samples(net, max_nodes=12)
    size = torch.bincount(graphs.batch, minlength=8)
    assert graphs.num_graphs == 8 and int(size.min()) >= 1 and int(size.max()) <= 12
    partial_order(graphs.edge_index, len(graphs.x), graphs.batch, 8)  # refuses others
    ends = graphs.batch[graphs.edge_index]
    assert torch.equal(ends[0], ends[1]) and bool((graphs.batch.diff() >= 0).all())
    assert int(graphs.edge_attr.min()) >= 1 and int(graphs.edge_attr.max()) <= 2
    back = {
        (i, j): k for i, j, k in torch.cat([graphs.edge_index, graphs.edge_attr[None]]).T.tolist()
    }
    assert all(back[j, i] == k for (i, j), k in back.items())
    again = samples(net, max_nodes=12)
    assert torch.equal(graphs.edge_index, again.edge_index) and torch.equal(graphs.x, again.x)
    if net.hops == 0:
        assert not graphs.block.any() and set(size.tolist()) <= {4} and graphs.follows(0).all()


def test_a_graph_that_grows_on_is_stopped() -> None:
    net = seen(model())
    with torch.no_grad():  # always a further block of four nodes
        net.sizes.size_out[-1].weight.zero_()
        net.sizes.size_out[-1].bias.copy_(torch.tensor([-30.0, -30, -30, -30, 0]))
    graphs = samples(net, max_nodes=9)
    assert graphs.stopped.all() and int(torch.bincount(graphs.batch).max()) <= 9
    assert all(graph.graph["stopped"] for graph in as_networkx([graphs], net.hops))


@pytest.mark.slow
def test_a_few_graphs_are_learnt() -> None:
    """A third of the samples is one of the training graphs after few steps."""
    net = seen(model(layers=2, channels=16, pair_channels=16, steps=8))
    edges, batch = batched(GRAPHS)
    plan = net.plan(edges, len(batch), batch, 3)
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    for _ in range(250):
        losses = net(torch.zeros_like(batch), edges, None, batch, 3, plan)
        loss = (losses.divergence + 0.1 * losses.entropy + losses.sizes).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert right(net) >= 13


def right(net: PARD) -> int:
    """Of 40 samples, those that are a training graph."""
    samples = sample_graphs(net, 40, generator=torch.Generator().manual_seed(0))
    graphs = as_networkx([samples], net.hops)
    return sum(any(nx.is_isomorphic(sample, graph) for graph in GRAPHS) for sample in graphs)


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8])
def test_kinds_are_integers_of_any_size(dtype: torch.dtype) -> None:
    net = model(node_classes=2, edge_classes=3)
    kinds, bonds = torch.tensor([0, 1, 1]), torch.tensor([1, 1, 2, 2])
    losses = net(kinds.to(dtype), PATH.to(torch.int32), bonds.to(dtype), noise=False)
    for part, expected in zip(losses, net(kinds, PATH, bonds, noise=False), strict=True):
        assert torch.equal(part, expected)


@pytest.mark.parametrize("training", ["parallel", "prefixes"])
def test_nan_drops_the_graph_and_no_other(training: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes are drawn first, so that those of the others are the same; none is replaced."""
    net = seen(model(training=training))
    whole = sample_graphs(net, 4, generator=torch.Generator().manual_seed(0))
    assert not whole.dropped.any()
    first = net.sizes.first_degree
    pick = torch.tensor([1.0, torch.nan, 1.0, 1.0])[:, None]
    monkeypatch.setattr(net.sizes, "first_degree", lambda size: first(size) * pick)
    drawn = sample_graphs(net, 4, generator=torch.Generator().manual_seed(0))
    assert drawn.dropped.tolist() == [False, True, False, False]
    assert drawn.num_graphs == 4 and not (drawn.batch == 1).any()
    assert {0, 2, 3} == set(drawn.batch.tolist())
    owners = drawn.batch[drawn.edge_index]
    assert torch.equal(owners[0], owners[1])
    assert drawn.follows(net.hops).tolist()[1] is False
    assert len(as_networkx([drawn], net.hops)) == 3
    both = SampledGraphs.joined([drawn, whole])
    assert both.num_graphs == 8 and int(both.dropped.sum()) == 1
    graphs = as_networkx([drawn], net.hops) + as_networkx([whole], net.hops)
    assert all(map(nx.utils.graphs_equal, as_networkx([both], net.hops), graphs))


@pytest.mark.parametrize("part", ["sizes", "denoiser"])
def test_weights_of_nan_drop_all_graphs(part: str) -> None:
    net = seen(model())
    for parameter in getattr(net, part).parameters():
        torch.nn.init.constant_(parameter, torch.nan)
    drawn = sample_graphs(net, 3, generator=torch.Generator().manual_seed(0))
    assert drawn.dropped.all() and not len(drawn.x) and not drawn.edge_index.numel()
