"""Position-orientation layers equal the paper's formulas and keep the contract."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch_geometric.nn.aggr import SoftmaxAggregation

from geqlib.graph import directed_plan
from geqlib.nn import (
    FiberConv,
    KernelBasis,
    LogGaussianBasis,
    PolynomialFeatures,
    PositionOrientationConv,
)
from geqlib.ponita.invariants import DIMENSION, fiber_attributes
from geqlib.ponita.network import lift_vectors, orientation_axes, read_vectors
from geqlib.sphere.grids import circle_grid, rotation_grid, rotation_group, sphere_grid
from geqlib.symmetry.rotations import random_rotations
from tests.contract import Case, Contract, Typed
from tests.ponita.oracle_ponita import Collect, position_orientation_conv, total

CHANNELS, BASIS = 3, 4
Options = dict[str, Any]
FULL: Options = {"separable": False}
FACTORED: Options = {"factored": True, "radial": LogGaussianBasis(3)}
KERNELS: dict[str, Options] = {
    "R2": {"space": "R2"},
    "R3": {"space": "R3"},
    "R3 smooth": {"space": "R3", "smooth": True, "degree": 2},
    "R3 radial": {"space": "R3", "radial": LogGaussianBasis(4)},
    "R2xS1": {"space": "R2xS1", "grid": circle_grid(4)},
    "R2xS1 odd grid": {"space": "R2xS1", "grid": circle_grid(3)},
    "R2xS1 full": {"space": "R2xS1", "grid": circle_grid(4)} | FULL,
    "R2xS1 full chiral": {"space": "R2xS1", "grid": circle_grid(4), "chiral": True} | FULL,
    "R2xS1 node": {"space": "R2xS1", "chiral": True},
    "R2xS1 radial": {"space": "R2xS1", "grid": circle_grid(4), "radial": LogGaussianBasis(3)},
    "R3xS2": {"space": "R3xS2", "grid": sphere_grid(6)},
    "R3xS2 no antipodes": {"space": "R3xS2", "grid": sphere_grid(4), "smooth": True},
    "R3xS2 full": {"space": "R3xS2", "grid": sphere_grid(2), "fourth": True} | FULL,
    "R3xS2 full chiral": {"space": "R3xS2", "grid": sphere_grid(2), "chiral": True} | FULL,
    "R3xS2 node": {"space": "R3xS2", "fourth": True, "chiral": True, "degree": 2},
    "R3xS2 radial": {"space": "R3xS2", "grid": sphere_grid(6), "radial": LogGaussianBasis(3)},
    "R3xS2 full radial": {"space": "R3xS2", "grid": sphere_grid(2), "radial": LogGaussianBasis(3)}
    | FULL,
    "R2xS1 factored": {"space": "R2xS1", "grid": circle_grid(4)} | FACTORED,
    "R3xS2 factored": {"space": "R3xS2", "grid": sphere_grid(6), "cutoff": 2.0} | FACTORED,
    "SE3 factored": {"space": "SE3", "grid": rotation_grid(3, "spiral")} | FACTORED | {"degree": 1},
    "SE3": {"space": "SE3", "grid": rotation_grid(3, "spiral"), "degree": 2},
    "SE3 full": {"space": "SE3", "grid": rotation_grid(2, "spiral"), "degree": 2} | FULL,
    "SE3 node": {"space": "SE3", "degree": 2},
    "SE3 radial": {"space": "SE3", "radial": LogGaussianBasis(3), "degree": 1},
}
# sources above targets; attributes may differ by direction
GRAPHS: dict[str, tuple[int, list[list[int]]]] = {
    "no nodes": (0, [[], []]),
    "no edges": (2, [[], []]),
    "directed": (4, [[0, 1, 2, 3, 0], [1, 2, 0, 0, 3]]),
    "both ways": (3, [[0, 1, 0, 2, 1, 2], [1, 0, 2, 0, 2, 1]]),
    "ragged": (5, [[0, 1, 0, 3], [1, 0, 2, 4]]),
    "repeats and loops": (3, [[0, 0, 1, 1, 1, 2, 2, 0], [1, 1, 0, 2, 1, 2, 2, 2]]),
}
COLLECT: dict[str, Collect] = {
    "mean": lambda messages: messages.mean(0),
    "max": lambda messages: messages.amax(0),
    "var": lambda messages: messages.var(0, unbiased=False),
    "softmax": lambda messages: (messages.softmax(0) * messages).sum(0),
}


@dataclass
class Sample:
    """A kernel, a layer and random inputs for them, in float64."""

    kernel: KernelBasis
    conv: PositionOrientationConv
    x: Tensor
    pos: Tensor
    edge_index: Tensor
    edge_attr: Tensor | None
    ori: Tensor | None

    @property
    def geometry(self) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        return self.pos, self.edge_index, self.edge_attr, self.ori

    @property
    def leaves(self) -> list[Tensor]:
        tensors = (self.x, self.pos, self.edge_attr, self.ori)
        parameters = [*self.kernel.parameters(), *self.conv.parameters()]
        return [*(t for t in tensors if t is not None), *parameters]

    @property
    def varied(self) -> list[Tensor]:
        return [leaf for leaf in self.leaves if leaf.requires_grad]


def sample(kernel: str, graph: str, attributes: str | None = None, **options: Any) -> Sample:
    """Attributes of edges: None, "one way" (one an edge) or "both ways" (one a pair of nodes)."""
    torch.manual_seed(0)
    conv = {key: options.pop(key) for key in ("aggr", "bias") if key in options}
    chosen = KERNELS[kernel] | ({} if attributes is None else {"edge_dim": 2}) | options
    basis = KernelBasis(basis=BASIS, **chosen)
    conv |= {"harmonics": basis.harmonics, "separable": basis.separable}
    layer = PositionOrientationConv(CHANNELS, BASIS, **conv)
    nn.init.normal_(layer.bias) if layer.bias is not None else None
    for part in basis.modules():  # zero biases would make loops zero: ties for "max"
        if isinstance(part, nn.Linear):
            nn.init.normal_(part.bias)
    nodes, edges = GRAPHS[graph]
    edge_index = torch.tensor(edges).long().view(2, -1)
    width = 1 if basis.grid is None else len(basis.grid)
    built = Sample(
        basis.double(),
        layer.double(),
        torch.randn(nodes, width, CHANNELS).double(),
        torch.randn(nodes, DIMENSION[basis.space]).double(),
        edge_index,
        edge_features(edge_index, nodes, attributes),
        orientations(basis, nodes),
    )
    for leaf in built.leaves:
        leaf.requires_grad_()
    if attributes == "both ways":  # equal ones share a row: see test_attributes_with_derivatives
        built.edge_attr.requires_grad_(False)
    return built


def edge_features(edge_index: Tensor, nodes: int, attributes: str | None) -> Tensor | None:
    if attributes is None:
        return None
    if attributes == "one way":
        return torch.randn(edge_index.size(1), 2).double()
    table = torch.randn(nodes, nodes, 2).double()
    return (table + table.transpose(0, 1))[edge_index[0], edge_index[1]]


def orientations(kernel: KernelBasis, nodes: int) -> Tensor | None:
    if kernel.grid is not None or not kernel.oriented:
        return None
    if kernel.space == "SE3":
        return random_rotations(nodes, 3, dtype=torch.float64)
    return normalize(torch.randn(nodes, DIMENSION[kernel.space]).double(), dim=-1)


def assert_literal(s: Sample, collect: Collect = total) -> None:
    """Values and gradients equal the oracle's."""
    actual = []
    for y in (
        s.conv(s.x, s.kernel(*s.geometry)),
        position_orientation_conv(s.kernel, s.conv, s.x, *s.geometry, collect),
    ):
        weights = torch.arange(y.numel(), dtype=y.dtype).cos().view_as(y)
        loss = (y * weights).sum()
        grads = torch.autograd.grad(loss, s.varied, materialize_grads=True)
        actual.append([y, *grads])
    for got, expected in zip(*actual, strict=True):
        torch.testing.assert_close(got, expected, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("kernel", KERNELS)
def test_every_kernel_is_the_formula(kernel: str) -> None:
    assert_literal(sample(kernel, "repeats and loops", "one way"))


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("kernel", ["R3", "R2xS1", "R3xS2 full", "R3xS2 node", "SE3"])
def test_every_graph_is_the_formula(kernel: str, graph: str) -> None:
    assert_literal(sample(kernel, graph))


@pytest.mark.parametrize("kernel", ["R3", "R2xS1", "R2xS1 full", "R3xS2", "SE3"])
@pytest.mark.parametrize("graph", ["both ways", "repeats and loops"])
def test_attributes_of_pairs_are_the_formula(kernel: str, graph: str) -> None:
    s = sample(kernel, graph, "both ways", cutoff=2.0, hidden=5, bias=False)
    assert_literal(s)


@pytest.mark.parametrize("aggr", COLLECT)
@pytest.mark.parametrize("kernel", ["R3", "R2xS1", "R3xS2 full", "R3xS2 node"])
def test_aggregations_see_explicit_sets(kernel: str, aggr: str) -> None:
    assert_literal(sample(kernel, "ragged", aggr=aggr), COLLECT[aggr])


def test_aggregation_as_a_module() -> None:
    s = sample("R2xS1", "both ways", "one way", aggr=SoftmaxAggregation(t=2.0))
    assert_literal(s, lambda messages: ((2 * messages).softmax(0) * messages).sum(0))


@pytest.mark.parametrize("kernel", [k for k in KERNELS if not k.startswith("SE3")])
@pytest.mark.parametrize("aggr", ["sum", "mean"])
def test_sharing_rows_changes_nothing(kernel: str, aggr: str) -> None:
    s = sample(kernel, "both ways", "both ways", aggr=aggr)
    plan = s.kernel.plan(s.edge_index, 3, s.edge_attr)
    shares = not ("chiral" in kernel or "node" in kernel or "odd" in kernel or "no anti" in kernel)
    assert plan.paired == (3 if shares else 0)
    alone = directed_plan(s.edge_index, 3)
    got, expected = (s.conv(s.x, s.kernel(*s.geometry, p)) for p in (plan, alone))
    torch.testing.assert_close(got, expected, atol=1e-12, rtol=0)


def test_rows_are_shared_only_where_attributes_agree() -> None:
    s = sample("R3xS2", "both ways", "one way")
    assert s.kernel.plan(s.edge_index, 3, s.edge_attr).paired == 0
    assert s.edge_attr is not None
    s.edge_attr = s.edge_attr.detach()
    s.edge_attr[1] = s.edge_attr[0]
    assert s.kernel.plan(s.edge_index, 3, s.edge_attr).paired == 1
    assert_literal(s)


@pytest.mark.parametrize("kernel", ["R3", "R2xS1", "R3xS2 full"])
def test_attributes_with_derivatives(kernel: str) -> None:
    """Attributes that happen to agree still have a derivative each."""
    s = sample(kernel, "both ways", "both ways")
    assert s.edge_attr is not None
    s.edge_attr.requires_grad_()
    assert_literal(s)


@pytest.mark.parametrize("kernel", ["R3", "R3 radial", "R3xS2", "R3xS2 full radial", "SE3 node"])
def test_neighbours_fade_out_at_the_cutoff(kernel: str) -> None:
    s = sample(kernel, "directed", cutoff=1.5)
    direction = normalize(torch.ones(1, 3).double())
    edge = torch.tensor([[1], [0]])

    def layer(distance: float) -> Tensor:
        pos = torch.cat([0 * direction, distance * direction])
        ori = None if s.ori is None else s.ori[:2]
        return s.conv(s.x[:2], s.kernel(pos, edge, None, ori))[0]

    beyond = layer(1.5)
    assert torch.equal(layer(2.0), beyond)
    steps = [(layer(1.5 - h) - beyond).abs().max() for h in (1e-2, 1e-3)]
    assert 0 < steps[1] < 2e-3 * steps[0]  # the envelope vanishes with its first two derivatives
    assert (layer(0.5) - beyond).abs().max() > 1e-3


def test_initial_kernels_keep_the_scale_of_the_basis() -> None:
    torch.manual_seed(0)
    conv = PositionOrientationConv(400, 50)
    assert conv.kernel.weight.std().item() == pytest.approx(50**-0.5, rel=0.05)
    assert conv.fiber is not None
    assert conv.fiber.kernel.weight.std().item() == pytest.approx(50**-0.5, rel=0.05)
    assert conv.bias is not None and not conv.bias.any()


def test_neighbours_alone_are_a_difference() -> None:
    """What the error of self_loops=False says: the layer less the same without edges."""
    s = sample("R2xS1", "directed")
    edges, none = (s.conv(s.x, s.kernel(s.pos, e)) for e in (s.edge_index, s.edge_index[:, :0]))
    # the targets are copies of the nodes, which have no features of their own
    apart = torch.stack([s.edge_index[0], s.edge_index[1] + 4])
    y = s.conv(torch.cat([s.x, 0 * s.x]), s.kernel(torch.cat([s.pos, s.pos]), apart))
    torch.testing.assert_close(edges - none, y[4:] - s.conv.bias, atol=1e-12, rtol=0)


def test_tables_are_those_of_a_grid_that_is_loaded() -> None:
    turned = sphere_grid(12) @ random_rotations(1, 3, dtype=torch.float64)[0]
    there = KernelBasis("R3xS2", 4, grid=turned).double()
    here = KernelBasis("R3xS2", 4, grid=sphere_grid(12)).double()
    here.load_state_dict(there.state_dict())
    pos, edges = torch.randn(3, 3).double(), torch.tensor([[0, 1], [1, 2]])
    got, expected = here(pos, edges), there(pos, edges)
    assert torch.equal(got.value, expected.value) and torch.equal(got.grid, turned)
    torch.testing.assert_close(got.fiber, expected.fiber)


def test_repr() -> None:
    conv = PositionOrientationConv(8, 4, aggr="mean")
    assert repr(conv) == "PositionOrientationConv(8, basis=4, aggr=MeanAggregation())"
    assert repr(FiberConv(8, 4)) == "FiberConv(8, basis=4)"


def kernel(space: Any, **options: Any) -> Callable[[], KernelBasis]:
    return lambda: KernelBasis(space, BASIS, **options)


POS, EDGES = torch.zeros(3, 3), torch.tensor([[0, 1], [1, 2]])
SPHERE = {"grid": sphere_grid(6)}
ERRORS: dict[str, tuple[Callable[[], Any], str]] = {
    "space": (kernel("R4"), "space 'R4' is unknown: choose one of R2, R3, R2xS1, R3xS2, SE3"),
    "grid without need": (kernel("R3", **SPHERE), "'R3' has no orientations: leave `grid` out"),
    "grid shape": (
        kernel("SE3", **SPHERE),
        r"grid has shape \(6, 3\), but space 'SE3' needs \[orientations, 3, 3\]",
    ),
    "fourth separable": (kernel("R3xS2", fourth=True, **SPHERE), "use separable=False, or"),
    "chiral in R3": (kernel("R3", chiral=True), "in a space that has orientations"),
    "fourth in SE3": (kernel("SE3", fourth=True), "fourth completes R3xS2; leave it out for SE3"),
    "chiral in SE3": (kernel("SE3", chiral=True), "already in the attributes of SE3"),
    "degree": (kernel("R3", degree=0), "degree must be at least 1, got 0"),
    "cutoff": (kernel("R3", cutoff=-1.0), r"cutoff must be positive, got -1\.0"),
    "loops": (kernel("R3", self_loops=False), "every node is its own neighbour. For the others"),
    "aggregation": (
        lambda: PositionOrientationConv(8, BASIS, aggr_kwargs={"t": 2.0}),  # type: ignore
        "aggr_kwargs is no longer taken: build the aggregation and pass it as a module",
    ),
    "pos": (
        lambda: kernel("R2")()(POS, EDGES),
        r"pos has shape \(3, 3\), but space 'R2' needs \[nodes, 2\]",
    ),
    "edge_attr": (
        lambda: kernel("R3", edge_dim=2)()(POS, EDGES),
        "edge_attr has 0 features, but edge_dim is 2",
    ),
    "no ori": (lambda: kernel("R3xS2")()(POS, EDGES), "grid is absent and ori is absent"),
    "ori and grid": (
        lambda: kernel("R3xS2", **SPHERE)()(POS, EDGES, ori=POS),
        "grid is set and ori is given",
    ),
    "channels": (
        lambda: PositionOrientationConv(8, BASIS, separable=False)(
            torch.zeros(3, 1, 7), kernel("R3")()(POS, EDGES)
        ),
        "x has 7 channels, but the layer has 8",
    ),
}


@pytest.mark.parametrize("error", ERRORS)
def test_errors_say_what_and_how_to_mend(error: str) -> None:
    call, message = ERRORS[error]
    with pytest.raises(ValueError, match=message):
        call()


class LiftConvRead(nn.Module):
    """A layer between scalars and vectors, whose representations the rulers know."""

    def __init__(self, space: Any, aggr: str = "sum", **options: Any) -> None:
        super().__init__()
        self.kernel = KernelBasis(space, BASIS, **options)
        self.conv = PositionOrientationConv(
            CHANNELS,
            BASIS,
            harmonics=self.kernel.harmonics,
            separable=self.kernel.separable,
            aggr=aggr,
        )

    def reset_parameters(self) -> None:
        self.kernel.reset_parameters()
        self.conv.reset_parameters()

    def forward(
        self,
        s: Tensor,
        v: Tensor,
        pos: Tensor,
        edge_index: Tensor,
        edge_attr: Tensor | None = None,
        ori: Tensor | None = None,
        plan: Any = None,
    ) -> tuple[Tensor, Tensor]:
        if ori is not None and self.kernel.space == "SE3":
            ori = ori.transpose(1, 2)  # rows turn as vectors do
        basis = self.kernel(pos, edge_index, edge_attr, ori, plan)
        if not self.kernel.oriented:
            return self.conv(s[:, None], basis)[:, 0], v
        if self.kernel.grid is None:
            axes = orientation_axes(ori, single=True)
        else:
            axes = orientation_axes(self.kernel.grid.to(pos.dtype), single=False)
        seen = lift_vectors(v, axes)
        seen = seen.unflatten(-1, (axes.size(2), CHANNELS)).sum(-2)
        y = self.conv(s[:, None] + seen, basis)
        return y.mean(1), read_vectors(y.repeat(1, 1, axes.size(2)), axes)


class LiftFiberRead(nn.Module):
    """A fiber convolution between scalars and vectors."""

    grid: Tensor

    def __init__(self, grid: Tensor) -> None:
        super().__init__()
        self.register_buffer("grid", grid)
        embed = PolynomialFeatures(1, 3)
        self.basis = nn.Sequential(embed, nn.Linear(3, BASIS), nn.GELU())
        self.conv = FiberConv(CHANNELS, BASIS)

    def reset_parameters(self) -> None:
        self.basis[1].reset_parameters()
        self.conv.reset_parameters()

    def forward(self, s: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        grid = self.grid.to(s.dtype)
        axes = orientation_axes(grid, single=False)
        psi = self.basis(fiber_attributes("R3xS2", grid[:, None], grid[None]))
        y = self.conv(s[:, None] + lift_vectors(v, axes), psi)
        return y.mean(1), read_vectors(y, axes)


def features(pos: Tensor, edge_index: Tensor, generator: torch.Generator) -> Typed:
    n, d = pos.shape
    make = {"generator": generator, "dtype": torch.float64}
    return {
        "s": (torch.randn(n, CHANNELS, **make), "scalar"),
        "v": (torch.randn(n, CHANNELS, d, **make), "vector"),
    }


def graph(pos: Tensor, edge_index: Tensor, generator: torch.Generator) -> Typed:
    typed = features(pos, edge_index, generator)
    return {"pos": (pos, "point"), "edge_index": (edge_index, "edge_index")} | typed


def graph_with_attributes(pos: Tensor, edge_index: Tensor, generator: torch.Generator) -> Typed:
    """The attribute of i -> j is that of j -> i for half of the pairs."""
    source, target = edge_index
    pair = torch.where((source + target) % 2 == 0, source * target, source)
    value = (pair + 1).double().sin()[:, None]
    return graph(pos, edge_index, generator) | {"edge_attr": (value, "edge_scalar")}


def graph_with_frames(pos: Tensor, edge_index: Tensor, generator: torch.Generator) -> Typed:
    raw = torch.randn(len(pos), 3, 3, generator=generator, dtype=torch.float64)
    q, _ = torch.linalg.qr(raw)
    frames = q * torch.linalg.det(q)[:, None, None]
    return graph(pos, edge_index, generator) | {"ori": (frames, "vector")}


def plan(module: LiftConvRead, tensors: dict[str, Tensor], graphs: int) -> dict[str, Any]:
    attributes = tensors.get("edge_attr")
    return {"plan": module.kernel.plan(tensors["edge_index"], len(tensors["pos"]), attributes)}


ICOSAHEDRAL = rotation_group("icosahedral")
OCTAHEDRAL = rotation_group("octahedral")
TURNS = torch.stack([circle_grid(8), circle_grid(8).roll(-2, 0)], -1)  # columns o and i o
BOTH = ("scalar", "vector")


class TestContract(Contract):
    cases = (
        Case(
            "PositionOrientationConv R3xS2",
            lambda: LiftConvRead("R3xS2", grid=sphere_grid(12), edge_dim=1, cutoff=2.5),
            graph_with_attributes,
            BOTH,
            groups=(torch.cat([ICOSAHEDRAL, -ICOSAHEDRAL]),),
            extra=plan,
            backend="eager",
        ),
        Case(
            "PositionOrientationConv R3xS2 full chiral",
            lambda: LiftConvRead(
                "R3xS2", grid=sphere_grid(6), separable=False, fourth=True, chiral=True, degree=2
            ),
            graph,
            BOTH,
            groups=("T(3)", OCTAHEDRAL),
            extra=plan,
            backend="eager",
        ),
        Case(
            "PositionOrientationConv SE3 node",
            lambda: LiftConvRead("SE3", radial=LogGaussianBasis(4), degree=1),
            graph_with_frames,
            BOTH,
            groups=("SE(3)",),
            extra=plan,
            backend="eager",
        ),
        Case(
            "PositionOrientationConv R2xS1 softmax",
            lambda: LiftConvRead("R2xS1", aggr="softmax", grid=circle_grid(8)),
            graph,
            BOTH,
            groups=("T(2)", TURNS),
            extra=plan,
            dim=2,
            backend="eager",
        ),
        Case(
            "PositionOrientationConv R3",
            lambda: LiftConvRead("R3", smooth=True),
            graph,
            BOTH,
            groups=("E(3)",),
            extra=plan,
            backend="eager",
        ),
        Case(
            "FiberConv",
            lambda: LiftFiberRead(sphere_grid(12)),
            features,
            BOTH,
            groups=(torch.cat([ICOSAHEDRAL, -ICOSAHEDRAL]),),
            backend="eager",
        ),
    )


def test_forces_by_torch_func():
    """The engine of compiled forces: torch.func.grad agrees with autograd."""
    torch.manual_seed(0)
    kernel = KernelBasis("R3xS2", 6, grid=sphere_grid(12)).double()
    conv = PositionOrientationConv(3, 6).double()
    pos, x = torch.randn(4, 3).double(), torch.randn(4, 12, 3).double()
    edge_index = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 3]])
    plan = kernel.plan(edge_index, 4)

    def energy(pos):
        return conv(x, kernel(pos, edge_index, plan=plan)).square().sum()

    moved = pos.clone().requires_grad_()
    (expected,) = torch.autograd.grad(energy(moved), moved)
    torch.testing.assert_close(torch.func.grad(energy)(pos), expected)
