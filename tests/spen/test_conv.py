"""Subgraph convolutions equal dense tensors ego net by ego net, and keep the contract."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import grad

from benchmarks.peers.spen_dense import dense_conv, dense_maps, number_pairs
from geqlib.nn import MonoidAggregation, SubgraphConv
from geqlib.spen.maps import EquivariantMaps
from geqlib.spen.plan import EgoPlan, ego_plan, graph_plan
from geqlib.spen.sizes import split_by_size
from tests.contract import Case, Contract, Typed, all_edges

ORDERS = ((0,), (1,), (2,), (0, 1, 2))
NONE = torch.zeros(2, 0, dtype=torch.long)
# with loops, repeats, isolated nodes and edges one way
RAGGED = torch.tensor([[0, 1, 1, 2, 2, 3, 0, 3, 5, 5, 6], [1, 0, 2, 1, 3, 2, 1, 3, 6, 5, 7]])
GRAPHS = {"ragged": (RAGGED, 9), "no edges": (NONE, 2), "complete": (all_edges(4), 4)}


def layer(**options: Any) -> Any:
    """3 to 2 channels, with weights that are nowhere 0."""
    torch.manual_seed(0)
    created = SubgraphConv(3, 2, **options).double()
    for parameter in created.parameters():
        nn.init.normal_(parameter, std=0.4)
    return created


def features(orders: Sequence[int], plan: EgoPlan, channels: int = 3) -> dict[int, Tensor]:
    torch.manual_seed(1)
    rows = {0: len(plan.size), 1: len(plan.diagonal), 2: len(plan.target)}
    return {k: torch.randn(rows[k], channels).double().requires_grad_() for k in orders}


def dense(created: SubgraphConv, x: dict[int, Tensor], plan: EgoPlan) -> dict[int, Tensor]:
    nets: list[list[int]] = [[] for _ in plan.size]
    for g, i in zip(plan.ego.tolist(), plan.node.tolist(), strict=True):
        nets[g].append(i)
    pairs = number_pairs(nets, plan.symmetric)
    return dense_conv(created, x, nets, pairs, len(plan.diagonal))


def assert_dense(created: SubgraphConv, x: dict[int, Tensor], plan: EgoPlan) -> None:
    """Values and gradients."""
    actual = []
    for y in (created(x, plan), dense(created, x, plan)):
        loss = torch.stack([(y[k].sin() * (k + 1)).sum() for k in created.orders]).sum()
        points = [*x.values(), *created.parameters()]
        actual.append(
            [*(y[k] for k in created.orders), *grad(loss, points, materialize_grads=True)]
        )
    for got, expected in zip(*actual, strict=True):
        torch.testing.assert_close(got, expected, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize(("arguments", "wanted"), list(product(ORDERS, ORDERS)), ids=str)
@pytest.mark.parametrize("centre", [False, True])
@pytest.mark.parametrize("symmetric", [False, True])
def test_every_map_is_the_dense_one(
    arguments: Sequence[int], wanted: Sequence[int], centre: bool, symmetric: bool
) -> None:
    plan = ego_plan(RAGGED, 9, symmetric=symmetric)
    assert sorted(plan.size.unique().tolist()) == [1, 2, 3]
    created = layer(in_orders=arguments, orders=wanted, centre=centre, symmetric=symmetric)
    assert_dense(created, features(arguments, plan), plan)


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("put_back", ["mean", "sum"])
@pytest.mark.parametrize("hops", [0, 1, 2, None])
def test_graphs(graph: str, put_back: str, hops: int | None) -> None:
    edge_index, nodes = GRAPHS[graph]
    whole = hops is None
    plan = graph_plan(edge_index, nodes) if whole else ego_plan(edge_index, nodes, hops=hops)
    assert_dense(layer(put_back=put_back), features((1, 2), plan), plan)


@pytest.mark.parametrize("sizes", [(1, 2, 3), (2,), (2, 7)], ids=str)
@pytest.mark.parametrize("centre", [False, True])
@pytest.mark.parametrize("put_back", ["mean", "sum"])
@pytest.mark.parametrize("symmetric", [False, True])
def test_weights_for_each_size(
    sizes: tuple[int, ...], centre: bool, put_back: str, symmetric: bool
) -> None:
    options = {"orders": (0, 1, 2), "weights": "size", "sizes": sizes, "put_back": put_back}
    plan = ego_plan(RAGGED, 9, symmetric=symmetric)
    created = layer(centre=centre, symmetric=symmetric, **options)
    x = features((0, 1, 2), plan)
    assert_dense(created, x, plan)
    arguments = created(x, plan, split_by_size(plan, sizes))
    for order, y in created(x, plan).items():
        assert torch.equal(y, arguments[order])


@pytest.mark.parametrize("weights", [{}, {"weights": "size", "sizes": (1, 3)}], ids=str)
@pytest.mark.parametrize("centre", [False, True])
@pytest.mark.parametrize("symmetric", [False, True])
def test_aggregations_see_the_result_of_each_ego_net(
    weights: dict, centre: bool, symmetric: bool
) -> None:
    plan = ego_plan(RAGGED, 9, symmetric=symmetric)
    options = {"orders": (0, 1, 2), "centre": centre, "symmetric": symmetric, **weights}
    x = features((0, 1, 2), plan)
    fast = {name: layer(put_back=name, **options) for name in ("mean", "sum")}
    slow = {name: layer(put_back=f"{name}Aggregation", **options) for name in fast}
    for name in fast:
        for order, y in fast[name](x, plan).items():
            torch.testing.assert_close(slow[name](x, plan)[order], y, atol=1e-12, rtol=1e-12)
    largest = layer(put_back="max", **options)(x, plan)
    mean = fast["mean"](x, plan)
    assert (largest[1] >= mean[1] - 1e-12).all() and (largest[2] > mean[2] + 1e-3).any()
    learnt = layer(put_back=MonoidAggregation(2, operator="gated"), **options)
    assert learnt.aggr["1"] is not learnt.aggr["2"]
    assert learnt(x, plan)[2].isfinite().all()


def test_whole_graphs_are_dense_invariant_networks() -> None:
    """With k at least the diameter every ego net is the graph, and so is the mean over them."""
    far, whole = ego_plan(all_edges(4)[:, 1:-1], 4, hops=3), graph_plan(NONE, 4)
    created, x = layer(orders=(0, 1, 2), in_orders=(1, 2)), features((1, 2), whole)
    one, other = created(x, far), created(x, whole)
    for order in (1, 2):
        torch.testing.assert_close(one[order], other[order], atol=1e-12, rtol=0)
    torch.testing.assert_close(one[0], other[0].expand(4, 2), atol=1e-12, rtol=0)


def basis(size: int) -> Tensor:
    """[15, m^2 * m^2] the maps of order 2 to order 2 of one ego net, one a weight."""
    maps = EquivariantMaps(1, 1, (2,), (2,), bias=False).double()
    eye = torch.eye(size**2).double().view(-1, size, size, 1)
    rows = []
    for name, parameter in maps.named_parameters():
        for k in range(parameter.numel()):
            for other in maps.parameters():
                nn.init.zeros_(other)
            with torch.no_grad():
                maps.get_parameter(name).view(-1)[k] = 1
            rows.append(torch.stack([dense_maps(maps, {2: x}, size)[2] for x in eye]).flatten())
    return torch.stack(rows).detach()


@pytest.mark.parametrize(("size", "rank"), [(1, 1), (2, 8), (3, 14), (4, 15), (5, 15)])
def test_the_basis_is_complete(size: int, rank: int) -> None:
    """As many maps as a numerical solution of the equivariance equations has."""
    actual = basis(size)
    assert len(actual) == 15 and torch.linalg.matrix_rank(actual) == rank
    swaps = [torch.eye(size)[torch.randperm(size)] for _ in range(20)]
    moved = [torch.kron(p, p) for p in swaps]
    eye = torch.eye(size**2)
    equations = torch.cat([torch.kron(eye, p) - torch.kron(p.T.contiguous(), eye) for p in moved])
    assert size**4 - torch.linalg.matrix_rank(equations.double()) == rank


def test_symmetric_tensors_have_nine_maps() -> None:
    maps = EquivariantMaps(1, 1, (2,), (2,), symmetric=True, bias=False)
    assert sum(p.numel() for p in maps.parameters()) == 9


def test_symmetric_features_are_those_of_tied_weights() -> None:
    """On symmetric input a layer whose weights do not tell rows from columns stays symmetric."""
    created = layer(symmetric=True, in_orders=(2,))
    tied = layer(in_orders=(2,))
    one, two = created.maps[0], tied.maps[0]
    D = 2
    with torch.no_grad():
        for name, x in created.embedding.named_parameters():
            tied.embedding.get_parameter(name).zero_() if "leave" in name else None
            x.zero_() if "leave" in name else None
        two.pair.copy_(torch.cat([one.pair, 0 * one.pair]))
        two.spread.copy_(torch.block_diag(one.spread, one.spread))
        two.low.copy_(torch.cat([one.low, 0 * one.low]))
        wide, low = one.node.split([D, 2 * D], 1)
        two.node.copy_(torch.cat([wide, wide, low], 1))
        two.ego.copy_(torch.cat([2 * one.ego[:, :D], one.ego[:, D:]], 1))
    half, whole = (ego_plan(RAGGED, 9, symmetric=s) for s in (True, False))
    x = features((2,), half)[2]
    number = {
        pair: k
        for k, pair in enumerate(zip(half.source.tolist(), half.target.tolist(), strict=True))
    }
    pairs = zip(whole.source.tolist(), whole.target.tolist(), strict=True)
    rows = [number[min(p), max(p)] for p in pairs]
    expected, got = created({2: x}, half), tied({2: x[rows]}, whole)
    torch.testing.assert_close(got[1], expected[1], atol=1e-12, rtol=0)
    torch.testing.assert_close(got[2], expected[2][rows], atol=1e-12, rtol=0)


def test_there_are_34_maps() -> None:
    counts = {
        (i, j): sum(p.numel() for p in EquivariantMaps(1, 1, (i,), (j,), bias=False).parameters())
        for i, j in product(range(3), range(3))
    }
    expected = {(2, 2): 15, (2, 1): 5, (1, 2): 5, (1, 1): 2, (2, 0): 2, (0, 2): 2}
    assert counts == expected | {(1, 0): 1, (0, 1): 1, (0, 0): 1}
    assert sum(counts.values()) == 34
    biases = EquivariantMaps(1, 1, (2,), (0, 1, 2)).bias
    assert biases is not None and biases.numel() == 4  # two of order 2


def test_initial_outputs_are_as_large_as_inputs() -> None:
    torch.manual_seed(0)
    plan = ego_plan(all_edges(6), 6)
    x = {k: torch.randn(v.size(0), 64) for k, v in features((1, 2), plan).items()}
    for order, y in SubgraphConv(64, 64)(x, plan).items():
        # means over six nodes are smaller; nothing is larger
        assert 0.1 < float(y.detach().square().mean()) < 1.5, order


def test_sizes_that_do_not_occur_in_training() -> None:
    created = layer(orders=(1,), in_orders=(2,))
    sizes = {}
    for nodes in (2, 3, 50):
        plan = ego_plan(all_edges(nodes), nodes)
        sizes[nodes] = created({2: torch.ones(len(plan.target), 3).double()}, plan)[1][0]
    assert (sizes[2] - sizes[3]).abs().max() > 1e-3  # weights know the size
    assert sizes[50].isfinite().all()


def test_centres_break_the_symmetry_of_an_ego_net() -> None:
    """In a path 0 - 1 - 2 the ego net of 1 cannot tell the ends from the middle without a mark."""
    plan = ego_plan(torch.tensor([[1, 1], [0, 2]]), 3)
    x = {2: torch.ones(len(plan.target), 3).double()}
    options = {"orders": (1,), "in_orders": (2,)}
    blind, seeing = (layer(**options, centre=centre)(x, plan)[1] for centre in (False, True))
    assert torch.allclose(blind[0], blind[2]) and torch.allclose(seeing[0], seeing[2])
    whole = SubgraphConv(3, 2, orders=(1,), in_orders=(2,), centre=True)
    with pytest.raises(ValueError, match="centre=True needs ego nets with centres: make the plan"):
        whole({2: torch.ones(9, 3)}, graph_plan(NONE, 3))


PLAN = ego_plan(RAGGED, 9)
ERRORS: dict[str, tuple[Callable[[], Any], str]] = {
    "channels": (lambda: SubgraphConv(0, 2), "channels must be positive, got 0 and 2"),
    "orders": (lambda: SubgraphConv(3, 2, orders=(1, 3)), "0, 1 and 2, each once, got (1, 3)"),
    "twice": (lambda: SubgraphConv(3, 2, in_orders=(1, 1)), "in_orders must be some of 0, 1 and 2"),
    "weights": (lambda: layer(weights="own"), 'weights must be "shared" or "size", got \'own\''),
    "sizes": (lambda: layer(weights="size"), 'sizes must be given with weights="size"'),
    "no sizes": (lambda: layer(sizes=(2,)), 'sizes must be given with weights="size", and only'),
    "missing": (lambda: layer()(features((2,), PLAN), PLAN), "x has the orders [2], but the layer"),
    "symmetric": (
        lambda: layer(symmetric=True)(features((1, 2), PLAN), PLAN),
        "The plan has symmetric=False, but the layer was built for True: choose the same for both",
    ),
    "width": (
        lambda: layer()(features((1, 2), PLAN, 4), PLAN),
        "x of order 1 has shape (9, 4), but plan and layer need (9, 3)",
    ),
    "rows": (
        lambda: layer()(features((1, 2), PLAN), ego_plan(NONE, 9)),
        "x of order 2 has shape (23, 3), but plan and layer need (9, 3)",
    ),
}


@pytest.mark.parametrize("error", ERRORS)
def test_errors_say_what_is_wrong_and_how_to_fix_it(error: str) -> None:
    call, message = ERRORS[error]
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


def test_repr() -> None:
    assert repr(SubgraphConv(3, 2, in_orders=(2,), centre=True)) == (
        "SubgraphConv(3, 2, (2,) -> (1, 2), weights='shared', centre=True, symmetric=False, "
        "put_back='mean')"
    )


def of_nodes(plan: EgoPlan, y: Tensor) -> Tensor:
    """Sums over the pairs that begin with a node; of symmetric ones over those that end there."""
    begun = y.new_zeros(plan.diagonal.size(0), y.size(1)).index_add(0, plan.source, y)
    return begun.index_add(0, plan.target, y) if plan.symmetric else begun


class OnNodes(nn.Module):
    """The layer with what the contract gives: features of nodes and edges in, of nodes out."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.conv = SubgraphConv(2, 2, **options)

    def reset_parameters(self) -> None:
        self.conv.reset_parameters()

    def forward(self, x: Tensor, edge_attr: Tensor, plan: EgoPlan) -> Tensor:
        pairs = (plan.edges @ edge_attr).index_add(0, plan.diagonal, x)
        arguments = {0: plan.nets.mean(x), 1: x, 2: pairs}
        y = self.conv({k: arguments[k] for k in self.conv.in_orders}, plan)
        known = {0: lambda v: plan.nets.T.mean(v), 1: lambda v: v, 2: partial(of_nodes, plan)}
        return torch.cat([known[k](v) for k, v in y.items()], 1)


