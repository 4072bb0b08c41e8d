"""SPEN equals its dense, looping form, and keeps the contract."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import grad

from benchmarks.peers.spen_dense import DenseSPEN
from geqlib.models import IGN, SPEN
from geqlib.spen.plan import ego_plan, graph_plan
from geqlib.spen.sizes import split_by_size
from tests.contract import Case, Contract, Typed

EDGES = torch.tensor([[0, 1, 1, 2, 2, 3, 0, 3, 3, 4], [1, 0, 2, 1, 3, 2, 1, 3, 4, 3]])


def model(**options: Any) -> SPEN:
    torch.manual_seed(0)
    created = SPEN(2, 3, **({"channels": 4, "layers": 2} | options)).double().eval()
    for name, x in [*created.named_parameters(), *created.named_buffers()]:
        if x.is_floating_point():
            nn.init.uniform_(x, 0.5, 1.5) if "running_var" in name else nn.init.normal_(x, std=0.4)
    return created


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"hops": 2, "orders": (0, 1, 2), "centre": True, "edge_dim": 1},
        {"hops": None, "norm": "none", "residual": False},
        {"weights": "size", "sizes": (2, 3), "put_back": "sum", "norm": "layer", "layers": 3},
        {"orders": (1,), "readout": "mean", "act": "relu"},
        {"symmetric": True, "centre": True, "edge_dim": 1},
    ],
    ids=str,
)
def test_values_and_gradients_are_the_dense_ones(options: dict[str, Any]) -> None:
    created = model(**options)
    x = torch.randn(6, 2).double().requires_grad_()
    edge_attr = torch.randn(10, 1).double().requires_grad_() if created.edge_dim else None
    points = [p for p in (x, edge_attr, *created.parameters()) if p is not None]
    actual = []
    for net in (created, DenseSPEN(created)):
        out = net(x, EDGES, edge_attr)
        actual.append([out, *grad(out.sin().sum(), points, allow_unused=True)])
    for got, expected in zip(*actual, strict=True):
        if got is None:
            assert expected is None
        else:
            torch.testing.assert_close(got, expected, atol=1e-12, rtol=1e-12)


def test_plans_can_be_made_before() -> None:
    created, x = model(weights="size", sizes=(2, 3)), torch.randn(6, 2).double()
    expected = created(x, EDGES)
    plan = created.plan(EDGES, 6)
    assert torch.equal(created(x, EDGES, plan=plan), expected)
    assert torch.equal(created(x, EDGES, plan=plan, parts=split_by_size(plan, (2, 3))), expected)
    both = torch.cat([EDGES, EDGES + 6], 1)
    batch = torch.arange(12) // 6
    twice = created(torch.cat([x, x]), both, batch=batch, num_graphs=2, plan=[plan, plan])
    torch.testing.assert_close(twice, expected.expand(2, 3), atol=1e-12, rtol=0)


@pytest.mark.parametrize("symmetric", [False, True])
def test_ego_nets_of_their_own_are_separate_graphs(symmetric: bool) -> None:
    """Without sharing, SPEN is an IGN on the disjoint union of all ego nets."""
    options = {"orders": (0, 1, 2), "symmetric": symmetric, "layers": 3}
    created, whole = model(shared=False, **options), model(hops=None, **options)
    x, plan = torch.randn(6, 2).double(), created.plan(EDGES, 6)
    copies = [
        [
            (s, t)
            for s in range(len(plan.node))
            for t in range(len(plan.node))
            if plan.ego[s] == plan.ego[t] and (i, j) == (plan.origin[s], plan.origin[t])
        ]
        for i, j in EDGES.T.tolist()
    ]
    edges = torch.tensor([pair for pairs in copies for pair in pairs]).T
    # the normalised adjacency is that of the graph, which the union does not know
    with torch.no_grad():
        created.embed_pair.weight[:, 1], whole.embed_pair.weight[:, 1] = 0, 0
    together = graph_plan(edges, len(plan.node), plan.ego, 6, symmetric=symmetric)
    out = whole(x[plan.origin], edges, plan=together)
    torch.testing.assert_close(created(x, EDGES), out, atol=1e-12, rtol=0)


def test_whole_graphs_are_an_invariant_graph_network() -> None:
    net = IGN(2, 3, channels=4, layers=1)
    assert net.hops is None and isinstance(net, SPEN)
    assert net.plan(EDGES, 6).size.tolist() == [6]


@pytest.mark.parametrize("options", [{}, {"symmetric": True, "orders": (0, 1, 2)}], ids=str)
def test_far_ego_nets_make_an_invariant_graph_network(options: dict[str, Any]) -> None:
    """With k at least the diameter every ego net is the whole graph, as often as it has nodes."""
    far, whole = model(hops=3, **options), model(hops=None, **options)
    x, edges = torch.randn(4, 2).double(), EDGES[:, :6]  # a path
    torch.testing.assert_close(far(x, edges), whole(x, edges), atol=1e-12, rtol=1e-12)


def test_graphs_that_message_passing_cannot_distinguish() -> None:
    """A ring of six and two triangles: 1-hop ego nets are paths here and triangles there."""
    ring = torch.arange(6)
    six = torch.cat([torch.stack([ring, (ring + s) % 6]) for s in (1, 5)], 1)
    three = torch.cat([torch.stack([ring, ring // 3 * 3 + (ring + s) % 3]) for s in (1, 2)], 1)
    created, x = model(), torch.ones(6, 2).double()
    assert (created(x, six) - created(x, three)).abs().max() > 1e-3


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("norm", ["batch", "layer", "none"])
def test_training_on_tiny_batches(norm: Any, rows: int) -> None:
    created = SPEN(2, 3, channels=4, layers=2, norm=norm, dropout=0.5)
    batch = torch.zeros(rows, dtype=torch.long)
    out = created(torch.ones(rows, 2), EDGES[:, :0], batch=batch, num_graphs=2)
    out.sum().backward()
    assert out.isfinite().all()


X = torch.zeros(6, 2)
ERRORS: dict[str, tuple[Callable[[], Any], str]] = {
    "layers": (lambda: SPEN(2, 3, layers=0), "layers must be at least 1, got 0"),
    "norm": (lambda: SPEN(2, 3, norm="pair"), 'norm must be "batch", "layer" or "none"'),  # type: ignore
    "x": (lambda: SPEN(3, 3)(X, EDGES), "x has shape (6, 2), expected [nodes, 3]"),
    "edges": (
        lambda: SPEN(2, 3, edge_dim=4)(X, EDGES),
        "edge_attr has shape (10, 0), expected (10, 4)",
    ),
    "graphs": (lambda: SPEN(2, 3)(X, EDGES, batch=torch.zeros(6).long()), "batch is given without"),
    "hops": (
        lambda: SPEN(2, 3, hops=2)(X, EDGES, plan=ego_plan(EDGES, 6)),
        "plan has hops=1, but the model was built for 2: make it by model.plan",
    ),
    "symmetric": (
        lambda: SPEN(2, 3, symmetric=True)(X, EDGES, plan=ego_plan(EDGES, 6)),
        "plan has symmetric=False, but the model was built for True",
    ),
    "shared": (lambda: SPEN(2, 3, hops=None, shared=False), "shared=False needs ego nets"),
}


@pytest.mark.parametrize("error", ERRORS)
def test_errors_say_what_is_wrong_and_how_to_fix_it(error: str) -> None:
    call, message = ERRORS[error]
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


def graph(pos: Tensor, edge_index: Tensor, generator: torch.Generator) -> Typed:
    x, edge_attr = (
        torch.randn(*shape, generator=generator, dtype=torch.float64)
        for shape in ((len(pos), 2), (edge_index.size(1), 1))
    )
    return {
        "x": (x, "scalar"),
        "edge_index": (edge_index, "edge_index"),
        "edge_attr": (edge_attr, "edge_scalar"),
        "batch": (torch.zeros(len(pos), dtype=torch.long), "batch"),
    }


def plan(net: SPEN, tensors: dict[str, Tensor], graphs: int) -> dict[str, Any]:
    ends = tensors["edge_index"], len(tensors["x"]), tensors["batch"], graphs
    return {"plan": net.plan(*ends), "num_graphs": graphs}


def spen(layers: int = 2, **options: Any) -> partial[SPEN]:
    return partial(SPEN, 2, 3, channels=4, layers=layers, edge_dim=1, **options)


def with_pairs(pos: Tensor, edge_index: Tensor, generator: torch.Generator) -> Typed:
    """Features of some pairs of nodes, which need not be edges, and of the graph."""
    pairs = torch.rand(len(pos), len(pos), generator=generator) < 0.5
    pairs = pairs.nonzero().T
    options: dict[str, Any] = {"generator": generator, "dtype": torch.float64}
    return graph(pos, edge_index, generator) | {
        "pair_index": (pairs, "pair_index"),
        "pair_attr": (torch.randn(pairs.size(1), 2, **options), "pair:scalar"),
        "motifs": (torch.randn(1, 2, **options), "graph:scalar"),
    }


GENERATOR = torch.Generator().manual_seed(0)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("shared", [False, True])
def test_features_of_pairs_that_are_edges(shared: bool, symmetric: bool) -> None:
    """They are features of edges, by another way."""
    options: dict[str, Any] = {"layers": 2, "shared": shared, "symmetric": symmetric}
    torch.manual_seed(0)
    one = SPEN(2, 3, channels=4, edge_dim=2, **options).double().eval()
    two = SPEN(2, 3, channels=4, pair_dim=2, **options).double().eval()
    two.load_state_dict(one.state_dict())
    typed = graph(
        torch.zeros(5, 3), (~torch.eye(5, dtype=torch.bool)).nonzero().T[:, ::2], GENERATOR
    )
    x, edges = typed["x"][0], typed["edge_index"][0]
    value = torch.randn(edges.size(1), 2).double()
    order = torch.randperm(edges.size(1))
    out = two(x, edges, pair_index=edges[:, order], pair_attr=value[order])
    torch.testing.assert_close(out, one(x, edges, value), atol=1e-12, rtol=1e-12)


CASES: dict[str, Callable[[], SPEN]] = {
    "SPEN": spen(),
    "centred": spen(layers=1, centre=True, hops=2, orders=(0, 2), readout="mean"),
    "ego nets of their own": spen(layers=1, shared=False, symmetric=True, orders=(0, 1, 2)),
    "IGN": spen(hops=None, layers=1),
    "symmetric": spen(layers=1, symmetric=True),
}


PAIRED: dict[str, Any] = {"layers": 1, "pair_dim": 2, "graph_dim": 2, "symmetric": True}


class TestContract(Contract):
    cases = tuple(
        Case(name, build, inputs, "graph:scalar", extra=plan, backend="eager")
        for name, (build, inputs) in (
            *((name, (build, graph)) for name, build in CASES.items()),
            ("with pairs", (spen(**PAIRED), with_pairs)),
        )
    )
