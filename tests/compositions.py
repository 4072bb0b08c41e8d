"""Parts of the library inside each other: what the tests and the table of compositions go through.

Each composition is written as a user would write it, from public names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.nn import global_mean_pool

from geqlib.models import (
    DGCNN,
    PONITA,
    SPEN,
    GauntNet,
    MessagePassingNet,
    MonoidGNN,
    PointNet,
    SetNetwork,
)
from geqlib.nn import FrameAveraging, MonoidAggregation, SelfMix
from geqlib.sphere.grids import rotation_group
from tests.contract import Case, Typed, join, random_graphs, values

C = 4
ICOSAHEDRAL = rotation_group("icosahedral")
MIRRORED = torch.cat([ICOSAHEDRAL, -ICOSAHEDRAL])
GRID = ("T(3)", MIRRORED)
TREE = "a graph for each depth of the monoid's tree: see test_monoid"
FRAMES = "the number of frames depends on the points: see test_frames"
NARROW: dict[str, Any] = {"channels": C, "basis": C, "layers": 1, "widen": 2}


@dataclass(frozen=True)
class Composition:
    """A part in a host.

    Args:
        part, host: as the table shows them.
        kind: the part's class, of which the host has at least one.
        symmetry: the exact one, as the table shows it.
        case: what is put through the contract.
    """

    part: str
    host: str
    kind: type[nn.Module]
    symmetry: str
    case: Case


def monoid(*operators: Any) -> MonoidAggregation:
    """An aggregation whose results do not depend on the order of the edges."""
    return MonoidAggregation(C, list(operators), order="canonical")


class Mixed(nn.Module):
    """PONITA, SelfMix of its scalars and vectors, PONITA."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.first = PONITA(2, 1, C, C, **(NARROW | options))
        self.mix = SelfMix(f"{C}x0e+{C}x1o", paths="all", method="sparse")
        self.second = PONITA(C, C, 2, 1, **(NARROW | options))

    def reset_parameters(self) -> None:
        for part in (self.first, self.mix, self.second):
            part.reset_parameters()

    def forward(
        self, pos: Tensor, edge_index: Tensor, x: Tensor, vec: Tensor, plan: Any = None
    ) -> tuple[Tensor, Tensor]:
        x, vec = self.first(pos, edge_index, x, vec, plan=plan)
        mixed = self.mix(torch.cat([x, vec.flatten(1)], 1))
        x, vec = mixed[:, :C], mixed[:, C:].unflatten(1, (C, 3))
        return self.second(pos, edge_index, x, vec, plan=plan)


class MixedAtoms(nn.Module):
    """SelfMix of what GauntNet says of each atom, and its scalars."""

    def __init__(self) -> None:
        super().__init__()
        irreps = f"{C}x0e+{C}x1o+{C}x2e"
        self.net = GauntNet(
            ["H", "C"], channels=2, degree=2, order=2, irreps_out=irreps, cutoff=5.0
        )
        self.mix = SelfMix(irreps, method="sparse")

    def reset_parameters(self) -> None:
        self.net.reset_parameters()
        self.mix.reset_parameters()

    def forward(self, pos: Tensor, z: Tensor, edge_index: Tensor, plan: Any = None) -> Tensor:
        return self.mix(self.net(pos, z, edge_index, plan=plan))[:, :C]


class Perceptron(nn.Module):
    """A user's network, which knows nothing of rotations."""

    def __init__(self) -> None:
        super().__init__()
        self.points = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh())
        self.read = nn.Linear(8, 2)

    def reset_parameters(self) -> None:
        for layer in (*self.points, self.read):
            if isinstance(layer, nn.Linear):
                layer.reset_parameters()

    def forward(self, pos: Tensor, batch: Tensor, num_graphs: int) -> Tensor:
        return self.read(global_mean_pool(self.points(pos), batch, num_graphs))


def cloud(pos: Tensor, edge_index: Tensor, generator: torch.Generator) -> Typed:
    return {"pos": (pos, "point"), "batch": (torch.zeros(len(pos), dtype=torch.long), "batch")}


def mesh(pos: Tensor, edge_index: Tensor, generator: torch.Generator) -> Typed:
    """Positions as features of nodes."""
    return {
        "x": (pos, "point"),
        "edge_index": (edge_index, "edge_index"),
        "batch": (torch.zeros(len(pos), dtype=torch.long), "batch"),
    }


