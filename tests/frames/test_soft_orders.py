"""Soft orders: their formulas, invariance, continuity at ties, gradients, and bad input."""

from __future__ import annotations

from functools import partial
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck

from geqlib.frames.node_scores import WalkScores, return_probabilities
from geqlib.frames.soft_orders import mixing_matrix, soft_permutation
from geqlib.graph.pairs import pair_plan
from geqlib.nn import FrameAveraging, SoftOrder
from geqlib.testing import degenerate_sets, equivariance_error
from tests.contract import Case, Contract, Typed
from tests.frames.oracle_soft_orders import sinkhorn, softsort
from tests.frames.test_orders import GRAPHS, typed

ORACLES: dict[Any, Any] = {"softsort": softsort, "sinkhorn": sinkhorn}
BOTH = ("graph:scalar", "scalar")


class First(nn.Module):
    """The first feature is the score."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0]


class Learned(nn.Module):
    """Scores of features and of the neighbours' features."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.own, self.near = nn.Linear(features, 1), nn.Linear(features, 1)

    def reset_parameters(self) -> None:
        self.own.reset_parameters()
        self.near.reset_parameters()

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        source, target = edge_index
        near = torch.zeros_like(x).index_add(0, target, x[source])
        return self.own(x) + torch.tanh(self.near(near))


