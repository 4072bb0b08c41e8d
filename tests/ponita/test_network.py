"""PONITA keeps the contract and equals its formulas."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize
from torch_geometric.nn.aggr import SoftmaxAggregation

from geqlib.models import PONITA
from geqlib.nn import LogGaussianBasis
from geqlib.ponita.invariants import DIMENSION
from geqlib.sphere.grids import circle_grid, rotation_group
from geqlib.symmetry.rotations import random_rotations
from geqlib.testing import equivariance_error
from tests.contract import Case, Contract, Typed, all_edges
from tests.ponita.oracle_ponita import gelu, phi, position_orientation_conv
from tests.waits import waits

SMALL = {"channels": 6, "basis": 5, "layers": 1, "widen": 2}
BOTH = ("scalar", "vector")
ICOSAHEDRAL = rotation_group("icosahedral")
MIRRORED = torch.cat([ICOSAHEDRAL, -ICOSAHEDRAL])
OCTAHEDRAL = rotation_group("octahedral")
TETRAHEDRAL = rotation_group("tetrahedral")
TURNS = torch.stack([circle_grid(8), circle_grid(8).roll(-2, 0)], -1)  # columns o and i o


def graph(pos: Tensor, edge_index: Tensor, generator: torch.Generator) -> Typed:
    """Two scalars and a vector a node, and the product of two charges an edge."""
    n, d = pos.shape
    x = torch.randn(n, 2, generator=generator, dtype=torch.float64)
    vec = torch.randn(n, 1, d, generator=generator, dtype=torch.float64)
    charges = x[edge_index[0], :1] * x[edge_index[1], :1]
    return {
        "pos": (pos, "point"),
        "edge_index": (edge_index, "edge_index"),
        "x": (x, "scalar"),
        "vec": (vec, "vector"),
        "edge_attr": (charges, "edge_scalar"),
    }


def graph_with_directions(pos: Tensor, edge_index: Tensor, generator: torch.Generator) -> Typed:
    typed = graph(pos, edge_index, generator)
    ori = torch.randn(len(pos), 3, generator=generator, dtype=torch.float64)
    return typed | {"ori": (normalize(ori, dim=-1), "vector")}


def graph_with_number(pos: Tensor, edge_index: Tensor, generator: torch.Generator) -> Typed:
    number = torch.zeros(len(pos), dtype=torch.long)
    return graph(pos, edge_index, generator) | {"batch": (number, "batch")}


def plan(net: PONITA, tensors: dict[str, Tensor], graphs: int) -> dict[str, Any]:
    rows = net.kernel.plan(tensors["edge_index"], len(tensors["pos"]), tensors["edge_attr"])
    return {"plan": rows}


def plan_and_size(net: PONITA, tensors: dict[str, Tensor], graphs: int) -> dict[str, Any]:
    return plan(net, tensors, graphs) | {"num_graphs": graphs}


def ponita(*widths: int, **options: Any) -> partial[PONITA]:
    return partial(PONITA, *(widths or (2, 1, 2, 1)), **(SMALL | {"edge_dim": 1} | options))


class TestContract(Contract):
    cases = (
        Case(
            "R3xS2",
            ponita(readouts="last"),
            graph,
            BOTH,
            groups=("T(3)", MIRRORED),
            extra=plan,
        ),
        Case(
            "factored",
            ponita(factored=True, radial=LogGaussianBasis(4), cutoff=2.0),
            graph,
            BOTH,
            groups=("T(3)", MIRRORED),
            extra=plan,
        ),
        Case(
            "R3",
            ponita(space="R3", cutoff=2.0, radial=LogGaussianBasis(4)),
            graph,
            BOTH,
            groups=("E(3)",),
            extra=plan,
            backend="eager",
        ),
        Case(
            "SE3",
            ponita(space="SE3", orientations=12, degree=1),
            graph,
            BOTH,
            groups=("T(3)", TETRAHEDRAL),
            extra=plan,
            backend="eager",
        ),
        Case(
            "R2xS1",
            ponita(space="R2xS1", orientations=8, aggr="mean"),
            graph,
            BOTH,
            groups=("T(2)", TURNS),
            extra=plan,
            dim=2,
            backend="eager",
        ),
        Case(
            "point cloud",
            ponita(orientations=None, fourth=True),
            graph_with_directions,
            BOTH,
            groups=("E(3)",),
            extra=plan,
            backend="eager",
        ),
        Case(
            "graph level",
            ponita(layers=2, level="graph", layer_scale=0.5),
            graph_with_number,
            ("graph:scalar", "graph:vector"),
            groups=("T(3)", MIRRORED),
            extra=plan_and_size,
            backend="eager",
        ),
        Case(
            "full chiral",
            ponita(2, 1, 2, 0, orientations=6, separable=False, fourth=True, chiral=True, degree=2),
            graph,
            ("scalar", None),
            groups=("T(3)", OCTAHEDRAL),
            extra=plan,
            backend="eager",
        ),
    )


def sample(net: PONITA, nodes: int = 4) -> dict[str, Tensor]:
    """One graph of the kind that `net` takes, most of its nodes joined."""
    generator = torch.Generator().manual_seed(0)
    pos = torch.randn(nodes, DIMENSION[net.space], generator=generator, dtype=torch.float64)
    typed = graph(pos, all_edges(nodes)[:, :-2], generator)
    tensors = {name: x for name, (x, _) in typed.items()}
    if net.oriented and net.kernel.grid is None:
        torch.manual_seed(0)
        turns = random_rotations(nodes, pos.size(1), dtype=torch.float64)
        tensors["ori"] = turns if net.space == "SE3" else turns[..., 0].contiguous()
    return tensors


def literal(net: PONITA, tensors: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Scalars and vectors of a node-level PONITA, from the formulas."""
    pos, edge_index, edge_attr = (tensors[k] for k in ("pos", "edge_index", "edge_attr"))
    ori = tensors.get("ori")
    axes = [seen_axes(net, ori, i) for i in range(len(pos))]
    h = torch.stack(
        [lift(net, tensors["x"][i], tensors["vec"][i], axes[i]) for i in range(len(pos))]
    )
    for block in net.blocks:
        y = position_orientation_conv(net.kernel, block.conv, h, pos, edge_index, edge_attr, ori)
        y = (y - y.mean(-1, keepdim=True)) / (y.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
        y = y * block.norm.weight + block.norm.bias
        y = gelu(y @ block.expand.weight.T + block.expand.bias)
        h = h + block.layer_scale * (y @ block.contract.weight.T + block.contract.bias)
    scalars = h.mean(1) @ net.scalars[0].weight.T + net.scalars[0].bias
    if not net.oriented:
        return scalars, offset_vectors(net, tensors, h[:, 0])
    read = h @ net.vectors[0].weight.T
    vectors = [
        sum(
            part[:, None] * axis
            for f, here in zip(read[i], axes[i], strict=True)
            for part, axis in zip(f.split(net.out_vectors), here, strict=True)
        )
        / h.size(1)
        for i in range(len(pos))
    ]
    return scalars, torch.stack(vectors)


def seen_axes(net: PONITA, ori: Tensor | None, i: int) -> list[list[Tensor]]:
    """For each orientation at node i its axes: itself, or the columns of the rotation."""
    if not net.oriented:
        return []
    here = net.kernel.grid if ori is None else ori[i : i + 1]
    return [list(o.T) if net.space == "SE3" else [o] for o in here]


def lift(net: PONITA, x: Tensor, vec: Tensor, axes: list[list[Tensor]]) -> Tensor:
    """[O, C] features of one node."""
    scalars = net.embed_scalars.weight @ x
    if not net.oriented:
        return (scalars + net.embed_vectors.weight @ vec.norm(dim=-1))[None]
    seen = [torch.cat([vec @ axis for axis in here]) for here in axes]
    return torch.stack([scalars + net.embed_vectors.weight @ s for s in seen])


def offset_vectors(net: PONITA, tensors: dict[str, Tensor], h: Tensor) -> Tensor:
    """sum_j k(|r_ij|) . h_j r_ij + sum_m c_m(h_i) v_im."""
    read, pos = net.vectors[0], tensors["pos"]
    out = [
        (read.mix(f).view(-1, net.in_vectors) @ v) for f, v in zip(h, tensors["vec"], strict=True)
    ]
    for e, (j, i) in enumerate(tensors["edge_index"].T.tolist()):
        r = pos[j] - pos[i]
        basis = phi(net.kernel, r, None, None, tensors["edge_attr"][e])
        strength = read.weight.weight @ ((read.kernel.weight @ basis) * h[j])
        out[i] = out[i] + strength[:, None] * r
    return torch.stack(out)


@pytest.mark.parametrize(
    "options",
    [
        {"orientations": 6, "cutoff": 2.5},
        {"orientations": 4, "smooth": True},
        {"orientations": 2, "separable": False, "fourth": True, "chiral": True},
        {"orientations": None, "chiral": True},
        {"space": "R3", "cutoff": 2.5},
        {"space": "R2", "radial": LogGaussianBasis(4)},
        {"space": "R2xS1", "orientations": 4},
        {"space": "SE3", "orientations": 2, "degree": 1},
        {"space": "SE3", "orientations": None, "radial": LogGaussianBasis(3), "degree": 1},
    ],
    ids=str,
)
def test_one_layer_is_the_formulas(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    net = ponita(2, 1, 3, 2, layer_scale=0.7, **options)().double()
    tensors = sample(net)
    for leaf in (tensors["pos"], tensors["x"], tensors["vec"]):
        leaf.requires_grad_()
    actual = []
    for scalars, vectors in (net(**tensors), literal(net, tensors)):
        loss = (scalars.sin() * (1 + scalars)).sum() + (vectors**2 + vectors.cos()).sum()
        points = [tensors["pos"], tensors["x"], tensors["vec"], *net.parameters()]
        actual.append([scalars, vectors, *torch.autograd.grad(loss, points)])
    for got, expected in zip(*actual, strict=True):
        torch.testing.assert_close(got, expected, atol=1e-10, rtol=1e-10)


def test_all_readouts_are_the_mean_of_the_last_ones() -> None:
    torch.manual_seed(0)
    net = ponita(layers=3)().double()
    tensors, said = sample(net), []
    for k in range(len(net.blocks)):
        one = deepcopy(net)
        one.readouts, one.blocks = "last", net.blocks[: k + 1]
        one.scalars, one.vectors = net.scalars[k : k + 1], net.vectors[k : k + 1]
        said.append(one(**tensors))
    for got, *parts in zip(net(**tensors), *said, strict=True):
        torch.testing.assert_close(got, torch.stack(parts).mean(0))


@pytest.mark.parametrize(
    ("options", "share"),
    [
        ({}, 1 / 3),
        ({"orientations": 20}, 1 / 3),
        ({"space": "R2xS1", "orientations": 8}, 1 / 2),
        ({"space": "SE3", "orientations": 12, "degree": 1}, 1),
        ({"space": "SE3", "orientations": None, "degree": 1}, 1),
    ],
    ids=str,
)
def test_a_linear_signal_reads_its_share(options: dict[str, Any], share: float) -> None:
    """v . o is read as v / d from unit vectors, and from rotations as v."""
    torch.manual_seed(0)
    net = ponita(2, 1, 0, 1, **options)().double()
    views = 3 if net.space == "SE3" else 1
    for linear in (net.embed_scalars, net.blocks[0].contract):
        for parameter in linear.parameters():
            torch.nn.init.zeros_(parameter)
    with torch.no_grad():
        net.embed_vectors.weight.copy_(torch.eye(6, views))
        net.vectors[0].weight.copy_(torch.eye(views, 6))
    tensors = sample(net)
    torch.testing.assert_close(net(**tensors)[1], share * tensors["vec"], atol=1e-14, rtol=0)


def error(net: PONITA, group: str | Tensor, output: str) -> float:
    tensors = sample(net)
    types = {"pos": "point", "edge_index": "edge_index", "edge_attr": "edge_scalar"}
    types |= {"x": "scalar", "vec": "vector", "ori": "vector"}
    inputs = {name: (x, types[name]) for name, x in tensors.items()}
    chosen = ("scalar", None) if output == "scalars" else (None, "vector")
    with torch.no_grad():
        return equivariance_error(net, inputs, chosen, group)


@pytest.mark.parametrize(
    "options",
    [
        {"space": "R2xS1", "orientations": 16},
        {"space": "R2xS1", "orientations": None},
        {"orientations": None, "chiral": True},
        {"orientations": 6, "separable": False, "chiral": True},
        {"space": "SE3", "orientations": 12},
    ],
    ids=str,
)
def test_chiral_kernels_see_mirror_images(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    net = ponita(**options)().double()
    d = DIMENSION[net.space]
    mirror = torch.diag(torch.tensor([-1.0] + [1.0] * (d - 1)))
    assert error(net, mirror[None], "scalars") > 1e-3


def test_grids_are_exact_for_their_group_alone() -> None:
    torch.manual_seed(0)
    net = ponita()().double()
    assert error(net, "SO(3)", "scalars") > 1e-6
    finer = ponita(orientations=60)().double()
    finer.load_state_dict({k: v for k, v in net.state_dict().items() if "grid" not in k}, False)
    assert error(finer, "SO(3)", "vectors") < 0.2 * error(net, "SO(3)", "vectors")


@pytest.mark.parametrize("space", ["R3xS2", "R3"])
def test_kinds_may_be_missing(space: Any) -> None:
    pos, edge_index = torch.randn(3, 3), all_edges(3)
    for widths in ((1, 0, 0, 2), (0, 2, 2, 0), (1, 2, 1, 1), (0, 0, 1, 1)):
        net = PONITA(*widths, space=space, channels=4, layers=1)
        x = torch.randn(3, widths[0]) if widths[0] else None
        vec = torch.randn(3, widths[1], 3) if widths[1] else None
        scalars, vectors = net(pos, edge_index, x, vec)
        assert scalars.shape == (3, widths[2]) and vectors.shape == (3, widths[3], 3)
        assert bool(vectors.isfinite().all()) and bool(scalars.isfinite().all())


def test_a_plan_made_before_changes_nothing() -> None:
    torch.manual_seed(0)
    net = ponita()().double()
    tensors = sample(net)
    rows = plan(net, tensors, 1)
    assert rows["plan"].paired == 4
    for got, expected in zip(net(**tensors, **rows), net(**tensors), strict=True):
        assert torch.equal(got, expected)


def test_learnt_aggregations_belong_to_their_layer() -> None:
    net = ponita(layers=2, aggr=SoftmaxAggregation(learn=True))()
    assert sum("aggr.t" in name for name, _ in net.named_parameters()) == 2


def test_dropout_is_off_outside_training() -> None:
    torch.manual_seed(0)
    net = ponita(dropout=0.5)().double()
    tensors = sample(net)
    one, other = net(**tensors)[0], net(**tensors)[0]
    assert not torch.equal(one, other)
    assert torch.equal(net.eval()(**tensors)[0], net(**tensors)[0])


POS, EDGES, X, VEC = torch.zeros(3, 3), all_edges(3), torch.zeros(3, 2), torch.zeros(3, 1, 3)
PLAIN = PONITA(2, 1, 1, 1, channels=4, layers=1)
ERRORS: dict[str, tuple[Callable[[], Any], str]] = {
    "space": (ponita(space="S2"), "space 'S2' is unknown: choose one of R2, R3"),
    "channels": (ponita(channels=0), "channels and layers must be positive, got 0 and 1"),
    "layers": (ponita(layers=0), "channels and layers must be positive, got 6 and 0"),
    "level": (ponita(level="edge"), 'level must be "node" or "graph", got \'edge\''),
    "readouts": (ponita(readouts="first"), 'readouts must be "all" or "last", got \'first\''),
    "x missing": (lambda: PLAIN(POS, EDGES, vec=VEC), "x is missing: the model was built for 2"),
    "vec missing": (lambda: PLAIN(POS, EDGES, X), "vec is missing: the model was built for 1"),
    "x shape": (
        lambda: PLAIN(POS, EDGES, X[:2], VEC),
        r"x has shape \(2, 2\), expected \[nodes, 2\]",
    ),
    "vec shape": (
        lambda: PLAIN(POS, EDGES, X, VEC[:, 0]),
        r"vec has shape \(3, 3\), expected \[nodes, 1, 3\]",
    ),
    "batch alone": (
        lambda: PONITA(0, 0, 1, 0, level="graph", channels=4, layers=1)(
            POS, EDGES, batch=torch.zeros(3, dtype=torch.long)
        ),
        "batch is given without num_graphs: pass the number of graphs too",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_say_what_and_how_to_mend(name: str) -> None:
    call, message = ERRORS[name]
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("edge_dim", [0, 1])
def test_a_plan_waits_for_its_sizes_alone(edge_dim: int) -> None:
    edge_index = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 0]])
    edge_attr = torch.ones(4, 1) if edge_dim else None
    net = PONITA(1, 0, 1, 0, channels=4, layers=1, edge_dim=edge_dim)
    assert waits(lambda: net.plan(edge_index, 3, edge_attr)) == ["tolist"]
