"""PONITA on directed edges keeps the contract and equals the formula, edge by edge."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import gelu, layer_norm

from geqlib.kernels import selection, watch
from geqlib.models import EdgePONITA
from geqlib.ponita.edge_lift import LiftedEdges, directions, lifted_edges, mean_at
from tests.contract import Case, Contract, Typed
from tests.ponita.oracle_ponita import position_orientation_conv
from tests.waits import waits

SMALL = {"channels": 6, "basis": 5, "layers": 1, "widen": 2}
BOTH = ("scalar", "vector")
WHOLE = ("graph:scalar", "graph:vector")


def graph(pos: Tensor, edge_index: Tensor, generator: torch.Generator) -> Typed:
    """Two scalars and a vector a node."""
    n, d = pos.shape
    x = torch.randn(n, 2, generator=generator, dtype=torch.float64)
    vec = torch.randn(n, 1, d, generator=generator, dtype=torch.float64)
    return {
        "pos": (pos, "point"),
        "edge_index": (edge_index, "edge_index"),
        "x": (x, "scalar"),
        "vec": (vec, "vector"),
    }


def with_number(pos: Tensor, edge_index: Tensor, generator: torch.Generator) -> Typed:
    number = torch.zeros(len(pos), dtype=torch.long)
    return graph(pos, edge_index, generator) | {"batch": (number, "batch")}


def plan(net: EdgePONITA, tensors: dict[str, Tensor], graphs: int) -> dict[str, Any]:
    return {"plan": net.plan(tensors["edge_index"], len(tensors["pos"]), tensors.get("batch"))}


def plan_and_size(net: EdgePONITA, tensors: dict[str, Tensor], graphs: int) -> dict[str, Any]:
    return plan(net, tensors, graphs) | {"num_graphs": graphs}


def lifted(**options: Any) -> partial[EdgePONITA]:
    return partial(EdgePONITA, 2, 1, 2, 1, **(SMALL | options))


class TestContract(Contract):
    cases = (
        Case(
            "R3xS2",
            lifted(fourth=True),
            graph,
            BOTH,
            ("E(3)",),
            plan,
            backend="eager",
        ),
        Case(
            "R3xS2, graphs, complete",
            lifted(level="graph", complete=True),
            with_number,
            WHOLE,
            ("E(3)",),
            plan_and_size,
            backend="eager",
        ),
        Case("R2xS1", lifted(space="R2xS1"), graph, BOTH, ("SE(2)",), plan, dim=2, backend="eager"),
    )


def example(complete: bool) -> tuple[EdgePONITA, dict[str, Tensor]]:
    torch.manual_seed(0)
    net = lifted(layers=2, complete=complete, layer_scale=0.5)().double()
    edge_index = torch.tensor([[0, 1, 1, 2, 3, 2], [1, 0, 2, 1, 2, 3]])
    inputs = {"pos": torch.randn(5, 3), "x": torch.randn(5, 2), "vec": torch.randn(5, 1, 3)}
    return net, {key: x.double() for key, x in inputs.items()} | {"edge_index": edge_index}


def by_loops(net: EdgePONITA, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The paper's network on elements (p_t, direction), all of it element by element."""
    pos, x, vec = (inputs[key] for key in ("pos", "x", "vec"))
    edges = inputs["edge_index"].T.tolist()
    ori = torch.stack([(pos[s] - pos[t]) / (pos[s] - pos[t]).norm() for s, t in edges])
    near = [
        (a, b)
        for a, (_, at) in enumerate(edges)
        for b, (_, bt) in enumerate(edges)
        if a != b and (net.complete or at == bt or [at, bt] in edges)
    ]
    model, ends = net.network, [t for _, t in edges]
    h = model.embed_scalars(x[ends]) + model.embed_vectors((vec[ends, 0] * ori).sum(1)[:, None])
    h, scalars, vectors = h[:, None], [], []
    for k, block in enumerate(model.blocks):
        y = position_orientation_conv(
            model.kernel, block.conv, h, pos[ends], torch.tensor(near).T, None, ori
        )
        y = layer_norm(y, y.shape[-1:], block.norm.weight, block.norm.bias, block.norm.eps)
        h = h + block.layer_scale * block.contract(gelu(block.expand(y)))
        scalars.append(model.scalars[k](h[:, 0]))
        vectors.append(model.vectors[k](h[:, 0])[:, :, None] * ori[:, None])
    s, v = torch.stack(scalars).mean(0), torch.stack(vectors).mean(0)
    at = [[e for e, end in enumerate(ends) if end == node] for node in range(len(pos))]
    rows = [(s[e].mean(0), v[e].mean(0)) if e else (0 * s[0], 0 * v[0]) for e in at]
    return torch.stack([r[0] for r in rows]), torch.stack([r[1] for r in rows])