class Places(nn.Module):
    """A graph and its nodes by their places and the weights of edges: no symmetry."""

    def __init__(self, features: int, most: int = 12) -> None:
        super().__init__()
        self.node = nn.Parameter(torch.empty(most, features, 5))
        self.edge = nn.Parameter(torch.empty(most, most, 5))
        self.out = nn.Parameter(torch.empty(most, 5, 2))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for parameter in self.parameters():
            nn.init.normal_(parameter)

    def forward(
        self,
        x: Tensor,
        batch: Tensor,
        num_graphs: int,
        edge_index: Tensor | None = None,
        edge_attr: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        place = torch.arange(len(x), device=x.device) - torch.searchsorted(batch, batch)
        total = x.new_zeros(num_graphs, 5)
        part = torch.einsum("ni,nij->nj", x, self.node[place].to(x.dtype))
        total = total.index_add(0, batch, part.to(x.dtype))
        if edge_index is not None and edge_attr is not None:
            source, target = place[edge_index]
            part = (edge_attr * self.edge[source, target]).to(x.dtype)
            total = total.index_add(0, batch[edge_index[0]], part)
        h = torch.sin(total)
        nodes = torch.einsum("nj,njk->nk", h[batch] + x.sum(1, True), self.out[place].to(x.dtype))
        return h, nodes


TYPES = {"x": "scalar", "edge_index": "edge_index", "edge_attr": "edge:scalar"}


def soft(features: int, scores: nn.Module, relaxation: Any = "softsort", **more: Any) -> Any:
    order = SoftOrder(scores, relaxation=relaxation, **({"temperature": 0.3} | more))
    return FrameAveraging(
        Places(features), "S_n", inputs=TYPES, outputs=BOTH, mode="soft", order=order
    )


def learned(relaxation: Any) -> Any:
    return soft(3, Learned(3), relaxation)


def features(pos: Tensor, edge_index: Tensor, generator: torch.Generator) -> Typed:
    weights = torch.rand(edge_index.size(1), 1, generator=generator).double()
    return {
        "x": (pos, "scalar"),
        "edge_index": (edge_index, "edge_index"),
        "edge_attr": (weights, "edge:scalar"),
        "batch": (torch.zeros(len(pos), dtype=torch.long), "batch"),
    }


def pairs(net: Any, tensors: dict[str, Tensor], graphs: int) -> dict[str, Any]:
    return {"num_graphs": graphs, "plan": net.pairs(**tensors, num_graphs=graphs)}


BLOCKS = "matrices are those of each size of graphs, whose number differs between batches"


class TestContract(Contract):
    cases = tuple(
        Case(
            f"soft, {relaxation}",
            partial(learned, relaxation),
            features,
            BOTH,
            extra=pairs,
            exceptions={"compile": BLOCKS, "export": BLOCKS},
        )
        for relaxation in ORACLES
    )


@pytest.mark.parametrize("relaxation", ORACLES)
def test_the_formula(relaxation: Any) -> None:
    """y = P^T module(P x, P A P^T), graph by graph, on ragged graphs."""
    torch.manual_seed(0)
    net = soft(2, First(), relaxation).double()
    sizes, generator = (4, 1, 0, 3), torch.Generator().manual_seed(0)
    batch = torch.repeat_interleave(torch.arange(4), torch.tensor(sizes))
    shuffled = torch.randperm(len(batch), generator=generator)
    batch = batch[shuffled]  # nodes of graphs need not stand side by side
    x = torch.randn(len(batch), 2, generator=generator).double()
    same = (batch[:, None] == batch) & (torch.rand(8, 8, generator=generator) < 0.6)
    edges = same.nonzero().T
    weights = torch.rand(edges.size(1), 1, generator=generator).double()
    graph, nodes = net(x=x, edge_index=edges, edge_attr=weights, batch=batch, num_graphs=4)
    adjacency = torch.zeros(8, 8).double().index_put(tuple(edges), weights[:, 0])
    for g, n in enumerate(sizes):
        own = (batch == g).nonzero()[:, 0]
        p = torch.tensor(ORACLES[relaxation](x[own, 0].tolist(), 0.3)).view(n, n)
        a = p @ adjacency[own][:, own] @ p.T
        every = torch.cartesian_prod(torch.arange(n), torch.arange(n)).view(-1, 2).T
        arguments = {"edge_index": every, "edge_attr": a.reshape(-1, 1)}
        expected = net.module(p @ x[own], torch.zeros(n).long(), 1, **arguments)
        torch.testing.assert_close(graph[g], expected[0][0], atol=1e-11, rtol=0)
        torch.testing.assert_close(nodes[own], p.T @ expected[1], atol=1e-11, rtol=0)


@pytest.mark.parametrize("temperature", [1e-3, 0.1, 1.0, 100.0])
def test_sinkhorn_matrices_are_doubly_stochastic(temperature: float) -> None:
    """To rounding, whatever the temperature; also with ties, and beside the plain iterations."""
    scores = torch.randn(20, 12, generator=torch.Generator().manual_seed(0)).double()
    scores[:, 3] = scores[:, 7]
    matrix = soft_permutation(scores, "sinkhorn", temperature)
    for axis in (-1, -2):
        assert (matrix.sum(axis) - 1).abs().max() < 1e-11
    if temperature == 1:  # the plain ones are slow at low temperatures
        expected = torch.tensor(sinkhorn(scores[0].tolist(), temperature))
        torch.testing.assert_close(matrix[0], expected, atol=1e-9, rtol=0)


@pytest.mark.parametrize("relaxation", ORACLES)
def test_low_temperatures_sort(relaxation: Any) -> None:
    scores = torch.tensor([0.3, -1.0, 2.0, 0.1]).double()
    hard = torch.eye(4).double()[scores.argsort()]
    matrix = soft_permutation(scores, relaxation, 1e-3)
    torch.testing.assert_close(matrix, hard, atol=1e-12, rtol=0)
    assert (soft_permutation(scores, relaxation, 1e6) - 0.25).abs().max() < 1e-5
    assert soft_permutation(scores[:1], relaxation).tolist() == [[1.0]]
    assert soft_permutation(scores[:0], relaxation).shape == (0, 0)


@pytest.mark.parametrize("relaxation", ORACLES)
@pytest.mark.parametrize("name", GRAPHS)
def test_relabelling_changes_nothing(name: str, relaxation: Any) -> None:
    """Of graphs whose nodes are all alike, and of a network without any symmetry."""
    inputs = typed(GRAPHS[name], True)
    inputs["edge_attr"] = (inputs["edge_attr"][0], "edge:scalar")
    torch.manual_seed(0)
    net = soft(1, WalkScores(1), relaxation, temperature=0.01).double()
    fn = partial(net, num_graphs=1)
    assert equivariance_error(fn, inputs, BOTH, "S_n", samples=12) < 1e-12
    plain = lambda **t: net.module(**t, num_graphs=1)  # noqa: E731
    if len(inputs["edge_attr"][0]) and name != "two triangles":
        assert equivariance_error(plain, inputs, BOTH, "S_n") > 1e-2


def tied_sets(count: int, nodes: int, gap: float) -> tuple[Tensor, Tensor]:
    """Two versions of sets [count, nodes, 2] in which two scores differ by `gap`, either way."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, nodes, 2, generator=generator).double()
    pair = torch.rand(count, nodes, generator=generator).argsort(1)[:, :2]
    every, (a, b) = torch.arange(count), pair.T
    versions = []
    for sign in (1, -1):
        version = x.clone()
        version[every, a, 0] = x[every, b, 0] + sign * gap
        versions.append(version)
    return versions[0], versions[1]


def largest_jump(net: Any, count: int, nodes: int = 6) -> float:
    """Between scores that differ by 1e-9 in one order and in the other, over `count` sets."""
    batch, outputs = torch.arange(count).repeat_interleave(nodes), []
    for x in tied_sets(count, nodes, 1e-9):
        with torch.no_grad():
            outputs.append(net(x=x.flatten(0, 1), batch=batch, num_graphs=count))
    return max(float((a - b).abs().max()) for a, b in zip(*outputs, strict=True))


@pytest.mark.parametrize("relaxation", ORACLES)
def test_nothing_jumps_at_ten_thousand_ties(relaxation: Any) -> None:
    torch.manual_seed(0)
    options: dict[str, Any] = {"inputs": {"x": "scalar"}, "outputs": BOTH}
    module = Places(2)
    order = SoftOrder(First(), relaxation=relaxation, temperature=0.1)
    net = FrameAveraging(module, "S_n", mode="soft", order=order, **options).double()
    assert largest_jump(net, 10_000) < 1e-6
    assert largest_jump(FrameAveraging(module, "S_n", **options), 100) > 0.1  # a hard order


@pytest.mark.parametrize("relaxation", ORACLES)
def test_gradients_reach_the_scores(relaxation: Any) -> None:
    torch.manual_seed(0)
    net = soft(3, Learned(3), relaxation).double()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(5, 3, generator=generator).double().requires_grad_()
    edges, batch = torch.tensor([[0, 1, 2, 3], [1, 2, 0, 4]]), torch.tensor([0, 0, 0, 1, 1])
    weights = torch.rand(4, 1, generator=generator).double().requires_grad_()
    parameter = net.order.scores.own.weight

    def fn(x: Tensor, weights: Tensor, _: Tensor) -> Any:
        return net(x=x, edge_index=edges, edge_attr=weights, batch=batch, num_graphs=2)

    assert gradcheck(fn, (x, weights, parameter))
    fn(x, weights, parameter)[0].sum().backward()
    assert parameter.grad.abs().max() > 1e-3


@pytest.mark.parametrize("relaxation", ORACLES)
def test_gradients_are_finite_where_scores_tie(relaxation: Any) -> None:
    """All alike, two alike, far apart, one node and none, to second order."""
    for scores in ([1.0] * 4, [0.0, 0.0, 1.0], [0.0, 1e-300, 1e6, -1e6], [2.0], []):
        k = torch.tensor(scores).double().requires_grad_()
        matrix = mixing_matrix(k, relaxation, 0.1)
        weights = torch.arange(matrix.numel()).view(matrix.shape).double().cos()
        (first,) = torch.autograd.grad((weights * matrix).sum(), k, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), k)
        assert first.isfinite().all() and second.isfinite().all()
        assert matrix.isfinite().all()


def test_soft_orders_within_frames_of_rotations() -> None:
    """S_n x E(3) by one average inside of another."""

    class Norms(nn.Module):
        def forward(self, pos: Tensor) -> Tensor:
            return pos.square().sum(1)

    class Clouds(Places):
        def forward(self, pos: Tensor, batch: Tensor, num_graphs: int) -> Any:  # type: ignore[override]
            return super().forward(pos, batch, num_graphs)

    torch.manual_seed(0)
    inner = FrameAveraging(
        Clouds(3).double(),
        "S_n",
        inputs={"pos": "scalar"},
        outputs=BOTH,
        mode="soft",
        order=SoftOrder(Norms(), temperature=0.1),
    )
    net = FrameAveraging(inner, "E(3)", inputs={"pos": "point"}, outputs=BOTH)
    for name in ("square", "tetrahedron", "planar"):
        pos = degenerate_sets()[name]
        batch = torch.zeros(len(pos), dtype=torch.long)
        inputs = {"pos": (pos, "point"), "batch": (batch, "batch")}
        fn = partial(net, num_graphs=1)
        assert equivariance_error(fn, inputs, BOTH, "S_n x E(3)", 4) < 1e-11, name


def test_walks_by_powers_of_matrices() -> None:
    graph = nx.gnp_random_graph(7, 0.4, seed=3)
    graph.add_node(7)
    edges = torch.from_numpy(np.array(graph.to_directed().edges(), dtype=np.int64).T.copy())
    matrix = nx.to_numpy_array(graph)
    step = matrix / matrix.sum(1, keepdims=True).clip(1)
    powers = [np.diag(np.linalg.matrix_power(step, k)) for k in range(1, 5)]
    actual = return_probabilities(edges, 4, pair_plan(8))
    np.testing.assert_allclose(actual.numpy(), np.stack(powers, 1), atol=1e-15)


def test_scores_of_equal_nodes_tie_and_others_do_not() -> None:
    torch.manual_seed(0)
    edges = typed(nx.path_graph(5))["edge_index"][0]
    scores = WalkScores(1).double()(torch.ones(5, 1).double(), edges)[:, 0]
    assert (scores - scores.flip(0)).abs().max() < 1e-15
    assert scores[:3].unique().numel() == 3
    with pytest.raises(ValueError, match="steps must be at least 1"):
        WalkScores(1, steps=0)


class Wrong(nn.Module):
    def __init__(self, result: Any) -> None:
        super().__init__()
        self.result = result

    def forward(self, x: Tensor) -> Any:
        return self.result(x)


OPTIONS: dict[str, dict[str, Any]] = {
    'is for group "S_n" alone': {"group": "S_n x E(3)"},
    "needs scores of nodes: pass order=SoftOrder": {"order": None},
    "order is for mode \"soft\", not for 'full'": {"mode": "full"},
    'name an input of type "edge:scalar"': {"inputs": {"x": "scalar", "edge_index": "edge_index"}},
}


@pytest.mark.parametrize("message", OPTIONS)
def test_bad_options(message: str) -> None:
    options = {"inputs": {"x": "scalar"}, "outputs": BOTH, "mode": "soft"}
    options |= {"group": "S_n", "order": SoftOrder(First())} | OPTIONS[message]
    with pytest.raises(ValueError, match=message):
        FrameAveraging(Places(2), **options)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("inf"), float("nan")])
def test_bad_temperatures(temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature must be positive and finite"):
        SoftOrder(First(), temperature=temperature)
    with pytest.raises(ValueError, match="temperature must be positive and finite"):
        soft_permutation(torch.zeros(2), temperature=temperature)
    with pytest.raises(ValueError, match="relaxation must be one of"):
        soft_permutation(torch.zeros(2), "neuralsort")  # type: ignore[arg-type]


SCORES: dict[str, Any] = {
    r"Wrong returns \(3, 2\) for 3 nodes": lambda x: x,
    r"Wrong returns \(3,\) for 3 nodes: a soft order needs a floating": lambda x: x[:, 0].long(),
    "Wrong returns tuple": lambda x: (x,),
    "Wrong returns NaN": lambda x: x[:, 0] * torch.nan,
    "Wrong returns NaN or infinite scores": lambda x: torch.tensor([torch.inf, 0.0, 1.0]),
}


@pytest.mark.parametrize("message", SCORES)
def test_bad_scores(message: str) -> None:
    order = SoftOrder(Wrong(SCORES[message]))
    options: dict[str, Any] = {"inputs": {"x": "scalar"}, "outputs": BOTH}
    net = FrameAveraging(Places(2), "S_n", mode="soft", order=order, **options)
    with pytest.raises(ValueError, match=message):
        net(x=torch.randn(3, 2), batch=torch.zeros(3).long(), num_graphs=1)


def test_integers_cannot_be_mixed() -> None:
    options: dict[str, Any] = {"inputs": {"x": "scalar", "z": "index"}, "outputs": BOTH}

    class Kinds(Places):
        def forward(self, x: Tensor, z: Tensor, batch: Tensor, num_graphs: int) -> Any:  # type: ignore[override]
            return super().forward(x, batch, num_graphs)

    net = FrameAveraging(Kinds(2), "S_n", mode="soft", order=SoftOrder(First()), **options)
    batch = torch.zeros(3).long()
    with pytest.raises(ValueError, match=r"input 'z' holds torch.int64, which soft orders cannot"):
        net(x=torch.randn(3, 2), z=batch, batch=batch, num_graphs=1)
    with pytest.raises(ValueError, match=r"their plan is pairs\(...\)"):
        net.plan(x=torch.randn(3, 2), batch=batch)


def test_repr() -> None:
    assert (
        repr(SoftOrder(First(), temperature=0.5)) == "SoftOrder(First, 'softsort', temperature=0.5)"
    )
