"""An instance of every public layer and model in several variants, with weights and inputs.

All numbers are drawn by integer arithmetic, so that they are the same on every machine.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from math import sqrt
from typing import Any, NamedTuple
from zlib import crc32

import torch
from e3nn import o3
from torch import Tensor, nn

from geqlib import models
from geqlib import nn as layers
from geqlib.graph import neighbor_list
from tests.first_edition.networks import Cloud, Convolution, EgoNets, Sum

# by the path of the first edition, which wrote the files with this module
grids = import_module("geqlib.geometry.grids")

EDGES = torch.tensor([[0, 1, 1, 2, 2, 3, 0, 3, 4, 5, 1], [1, 0, 2, 1, 3, 2, 3, 0, 5, 4, 3]])
BATCH = torch.tensor([0, 0, 0, 0, 1, 1])
NODES, EDGE_COUNT = 6, EDGES.size(1)
GRAPHS = {"batch": BATCH, "num_graphs": 2}


class Instance(NamedTuple):
    """A module and a call of it.

    Args:
        kinds: the public classes of which it is an example.
        build: makes it.
        call: evaluates it, in float64.
    """

    kinds: tuple[type, ...]
    build: Callable[[], nn.Module]
    call: Callable[[Any], Any]


def numbers(seed: str, *shape: int) -> Tensor:
    """Float64 numbers in (-1, 1) that depend on a name and a shape alone."""
    mask, count = (1 << 32) - 1, 1
    for size in shape:
        count *= size
    drawn = []
    for k in range(count):
        h = (crc32(seed.encode()) + (k + 1) * 2654435761) & mask
        for shift in (16, 15, 16):
            h = ((h ^ (h >> shift)) * 2246822519) & mask
        drawn.append((h + 0.5) / (1 << 31) - 1)
    return torch.tensor(drawn, dtype=torch.float64).reshape(shape)


def weight(key: str, shape: tuple[int, ...]) -> Tensor:
    """A parameter of a state dict: matrices keep the size of their inputs, vectors are near 1/2."""
    if len(shape) < 2:
        return 0.5 + 0.3 * numbers(key, *shape)
    return sqrt(3 / shape[-1]) * numbers(key, *shape)


POS = numbers("pos", NODES, 3)
FEATURES = {"x": numbers("x", NODES, 2), "vec": numbers("vec", NODES, 1, 3)}
ATTRIBUTES = numbers("attributes", EDGE_COUNT, 2)
Z = torch.tensor([1, 6, 8, 1, 1, 6])
AXES = torch.nn.functional.normalize(numbers("axes", NODES, 3), dim=1)
TURNS = torch.linalg.qr(numbers("turns", NODES, 3, 3)).Q
TURNS = TURNS * torch.linalg.det(TURNS)[:, None, None]
DIRECTION = 0.9 * torch.nn.functional.normalize(numbers("direction", EDGE_COUNT, 3), dim=1)


def convolution(space: str, orientations: int, *geometry: Any, **options: Any) -> Instance:
    """A `Convolution` on features of so many orientations of a node."""
    x = numbers("features", NODES, orientations, 3)
    pos = POS[:, : 2 if space.startswith("R2") else 3]
    kinds = (layers.KernelBasis, layers.PositionOrientationConv)
    return Instance(
        kinds, partial(Convolution, space, **options), lambda net: net(x, pos, EDGES, *geometry)
    )


def ponita(dim: int = 3, given: dict[str, Tensor] | None = None, **options: Any) -> Instance:
    small = {"channels": 4, "layers": 2, "basis": 3, "widen": 2}
    inputs = {"x": FEATURES["x"], "vec": FEATURES["vec"][..., :dim]} | (given or {})
    return Instance(
        (models.PONITA,),
        partial(models.PONITA, 2, 1, 2, 1, **(small | options)),
        lambda net: net(POS[:, :dim], EDGES, **inputs, **GRAPHS),
    )


def product(first: str, second: str, out: str, **options: Any) -> Instance:
    build = partial(layers.GauntTensorProduct, first, second, out, **options)
    x, y = (numbers(name, 5, o3.Irreps(name).dim) for name in (first, second))
    return Instance((layers.GauntTensorProduct,), build, lambda net: net(x, y))


def gaunt_convolution(method: str) -> Instance:
    build = partial(layers.GauntConvolution, "2x0e+2x1o+2x2e", "2x0e+2x1o+2x2e", 2, method=method)
    x, w = numbers("x", NODES, 18), numbers("w", EDGE_COUNT, 3, 2)
    return Instance((layers.GauntConvolution,), build, lambda net: net(x, DIRECTION, w, EDGES))


def monoid(*operator: Any, order: str = "stable") -> Instance:
    def build() -> nn.Module:
        built = [part() if callable(part) else part for part in operator]
        return layers.MonoidAggregation(4, built if len(built) > 1 else built[0], order=order)

    x, index = numbers("sets", 9, 4), torch.tensor([2, 0, 2, 2, 1, 1, 1, 1, 2])
    return Instance((layers.MonoidAggregation,), build, lambda net: net(x, index, dim_size=4))


def averaged(group: str, mode: str) -> Instance:
    def build() -> nn.Module:
        outputs = ("graph:scalar", "point")
        return layers.FrameAveraging(
            Cloud(), group, inputs={"pos": "point"}, outputs=outputs, mode=mode
        )

    pos, batch = numbers("cloud", 9, 3), torch.tensor([0, 0, 0, 0, 0, 1, 1, 1, 1])
    return Instance(
        (layers.FrameAveraging,), build, lambda net: net(pos=pos, batch=batch, num_graphs=2)
    )


def frames_of_points(group: str, dim: int = 3, **options: Any) -> Instance:
    sizes = {"channels": 6, "layers": 2, "hidden_vectors": 3}
    inputs = {"x": FEATURES["x"], "vec": FEATURES["vec"][..., :dim]}
    return Instance(
        (models.FAGNN,),
        partial(models.FAGNN, 2, 1, 2, 1, group=group, **(sizes | options)),
        lambda net: net(
            POS[:, :dim], EDGES, edge_attr=ATTRIBUTES if net.edge_dim else None, **inputs, **GRAPHS
        ),
    )


def graph_model(
    cls: Any,
    *sizes: Any,
    edge_index: Tensor = EDGES,
    edge_attr: Tensor | None = None,
    **options: Any,
) -> Instance:
    more = {} if edge_attr is None else {"edge_attr": edge_attr}
    return Instance(
        (cls,),
        partial(cls, *sizes, **options),
        lambda net: net(FEATURES["x"], edge_index, **more, **GRAPHS),
    )


def cloud_model(cls: Any, *sizes: Any, features: bool = False, **options: Any) -> Instance:
    given = FEATURES if features else {}
    return Instance(
        (cls,),
        partial(cls, *sizes, channels=8, **options),
        lambda net: net(POS, **given, **GRAPHS),
    )


def potential(build: Callable[[], nn.Module], *kinds: type) -> Instance:
    return Instance((models.Potential, *kinds), build, _energies)


def _energies(net: Any) -> Any:
    """Of a molecule and a crystal."""
    pos = 1.5 * POS
    cell = torch.stack([torch.zeros(3, 3), 2.5 * torch.eye(3)]).to(pos)
    near = neighbor_list(pos, 2.0, cell=cell, batch=BATCH)
    actual = models.energy_forces(
        net,
        pos=pos,
        z=Z,
        edge_index=near.edge_index,
        reverse=near.reverse,
        cell=cell,
        cell_shift=near.cell_shift,
        **GRAPHS,
    )
    return {name: actual[name].detach() for name in ("energy", "energies", "forces")}


def gaunt_net(*elements: str, **options: Any) -> Callable[[], models.GauntNet]:
    sizes = {"channels": 2, "degree": 2, "order": 2, "features": 4, "hidden": 5, "cutoff": 2.0}
    return partial(models.GauntNet, elements or ("H", "C", "O"), **(sizes | options))


def atomic_ponita(**options: Any) -> models.PONITA:
    small = {"channels": 4, "layers": 1, "basis": 3, "widen": 2, "cutoff": 2.0}
    return models.PONITA(3, 0, 1, 0, **(small | options))


def radial(count: int = 4) -> layers.LogGaussianBasis:
    return layers.LogGaussianBasis(count)


def sphere(count: int = 6) -> Tensor:
    return grids.sphere_grid(count)


GATED = ("2x0e+2x1o", "2x0e+2x1o", "2x0e+2x1o+2x2e")
MIXED = ("2x0e+1x1o+1x1e", "1x0e+2x1o", "2x0e+3x1o+1x1e+1x2e")

INSTANCES: dict[str, Instance] = {
    "ZBL": Instance(
        (layers.ZBL,), layers.ZBL, lambda net: net(POS, Z, EDGES, numbers("s", EDGE_COUNT, 3))
    ),
    "AggregateConv": Instance(
        (layers.AggregateConv,),
        lambda: layers.AggregateConv(4, layers.MonoidAggregation(4, "gru"), towers=2),
        lambda net: net(numbers("x", NODES, 4), EDGES),
    ),
    "AggregateConv edges": Instance(
        (layers.AggregateConv,),
        lambda: layers.AggregateConv(4, "max", edge_channels=2),
        lambda net: net(numbers("x", NODES, 4), EDGES, ATTRIBUTES),
    ),
    "BesselBasis": Instance(
        (layers.BesselBasis,),
        partial(layers.BesselBasis, 5, 3.0),
        lambda net: net(1 + numbers("d", 7)),
    ),
    "CategoryEmbedding": Instance(
        (layers.CategoryEmbedding,),
        partial(layers.CategoryEmbedding, [3, 2], 4),
        lambda net: net(torch.tensor([[0, 1], [2, 0], [1, 1]])),
    ),
    "FiberConv": Instance(
        (layers.FiberConv,),
        partial(layers.FiberConv, 3, 4),
        lambda net: net(numbers("x", NODES, 5, 3), numbers("psi", 5, 5, 4)),
    ),
    "FrameAveraging E(3)": averaged("E(3)", "full"),
    "FrameAveraging SE(3)": averaged("SE(3)", "full"),
    "FrameAveraging O(3) weighted": averaged("O(3)", "weighted"),
    "FrameAveraging SO(3) minimal": averaged("SO(3)", "minimal"),
    "FrameAveraging E(3) learned": averaged("E(3)", "learned"),
    "GauntConvolution auto": gaunt_convolution("auto"),
    "GauntConvolution neighbors": gaunt_convolution("neighbors"),
    "GauntConvolution grid": gaunt_convolution("grid"),
    "GauntConvolution aligned": gaunt_convolution("aligned"),
    "GauntPower": Instance(
        (layers.GauntPower,),
        partial(layers.GauntPower, "2x0e+2x1o+2x2e", "2x0e+2x1o", 3),
        lambda net: net(numbers("x", 5, 18)),
    ),
    "GauntPower elements": Instance(
        (layers.GauntPower,),
        partial(layers.GauntPower, "2x0e+2x1o", "2x0e+2x1o+2x2e", 2, elements=3),
        lambda net: net(numbers("x", 5, 8), torch.tensor([0, 2, 1, 0, 2])),
    ),
    "GauntTensorProduct auto": product(*GATED),
    "GauntTensorProduct sparse": product(*GATED, method="sparse"),
    "GauntTensorProduct grid degree": product(*GATED, method="grid", weights="degree"),
    "GauntTensorProduct separable rank": product(*GATED, method="separable", weights=2),
    "GauntTensorProduct fft all": product(*GATED[:2], "2x0e+2x1o+2x1e", method="fft", paths="all"),
    "GauntTensorProduct bracket": product(*GATED[:2], "2x1e", method="grid", paths="bracket"),
    "GauntTensorProduct mix": product(*MIXED, paths="all", weights="degree", mix=True),
    "GauntTensorProduct mix rank": product(*MIXED, paths="all", weights=3, mix=True),
    "R2": convolution("R2", 1),
    "R3 smooth": convolution("R3", 1, smooth=True, degree=2),
    "R3 radial": convolution("R3", 1, radial=radial(), cutoff=2.0, aggr="mean"),
    "R3 edges": convolution("R3", 1, ATTRIBUTES, edge_dim=2, bias=False),
    "R2xS1": convolution("R2xS1", 4, grid=grids.circle_grid(4)),
    "R2xS1 full chiral": convolution(
        "R2xS1", 3, grid=grids.circle_grid(3), separable=False, chiral=True
    ),
    "R3xS2": convolution("R3xS2", 6, grid=sphere()),
    "R3xS2 edges": convolution("R3xS2", 6, ATTRIBUTES, grid=sphere(), edge_dim=2),
    "R3xS2 full fourth": convolution("R3xS2", 2, grid=sphere(2), separable=False, fourth=True),
    "R3xS2 factored": convolution(
        "R3xS2", 6, grid=sphere(), factored=True, radial=radial(), cutoff=2.0
    ),
    "R3xS2 node": convolution("R3xS2", 1, None, AXES, fourth=True, chiral=True, degree=2),
    "SE3": convolution("SE3", 3, grid=grids.rotation_grid(3, "spiral"), degree=2),
    "SE3 node": convolution("SE3", 1, None, TURNS, degree=2),
    "SE3 without loops": convolution(
        "SE3", 3, grid=grids.rotation_grid(3, "spiral"), degree=1, self_loops=False
    ),
    "LogGaussianBasis": Instance(
        (layers.LogGaussianBasis,), radial, lambda net: net(1 + numbers("d", 7))
    ),
    "MonoidAggregation gru": monoid("gru"),
    "MonoidAggregation select": monoid("select"),
    "MonoidAggregation gated": monoid("gated"),
    "MonoidAggregation topk": monoid("topk"),
    "MonoidAggregation logsumexp": monoid("logsumexp"),
    "MonoidAggregation max": monoid("max"),
    "MonoidAggregation sum": monoid("sum"),
    "MonoidAggregation product": monoid("product"),
    "MonoidAggregation of a user": monoid(partial(Sum, 4)),
    "MonoidAggregation several": monoid("gru", "topk", partial(Sum, 4)),
    "MonoidAggregation canonical": monoid("gru", order="canonical"),
    "MonoidAggregation average": monoid("gru", order="average"),
    "PolynomialCutoff": Instance(
        (layers.PolynomialCutoff,),
        partial(layers.PolynomialCutoff, 1.5),
        lambda net: net(1 + numbers("d", 7)),
    ),
    "PolynomialFeatures": Instance(
        (layers.PolynomialFeatures,),
        partial(layers.PolynomialFeatures, 3, 3),
        lambda net: net(numbers("a", 5, 3)),
    ),
    "RadialNetwork": Instance(
        (layers.RadialNetwork,),
        partial(layers.RadialNetwork, 4, 1.5, count=5, hidden=6),
        lambda net: net(1 + numbers("d", 7)),
    ),
    "SelfMix": Instance(
        (layers.SelfMix,),
        partial(layers.SelfMix, "3x0e+2x1o+1x2e"),
        lambda net: net(numbers("x", 5, 14)),
    ),
    "SelfMix all": Instance(
        (layers.SelfMix,),
        partial(layers.SelfMix, "2x0e+2x1o+1x1e", paths="all", method="grid"),
        lambda net: net(numbers("x", 5, 11)),
    ),
    **{
        f"SubgraphConv {name}": Instance(
            (layers.SubgraphConv,),
            partial(EgoNets, **options),
            lambda net: net(FEATURES["x"], EDGES),
        )
        for name, options in {
            "shared": {},
            "centre": {"centre": True, "hops": 2},
            "symmetric": {"symmetric": True, "put_back": "sum"},
            "size": {"weights": "size", "sizes": [2, 3, 4]},
            "max": {"put_back": "max", "bias": False},
        }.items()
    },
    "PONITA": ponita(),
    "PONITA R3": ponita(space="R3", edge_dim=2, given={"edge_attr": ATTRIBUTES}),
    "PONITA R2": ponita(space="R2", dim=2, readouts="last", layer_scale=0.1),
    "PONITA R2xS1": ponita(space="R2xS1", orientations=5, dim=2, smooth=True),
    "PONITA SE3": ponita(space="SE3", orientations=4, degree=2),
    "PONITA factored": ponita(factored=True, radial=radial(), cutoff=2.0, level="graph"),
    "PONITA full": ponita(separable=False, orientations=3, fourth=True, chiral=True),
    "PONITA node": ponita(orientations=None, given={"ori": AXES}),
    "GauntNet": Instance((models.GauntNet,), gaunt_net(), lambda net: net(POS, Z, EDGES)),
    "GauntNet tensors": Instance(
        (models.GauntNet,),
        gaunt_net(layers=3, irreps_out="1x0e+1x1o+1x2e", aggr="max", order=3, width=3),
        lambda net: net(POS, Z, EDGES),
    ),
    "GauntNet density": Instance(
        (models.GauntNet,), gaunt_net(layers=1), lambda net: net(POS, Z, EDGES)
    ),
    "FAGNN E(3)": frames_of_points("E(3)"),
    "FAGNN SE(3)": frames_of_points("SE(3)", edge_dim=2, radial=radial(), hidden_scalars=2),
    "FAGNN O(2)": frames_of_points("O(2)", dim=2, detach=True),
    "Potential PONITA": potential(lambda: models.Potential(atomic_ponita(), zbl=True)),
    "Potential PONITA of graphs": potential(lambda: models.Potential(atomic_ponita(level="graph"))),
    "Potential GauntNet": potential(lambda: models.Potential(gaunt_net()())),
    "Potential RotationAverage": potential(
        lambda: models.Potential(models.RotationAverage(atomic_ponita(), 2)),
        models.RotationAverage,
    ),
    "MoleculeModel": Instance(
        (models.MoleculeModel,),
        lambda: models.MoleculeModel(atomic_ponita()),
        lambda net: net(POS, Z, EDGES, **GRAPHS),
    ),
    "SPEN": graph_model(models.SPEN, 2, 3, channels=3, layers=2),
    "SPEN edges": graph_model(
        models.SPEN,
        *(2, 3),
        edge_attr=ATTRIBUTES,
        edge_dim=2,
        channels=3,
        layers=2,
        orders=(0, 1, 2),
        centre=True,
        hops=2,
        norm="layer",
        act="elu",
    ),
    "SPEN symmetric": graph_model(
        models.SPEN, 2, 3, channels=3, layers=2, symmetric=True, put_back="sum", readout="mean"
    ),
    "SPEN alone": graph_model(models.SPEN, 2, 3, channels=3, layers=2, shared=False),
    "SPEN sizes": graph_model(
        models.SPEN, 2, 3, channels=2, layers=2, weights="size", sizes=[2, 3, 4], norm="none"
    ),
    "IGN": graph_model(models.IGN, 2, 3, channels=3, layers=2),
    "MessagePassingNet GIN": graph_model(models.MessagePassingNet, 2, 3, channels=4, layers=2),
    "MessagePassingNet PNA": graph_model(
        models.MessagePassingNet, 2, 3, conv="PNA", channels=3, layers=2, degrees=[0, 2, 3, 1]
    ),
    "FAMLP": graph_model(models.FAMLP, 2, 3, max_nodes=5, hidden=[6]),
    "FAMLP laplacian": graph_model(
        models.FAMLP,
        *(2, 3),
        edge_index=EDGES[:, :-1],  # both ways
        max_nodes=5,
        hidden=[6],
        act="tanh",
        orders="laplacian",
    ),
    "FAGIN": graph_model(models.FAGIN, 2, 3, max_nodes=5, channels=4, layers=2),
    "MonoidGNN": graph_model(
        models.MonoidGNN, 2, "max", out_node=2, out_graph=3, channels=4, towers=2, depth="half"
    ),
    "MonoidGNN edges": Instance(
        (models.MonoidGNN,),
        lambda: models.MonoidGNN(
            [4],
            layers.MonoidAggregation(4, "gru"),
            out_graph=2,
            channels=4,
            update="residual",
            edge_dim=[3],
            readout=layers.MonoidAggregation(4, "topk"),
        ),
        lambda net: net(
            torch.tensor([0, 3, 1, 2, 2, 0])[:, None], EDGES, EDGES.sum(0)[:, None] % 3, **GRAPHS
        ),
    ),
    "SetNetwork": Instance(
        (models.SetNetwork,),
        lambda: models.SetNetwork(4, layers.MonoidAggregation(4, "select"), out_bits=3),
        lambda net: net(torch.tensor([3, 255, 17, 0, 128, 64]), **GRAPHS),
    ),
    "PointNet": cloud_model(models.PointNet, 2, 1, level="node"),
    "PointNet features": cloud_model(
        models.PointNet, 2, 1, in_scalars=2, in_vectors=1, features=True
    ),
    "FAPointNet": cloud_model(models.FAPointNet, 2, 1),
    "FAPointNet features": cloud_model(
        models.FAPointNet, 2, 1, level="node", in_scalars=2, in_vectors=1, features=True
    ),
    "DGCNN": cloud_model(models.DGCNN, 2, 1, neighbors=2, layers=2),
    "FADGCNN": cloud_model(models.FADGCNN, 2, 1, neighbors=2, layers=2, group="SE(3)"),
    "FALocalPointNet": cloud_model(
        models.FALocalPointNet, 2, 1, neighbors=2, local_scalars=3, local_vectors=2
    ),
}


def filled(module: nn.Module) -> dict[str, Tensor]:
    """The state dict of a module, with parameters by `weight` and its own buffers."""
    state, known = module.state_dict(), dict(module.named_parameters(remove_duplicate=False))
    return {
        key: weight(key, tuple(value.shape)).to(value.dtype) if key in known else value
        for key, value in state.items()
    }


def results(name: str, module: nn.Module) -> dict[str, Tensor]:
    """Outputs of an instance in float64, by names or numbers."""
    actual = INSTANCES[name].call(module.double().eval())
    if isinstance(actual, dict):
        return {str(key): value.detach() for key, value in actual.items()}
    many = actual if isinstance(actual, tuple) else (actual,)
    return {str(number): value.detach() for number, value in enumerate(many)}