@pytest.mark.parametrize("complete", [False, True])
def test_the_formula_edge_by_edge(complete: bool) -> None:
    net, inputs = example(complete)
    for got, expected in zip(net(**inputs), by_loops(net, inputs), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-13)
    assert net(**inputs)[0][4].eq(0).all(), "a point without edges"


def test_directions_of_neighbours_count() -> None:
    """Turning a bond at its end changes what its other end is given."""
    net, inputs = example(False)
    moved = inputs["pos"].clone()
    moved[0] = moved[1] + (moved[0] - moved[1]).norm() * torch.tensor([0.0, 0.0, 1.0])
    before, after = (net(**(inputs | {"pos": pos}))[0][1] for pos in (inputs["pos"], moved))
    assert (before - after).abs().max() > 1e-3


def ordered_pairs(plan: LiftedEdges) -> list[tuple[int, int]]:
    ends = plan.elements.source.tolist(), plan.elements.target.tolist()
    return list(zip(*ends, strict=True))


def test_pairs_of_elements() -> None:
    edge_index = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
    plan = lifted_edges(edge_index, 3)
    pairs = set(ordered_pairs(plan))
    ends = edge_index[1].tolist()
    expected = {
        (a, b)
        for a in range(4)
        for b in range(4)
        if a != b and (ends[a] == ends[b] or abs(ends[a] - ends[b]) == 1)
    }
    assert pairs == expected and len(plan.pair) == len(expected)
    assert LiftedEdges.from_tensors(plan.tensors()).pair.equal(plan.pair)
    batch = torch.tensor([0, 0, 1])
    apart = lifted_edges(torch.tensor([[0, 1], [1, 0]]), 3, batch, complete=True)
    assert sorted(ordered_pairs(apart)) == [(0, 1), (1, 0)]