def inputs(pos: Tensor, edge_index: Tensor, generator: torch.Generator) -> Typed:
    edge_index = torch.cat([edge_index, torch.zeros(2, min(len(pos), 1)).long()], 1)  # a loop
    x, edge_attr = (
        torch.randn(rows, 2, generator=generator, dtype=torch.float64)
        for rows in (len(pos), edge_index.size(1))
    )
    return {
        "x": (x, "scalar"),
        "edge_attr": (edge_attr, "edge_scalar"),
        "edge_index": (edge_index, "edge_index"),
    }


class Planned(nn.Module):
    """Takes edge_index, which only the plan needs."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.inner = OnNodes(**options)

    def reset_parameters(self) -> None:
        self.inner.reset_parameters()

    def forward(self, x: Tensor, edge_attr: Tensor, edge_index: Tensor, plan: EgoPlan) -> Tensor:
        return self.inner(x, edge_attr, plan)


def plan(hops: int, module: Any, tensors: dict[str, Tensor], graphs: int) -> dict[str, Any]:
    symmetric = module.inner.conv.maps[0].symmetric
    nodes = len(tensors["x"])
    return {"plan": ego_plan(tensors["edge_index"], nodes, hops=hops, symmetric=symmetric)}


PARTS = "parts of different sizes are different graphs of operations"
CASES: dict[str, tuple[int, dict[str, Any], dict[str, str]]] = {
    "orders 1, 2": (1, {}, {}),
    "all, centred": (2, {"orders": (0, 1, 2), "centre": True}, {}),
    "symmetric": (2, {"symmetric": True}, {}),
    "max": (1, {"put_back": "max"}, {"derivatives": "a maximum has none where two entries tie"}),
    "size": (1, {"weights": "size", "sizes": (1, 3)}, {"compile": PARTS, "export": PARTS}),
}


class TestContract(Contract):
    cases = tuple(
        Case(
            name,
            partial(Planned, **options),
            inputs,
            "scalar",
            extra=partial(plan, hops),
            backend="aot_eager" if name == "orders 1, 2" else "eager",
            exceptions=exceptions,
        )
        for name, (hops, options, exceptions) in CASES.items()
    )