def graph(pos: Tensor, edge_index: Tensor, generator: torch.Generator) -> Typed:
    x = torch.randn(len(pos), 2, generator=generator, dtype=torch.float64)
    typed = mesh(x, edge_index, generator)
    return typed | {"x": (x, "scalar")}


def points(pos: Tensor, edge_index: Tensor, generator: torch.Generator) -> Typed:
    """Two scalars and a vector a node."""
    x = torch.randn(len(pos), 2, generator=generator, dtype=torch.float64)
    vec = torch.randn(len(pos), 1, 3, generator=generator, dtype=torch.float64)
    return {
        "pos": (pos, "point"),
        "edge_index": (edge_index, "edge_index"),
        "x": (x, "scalar"),
        "vec": (vec, "vector"),
    }


def placed(pos: Tensor, edge_index: Tensor, generator: torch.Generator) -> Typed:
    number = torch.zeros(len(pos), dtype=torch.long)
    return points(pos, edge_index, generator) | {"batch": (number, "batch")}


def atoms(pos: Tensor, edge_index: Tensor, generator: torch.Generator) -> Typed:
    """About as far apart as atoms are."""
    z = torch.tensor([1, 6])[torch.randint(2, (len(pos),), generator=generator)]
    typed = {"pos": (2 * pos, "point"), "z": (z, "scalar")}
    return typed | {"edge_index": (edge_index, "edge_index")}


def numbers(pos: Tensor, edge_index: Tensor, generator: torch.Generator) -> Typed:
    x = torch.randint(256, (len(pos),), generator=generator)
    return {"x": (x, "index"), "batch": (torch.zeros(len(pos), dtype=torch.long), "batch")}


def size(net: Any, tensors: dict[str, Tensor], graphs: int) -> dict[str, Any]:
    return {"num_graphs": graphs}


def edges(net: Any, tensors: dict[str, Tensor], graphs: int) -> dict[str, Any]:
    """The plan of a network of points."""
    net = getattr(net, "first", getattr(net, "net", net))
    return {"plan": net.plan(tensors["edge_index"], len(tensors["pos"]))}


def egos(net: SPEN, tensors: dict[str, Tensor], graphs: int) -> dict[str, Any]:
    ends = tensors["edge_index"], len(tensors["x"]), tensors["batch"], graphs
    return {"plan": net.plan(*ends), "num_graphs": graphs}


def in_host(
    host: str, symmetry: str, build: Callable[[], nn.Module], *about: Any, **more: Any
) -> Composition:
    case = Case(
        _name("MonoidAggregation in", host),
        build,
        *about,
        exceptions={"compile": TREE, "export": TREE},
        **more,
    )
    return Composition("`MonoidAggregation`", host, MonoidAggregation, symmetry, case)


def averaged(
    host: str, group: str, build: Callable[[], nn.Module], inputs: Any, outputs: Any, **more: Any
) -> Composition:
    """A backbone in a frame."""
    types = {k: t for k, (_, t) in inputs(*_NONE).items() if t != "batch"}
    mode = more.pop("mode", "full")

    def wrapped() -> nn.Module:
        return FrameAveraging(build(), group, inputs=types, outputs=outputs, mode=mode)

    groups = () if group == "S_n" else (group.removeprefix("S_n x "),)
    hidden = {} if group == "S_n" else {"vmap": FRAMES}
    exceptions = {"compile": FRAMES, "export": FRAMES} | hidden | more.pop("exceptions", {})
    case = Case(
        _name("FrameAveraging around", host),
        wrapped,
        inputs,
        outputs,
        groups,
        more.pop("extra", size),
        exceptions=exceptions,
        **more,
    )
    return Composition("`FrameAveraging`", host, FrameAveraging, group, case)


def mixed(host: str, symmetry: str, *about: Any, **more: Any) -> Composition:
    case = Case(_name("SelfMix", host), *about, backend="eager", **more)
    return Composition("`SelfMix`", host, SelfMix, symmetry, case)


def _name(part: str, host: str) -> str:
    return f"{part} {host}".replace("`", "")


