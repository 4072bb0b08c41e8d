"""Every layer and model: the cases of the contract suite, and what has no contract of its own."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn

from geqlib.models import (
    IGN,
    PONITA,
    CalibratedPotential,
    MessagePassingNet,
    MonoidGNN,
    RotationAverage,
)
from geqlib.nn import GaussianCharges
from tests.atoms.test_potential import TestContract
from tests.contract import Case, Typed
from tests.ponita import test_network as test_ponita
from tests.spen import test_network as test_spen

TESTS = Path(__file__).parents[1]
# more frames than `bound` are drawn at random: 120 orders of 5 nodes are all taken
FEWER = {"FAMLP laplacian": 5}


def all_cases() -> dict[str, Case]:
    """By the layer or model and the variant."""
    actual = {}
    for path in sorted(TESTS.glob("*/test_*.py")):
        if "class TestContract(Contract)" in path.read_text():
            module = import_module(f"tests.{path.parent.name}.{path.stem}")
            about = f"{path.parent.name} {path.stem.removeprefix('test_')}"
            actual |= {f"{about}: {case.name}": case for case in module.TestContract.cases}
    return actual | {case.name: case for case in OTHERS}


def average() -> nn.Module:
    net = PONITA(2, 0, 2, 0, channels=4, basis=4, layers=1, edge_dim=0)
    return RotationAverage(net, 2)


def passing(conv: str, **options: Any) -> Case:
    build = partial(MessagePassingNet, 2, 3, conv=conv, channels=4, layers=2, **options)
    edged = "edge_dim" in options
    return Case(
        f"MessagePassingNet {conv}{' with edges' * edged}",
        build,
        test_spen.graph if edged else plain_graph,
        "graph:scalar",
        extra=lambda module, tensors, graphs: {"num_graphs": graphs},
    )


def plain_graph(pos: Tensor, edge_index: Tensor, generator: Generator) -> Typed:
    typed = test_spen.graph(pos, edge_index, generator)
    return {name: pair for name, pair in typed.items() if name != "edge_attr"}


def categories(pos: Tensor, edge_index: Tensor, generator: Generator) -> Typed:
    """Kinds of atoms and bonds."""
    x = torch.randint(5, (len(pos), 1), generator=generator)
    kinds = torch.randint(3, (edge_index.size(1), 1), generator=generator)
    batch = torch.zeros(len(pos), dtype=torch.long)
    return {
        "x": (x, "scalar"),
        "edge_index": (edge_index, "edge_index"),
        "edge_attr": (kinds, "edge_scalar"),
        "batch": (batch, "batch"),
    }


def points(pos: Tensor, edge_index: Tensor, generator: Generator) -> Typed:
    typed = test_ponita.graph(pos, edge_index, generator)
    return {name: typed[name] for name in ("pos", "edge_index", "x")}


def charges(pos: Tensor, edge_index: Tensor, generator: Generator) -> Typed:
    typed = TestContract.inputs(pos, edge_index, generator)
    values = torch.randn(len(pos), generator=generator, dtype=pos.dtype)
    return {"charges": (values, "scalar"), "pos": typed["pos"], "batch": typed["batch"]}


def calibrated() -> nn.Module:
    net = PONITA(4, 0, 1, 0, channels=4, basis=4, layers=1, cutoff=3.0)
    return CalibratedPotential(net, last=net.last_weights, features=4)


OTHERS = (
    Case(
        "GaussianCharges",
        GaussianCharges,
        charges,
        "scalar",
        groups=("E(3)",),
        extra=lambda module, tensors, graphs: {"num_graphs": graphs},
    ),
    Case(
        "CalibratedPotential",
        calibrated,
        TestContract.inputs,
        ("graph:scalar", "graph:scalar", "scalar"),
        groups=("T(3)",),
        extra=TestContract.extra,
    ),
    Case(
        "IGN",
        partial(IGN, 2, 3, channels=4, layers=1, edge_dim=1),
        test_spen.graph,
        "graph:scalar",
        extra=test_spen.plan,
    ),
    passing("GIN"),
    passing("GIN", edge_dim=1),
    passing("PNA", degrees=[1, 4, 3, 2]),
    Case(
        "MonoidGNN on categories",
        partial(MonoidGNN, [5], "sum", out_graph=2, channels=4, layers=2, edge_dim=[3]),
        categories,
        "graph:scalar",
        extra=lambda module, tensors, graphs: {"num_graphs": graphs},
    ),
    # of the rotations of a grid, its turned copies share the inversion alone
    Case("RotationAverage", average, points, "scalar", groups=("T(3)", -torch.eye(3)[None])),
)