def test_periodic_images_are_where_they_are() -> None:
    """A chain cut into a cell of one atom equals the middle of a long chain."""
    net = lifted(layers=1)().double()
    step = torch.tensor([[1.1, 0.2, 0.0]]).double()
    x, vec = torch.ones(1, 2).double(), torch.ones(1, 1, 3).double()
    edges = torch.tensor([[0, 0], [0, 0]])
    shift = torch.cat([step, -step])
    cell = net(torch.zeros(1, 3).double(), edges, x=x, vec=vec, edge_shift=shift)
    n = 7
    chain = torch.arange(n - 1)
    both = torch.cat([torch.stack([chain + 1, chain]), torch.stack([chain, chain + 1])], 1)
    pos = torch.arange(n)[:, None] * step
    long = net(pos, both, x=x.expand(n, -1), vec=vec.expand(n, -1, -1))
    for got, expected in zip(cell, long, strict=True):
        torch.testing.assert_close(got[0], expected[n // 2], rtol=1e-12, atol=1e-13)


def test_directions_and_means() -> None:
    offset = torch.tensor([[0.0, 3.0, 4.0], [0.0, 0.0, 0.0]], requires_grad=True)
    unit = directions(offset)
    assert unit.tolist() == [[0.0, pytest.approx(0.6), pytest.approx(0.8)], [0.0, 0.0, 0.0]]
    (gradient,) = torch.autograd.grad(unit.sum(), offset)
    assert gradient.isfinite().all() and gradient[1].eq(0).all()
    means = mean_at(torch.tensor([[1.0], [3.0]]), torch.tensor([1, 1]), 3)
    assert means.tolist() == [[0.0], [2.0], [0.0]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"orientations": 12}, "has no orientations: leave it out"),
        ({"edge_dim": 1}, "has no edge_dim"),
        ({"space": "SE3"}, "space must be R2xS1 or R3xS2, got 'SE3'"),
        ({"level": "edge"}, 'level must be "node" or "graph"'),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EdgePONITA(1, 0, 1, 0, **options)
    net, inputs = example(True)
    with pytest.raises(ValueError, match="complete=True has no periodic images"):
        net(**inputs, edge_shift=torch.zeros(6, 3).double())


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32])
def test_indices_of_any_integer_type(dtype: torch.dtype) -> None:
    net = lifted(layers=1, level="graph", complete=True)()
    edges, batch = torch.tensor([[0, 1, 2, 3], [1, 0, 3, 2]]), torch.tensor([0, 0, 1, 1])
    inputs = {"x": torch.randn(4, 2), "vec": torch.randn(4, 1, 3), "num_graphs": 2}
    pos = torch.randn(4, 3)
    expected = net(pos, edges, batch=batch, **inputs)
    outputs = net(pos, edges.to(dtype), batch=batch.to(dtype), **inputs)
    torch.testing.assert_close(outputs, expected)


@pytest.mark.parametrize("complete", [False, True])
@pytest.mark.parametrize("nodes", [0, 1, 7])
def test_pairs_of_elements_are_those_of_all_tuples(nodes: int, complete: bool) -> None:
    """Element e is the edge s_e -> t_e, at t_e; graphs without nodes leave gaps in the numbers."""
    generator = torch.Generator().manual_seed(nodes)
    batch = torch.tensor([2, 2, 2, 5, 9, 9, 9])[:nodes]
    near = [(i, j) for i in range(nodes) for j in range(nodes) if batch[i] == batch[j] and i != j]
    chosen = torch.rand(len(near), generator=generator) < 0.6
    edges = [edge for edge, flag in zip(near, chosen.tolist(), strict=True) if flag]
    edge_index = torch.tensor(edges, dtype=torch.long).view(-1, 2).T
    expected = []
    for e, (_, here) in enumerate(edges):
        for f, (_, there) in enumerate(edges):
            joined = (there, here) in edges or there == here
            if e != f and (batch[here] == batch[there] if complete else joined):
                expected.append((f, e))
    plan = lifted_edges(edge_index, nodes, batch, complete=complete)
    assert sorted(ordered_pairs(plan)) == sorted(expected)


@pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed")
def test_the_kernels_order_comes_with_the_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans on a GPU are made with it; here it is made by hand, for Triton's interpreter."""
    edge_index = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
    tensors = {name: value for name, (value, _) in graph(*chain(edge_index)).items()}
    net = lifted()().double()
    results = []
    for fused in (False, True):
        plan = net.plan(edge_index, 3)
        if fused:
            monkeypatch.setattr(selection, "DEVICES", {"cpu"})
            plan = replace(plan, elements=plan.elements.ordered())
        with watch() as choices:
            results.append(net(**tensors, plan=plan))
        assert ("edge_product", "fused") in choices or not fused
    torch.testing.assert_close(*results)


def chain(edge_index: Tensor) -> tuple[Tensor, Tensor, torch.Generator]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(3, 3, generator=generator).double(), edge_index, generator


@pytest.mark.parametrize("complete", [False, True])
def test_a_plan_waits_for_its_sizes_alone(complete: bool) -> None:
    edge_index, batch = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), torch.tensor([0, 0, 0, 1])
    assert len(waits(lambda: lifted_edges(edge_index, 4, batch, complete=complete))) == 1