_NONE = (torch.zeros(0, 3), torch.zeros(2, 0, dtype=torch.long), torch.Generator())
BOTH = ("scalar", "vector")
WHOLE = ("graph:scalar", "graph:vector")
COMPOSITIONS = (
    in_host(
        "`PONITA`",
        "icosahedral",
        lambda: PONITA(2, 1, 2, 1, aggr=monoid("gru", "topk"), **NARROW),
        points,
        BOTH,
        GRID,
        edges,
    ),
    in_host(
        "`PONITA`, positions alone",
        "E(3)",
        lambda: PONITA(2, 1, 2, 1, space="R3", aggr=monoid("logsumexp", "select"), **NARROW),
        points,
        BOTH,
        ("E(3)",),
        edges,
    ),
    in_host(
        "`GauntNet`",
        "E(3)",
        lambda: GauntNet(["H", "C"], channels=C, order=2, cutoff=5.0, aggr=monoid("gru", "max")),
        atoms,
        "scalar",
        ("E(3)",),
        edges,
    ),
    in_host(
        "`SPEN`, from ego nets to nodes and pairs",
        "S_n",
        lambda: SPEN(2, 2, channels=C, layers=1, put_back=monoid("gru")),
        graph,
        "graph:scalar",
        (),
        egos,
    ),
    in_host(
        "`SPEN`, from nodes to graphs",
        "S_n",
        lambda: SPEN(2, 2, channels=C, layers=1, readout=MonoidAggregation(4 * C, "topk")),
        graph,
        "graph:scalar",
        (),
        egos,
    ),
    averaged("`PointNet`", "E(3)", lambda: PointNet(2, 1, channels=C), cloud, WHOLE),
    averaged("`DGCNN`", "SE(3)", lambda: DGCNN(2, 1, channels=C, layers=2), cloud, WHOLE),
    averaged(
        "`MessagePassingNet`",
        "E(3)",
        lambda: MessagePassingNet(3, 2, channels=C, layers=2),
        mesh,
        "graph:scalar",
    ),
    averaged(
        "`MonoidGNN`",
        "SE(3)",
        lambda: MonoidGNN(3, monoid("gru"), out_graph=2, channels=C),
        mesh,
        "graph:scalar",
    ),
    averaged(
        "`MonoidGNN` that depends on the order of the nodes",
        "S_n x SE(3)",
        lambda: MonoidGNN(3, MonoidAggregation(C, "gru"), out_graph=2, channels=C),
        mesh,
        "graph:scalar",
    ),
    averaged(
        "`SetNetwork` that depends on the order of the numbers",
        "S_n",
        lambda: SetNetwork(C, MonoidAggregation(C, "gru"), out_bits=2),
        numbers,
        "graph:scalar",
        exceptions={"degenerate_sets": "integers have no positions and no derivatives"},
    ),
    averaged("`SPEN`", "E(3)", lambda: SPEN(3, 2, channels=C, layers=1), mesh, "graph:scalar"),
    averaged("an `nn.Module` of one's own", "SE(3)", Perceptron, cloud, "graph:scalar"),
    averaged(
        "`PONITA`",
        "SE(3)",
        lambda: PONITA(2, 1, 2, 1, **NARROW),
        placed,
        BOTH,
    ),
    mixed("between layers of `PONITA`", "icosahedral", Mixed, points, BOTH, GRID, edges),
    mixed("after `GauntNet`", "E(3)", MixedAtoms, atoms, "scalar", ("E(3)",), edges),
)


def fit(case: Case, steps: int, graphs: int = 16, seed: int = 0) -> tuple[list[float], nn.Module]:
    """Losses of a module that learns what one with other weights says of a few random graphs.

    Args:
        case: whose module is both.
        steps: of Adam.
        graphs: in the one batch, of 3 to 6 nodes.
        seed: of the weights.

    Returns:
        Mean squared errors before each step and after the last one, of targets with a mean square
        of 1; and the module.
    """
    sizes = [3 + k % 4 for k in range(graphs)]
    tensors = values(join(random_graphs(case, sizes)), torch.float32)
    teacher, module = (case.make(torch.float32, seed=k) for k in (seed + 1, seed))
    with torch.no_grad():
        said = case.tensors(case.call(teacher, graphs, **tensors))
        wanted = [x / x.square().mean().sqrt() for x in said]
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = _distance(case.tensors(case.call(module, graphs, **tensors)), wanted)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    with torch.no_grad():
        last = _distance(case.tensors(case.call(module, graphs, **tensors)), wanted)
    return [*losses, last.item()], module


def _distance(actual: list[Tensor], wanted: list[Tensor]) -> Tensor:
    pairs = zip(actual, wanted, strict=True)
    return torch.stack([(x - y).square().mean() for x, y in pairs]).mean()
