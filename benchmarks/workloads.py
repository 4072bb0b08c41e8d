"""Steps that are timed, and whose operations are counted: layers and models at given sizes.

Inputs are random with a fixed seed, so that no files are needed, and steps of the same sizes in
another precision have the same weights and inputs up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import torch
from e3nn import o3
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch_geometric.nn.aggr import GRUAggregation, LCMAggregation

from benchmarks.peers.edge_convolutions import ProductConvolution, SO2Convolution
from benchmarks.peers.fa_gnn_direct import PlainGNN
from benchmarks.peers.ponita_direct import DirectPONITA
from benchmarks.structures import THREE_BPA, molecule
from geqlib.atoms.forces import compiled_energy_forces, energy_forces
from geqlib.atoms.potential import Potential
from geqlib.frames.eigen3 import symmetric_eigen
from geqlib.graph import radius_graph
from geqlib.graph.checks import values_unread
from geqlib.models import FAGNN, PONITA, SPEN, GauntNet, MessagePassingNet
from geqlib.monoid.tree import tree_plan
from geqlib.nn import (
    FrameAveraging,
    GauntConvolution,
    GauntPower,
    GauntTensorProduct,
    LogGaussianBasis,
    MonoidAggregation,
)

Precision = Literal["fp32", "TF32", "bf16"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "TF32", "bf16")
CUTOFF = 5.0


@dataclass(frozen=True)
class Place:
    """Where a step runs, and in which precision.

    Args:
        device: of weights and inputs.
        dtype: of weights and inputs.
        precision: "fp32" computes as `dtype` says; "TF32" lets float32 matrix products round
            their inputs to 10 bits on a CUDA device; "bf16" is autocast.
    """

    device: torch.device
    dtype: torch.dtype = torch.float32
    precision: Precision = "fp32"

    def put(self, value: Any) -> Any:
        """A module, a plan or a tensor there; indices keep their type."""
        if isinstance(value, Tensor) and not value.is_floating_point():
            return value.to(self.device)
        if isinstance(value, nn.Module) and self.dtype == torch.get_default_dtype():
            return value.to(self.device)  # constants stay in float64, as in training
        if isinstance(value, Tensor | nn.Module):
            return value.to(self.device, self.dtype)
        return value.to(self.device)

    @contextmanager
    def context(self) -> Iterator[None]:
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high" if self.precision == "TF32" else "highest")
        try:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
                yield
        finally:
            torch.set_float32_matmul_precision(before)


CPU = Place(torch.device("cpu"))


@dataclass(frozen=True)
class Step:
    """Work that is repeated: output, loss, gradients and, if there is an optimiser, the update.

    Args:
        output: tensors, which are compared between precisions.
        leaves: tensors whose gradients a step computes; without any it only goes forward.
        place: in which precision it computes.
        update: the optimiser.
        loss: of the output; the mean of its squares by default.
    """

    output: Callable[[], Tensor | tuple[Tensor, ...]]
    leaves: tuple[Tensor, ...]
    place: Place
    update: torch.optim.Optimizer | None = None
    loss: Callable[[Any], Tensor] = lambda output: output.square().mean()

    def result(self) -> Tensor:
        """The outputs in one vector, in float64."""
        with self.place.context():
            out = self.output()
        parts = out if isinstance(out, tuple) else (out,)
        return torch.cat([part.detach().flatten().double() for part in parts])

    def forward(self) -> Tensor:
        """The loss."""
        with self.place.context():
            return self.loss(self.output())

    def __call__(self) -> Tensor:
        """The whole step; returns the loss, or the output if there is nothing to differentiate."""
        for leaf in self.leaves:
            leaf.grad = None
        if not self.leaves:
            with self.place.context():
                out = self.output()
            return (out[0] if isinstance(out, tuple) else out).detach()
        loss = self.forward()
        loss.backward()
        if self.update is not None:
            self.update.step()
        return loss.detach()


def trained(place: Place, parameters: Sequence[Tensor]) -> torch.optim.Optimizer:
    """Adam that a CUDA graph can replay, and that leaves the weights where they are.

    So every step computes the same, and a replayed one can be compared.
    """
    capturable = place.device.type == "cuda"
    return torch.optim.Adam(parameters, 1e-15, fused=capturable, capturable=capturable)


def natural(channels: int, degree: int) -> o3.Irreps:
    """Irreps of natural parity."""
    return o3.Irreps([(channels, (ell, (-1) ** ell)) for ell in range(degree + 1)])


def complete_graphs(graphs: int, nodes: int) -> tuple[Tensor, Tensor]:
    """Edges between all nodes of each graph, without self-loops, and the graph of each node."""
    edges = (~torch.eye(nodes, dtype=torch.bool)).nonzero().T
    shift = nodes * torch.arange(graphs).repeat_interleave(edges.size(1))
    return edges.repeat(1, graphs) + shift, torch.arange(graphs).repeat_interleave(nodes)


# --- PONITA -----------------------------------------------------------------------------------


def ponita(
    place: Place,
    graphs: int = 100,
    nodes: int = 5,
    *,
    channels: int = 128,
    basis: int = 256,
    layers: int = 5,
    orientations: int = 16,
    planned: bool = True,
    direct: bool = False,
    update: bool = False,
) -> Step:
    """Complete graphs as in the n-body experiment, at the published size by default.

    Args:
        place: where.
        graphs, nodes: graphs of so many nodes each.
        channels, basis, layers, orientations: of the network.
        planned: whether the plan is made before; else in every step.
        direct: whether the published algorithm, written directly, takes the place of geqlib's.
        update: whether Adam's update belongs to the step.
    """
    torch.manual_seed(0)
    model = PONITA(
        *(1, 1, 0, 1),
        edge_dim=1,
        channels=channels,
        basis=basis,
        layers=layers,
        orientations=orientations,
    )
    edge_index, _ = complete_graphs(graphs, nodes)
    count = graphs * nodes
    charge = torch.randint(2, (count,)) * 2.0 - 1
    pos, vec, x = torch.randn(count, 3), torch.randn(count, 1, 3), torch.ones(count, 1)
    attributes = (charge[edge_index[0]] * charge[edge_index[1]])[:, None]
    tensors = (pos, edge_index, x, vec, attributes)
    model, inputs = place.put(model), tuple(map(place.put, tensors))
    optimizer = trained(place, list(model.parameters())) if update else None
    if direct:
        peer = DirectPONITA(model)
        return Step(lambda: peer(*inputs), tuple(model.parameters()), place, optimizer)

    def plan() -> Any:
        return model.plan(inputs[1], count, inputs[4])

    before = plan()
    return Step(
        lambda: model(*inputs, plan=before if planned else plan())[1],
        tuple(model.parameters()),
        place,
        optimizer,
    )


# --- potentials -------------------------------------------------------------------------------


def molecules(count: int) -> dict[str, Any]:
    """Copies of one frame of 3BPA, 27 atoms each, all of them moved a little."""
    atoms = molecule(THREE_BPA)
    size = len(atoms.numbers)
    pos = torch.tensor(atoms.positions, dtype=torch.float32).repeat(count, 1)
    pos = pos + 0.02 * torch.randn(len(pos), 3)
    batch = torch.arange(count).repeat_interleave(size)
    z = torch.tensor(atoms.numbers, dtype=torch.long).repeat(count)
    return {"pos": pos, "z": z, "edge_index": radius_graph(pos, CUTOFF, batch), "batch": batch}


def gaunt_potential(
    place: Place,
    graphs: int = 5,
    *,
    channels: int = 128,
    layers: int = 2,
    degree: int = 3,
    train: bool = True,
    backend: str = "",
) -> Step:
    """GauntNet at the sizes of MACE's 3BPA example: see `potential`."""
    torch.manual_seed(0)
    net = GauntNet(
        ["H", "C", "N", "O"],
        channels=channels,
        degree=degree,
        hidden_degree=1,
        order=3,
        layers=layers,
        cutoff=CUTOFF,
    )
    return potential(place, net, graphs, train=train, backend=backend)


def ponita_potential(
    place: Place,
    graphs: int = 5,
    *,
    channels: int = 128,
    layers: int = 4,
    orientations: int = 16,
    train: bool = True,
) -> Step:
    torch.manual_seed(0)
    """PONITA as in configs/3bpa_ponita.yaml, wider: see `potential`."""
    sizes: dict[str, Any] = {"channels": channels, "layers": layers, "orientations": orientations}
    radial = LogGaussianBasis(count=12, r_min=0.5, r_max=5.5)
    net = PONITA(16, 0, 1, 0, factored=True, cutoff=CUTOFF, radial=radial, **sizes)
    return potential(place, net, graphs, train=train)


def potential(place: Place, net: nn.Module, graphs: int, *, train: bool, backend: str = "") -> Step:
    """Energies and forces of molecules, and in training the gradient of their squares.

    Args:
        place: where.
        net: network on atoms; the plan is made before.
        graphs: molecules in the batch.
        train: whether there is a gradient.
        backend: of `compiled_energy_forces`; "" for eager steps.
    """
    whole = place.put(Potential(net))
    batch = {key: place.put(value) for key, value in molecules(graphs).items()}
    batch["plan"] = whole.plan(batch["edge_index"], len(batch["pos"]))
    if backend:
        run: Callable[..., dict[str, Tensor]] = compiled_energy_forces(whole, backend=backend)
    else:
        run = partial(energy_forces, whole, create_graph=train, check=False)
    if not train:
        whole.requires_grad_(False)

    def output() -> tuple[Tensor, Tensor]:
        with values_unread():  # as in training, from the second epoch on
            out = run(**batch, num_graphs=graphs)
        return out["energy"], out["forces"]

    def loss(out: tuple[Tensor, Tensor]) -> Tensor:
        return out[0].square().mean() + out[1].square().mean()

    return Step(output, tuple(whole.parameters()) if train else (), place, None, loss)


# --- products on the sphere -------------------------------------------------------------------


def convolution(
    place: Place,
    degree: int,
    *,
    nodes: int = 2000,
    neighbors: int = 20,
    channels: int = 64,
    form: Literal["geqlib", "uvu", "SO(2)"] = "geqlib",
) -> Step:
    """A convolution over edges, with gradients to features, directions and weights."""
    torch.manual_seed(0)
    if form == "geqlib":
        irreps = natural(channels, degree)
        layer: Any = GauntConvolution(irreps, irreps, degree)
        shape: tuple[int, ...] = (degree + 1, channels)
    else:
        layer = (
            ProductConvolution(channels, degree, full=False)
            if form == "uvu"
            else SO2Convolution(channels, degree)
        )
        shape = (layer.weights,)
    layer = place.put(layer)
    x, direction, edge_index = edge_inputs(place, degree, nodes, neighbors, channels)
    weight = place.put(torch.randn(nodes * neighbors, *shape)).requires_grad_()
    leaves = (x, direction, weight, *layer.parameters())
    return Step(lambda: layer(x, direction, weight, edge_index), leaves, place)


def edge_inputs(
    place: Place, degree: int, nodes: int, neighbors: int, channels: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Features, directions of edges and edges, in the order of their targets."""
    generator = torch.Generator().manual_seed(0)
    edges = nodes * neighbors
    x = torch.randn(nodes, channels * (degree + 1) ** 2, generator=generator)
    direction = normalize(torch.randn(edges, 3, generator=generator), dim=1)
    source = torch.randint(nodes, (edges,), generator=generator)
    edge_index = torch.stack([source, torch.arange(nodes).repeat_interleave(neighbors)])
    leaves = (place.put(t).requires_grad_() for t in (x, direction))
    return *leaves, place.put(edge_index)  # type: ignore[return-value]


def product(
    place: Place,
    degree: int,
    *,
    nodes: int = 4096,
    channels: int = 64,
    method: str = "grid",
) -> Step:
    """A Gaunt product channel by channel; "e3nn" is e3nn's `TensorProduct` with uuu paths."""
    torch.manual_seed(0)
    irreps = natural(channels, degree)
    if method == "e3nn":
        span = range(degree + 1)
        paths = [
            (i, j, k, "uuu", False)
            for i in span
            for j in span
            for k in range(abs(i - j), min(i + j, degree) + 1, 2)
        ]
        layer: Any = o3.TensorProduct(irreps, irreps, irreps, paths)
    else:
        layer = GauntTensorProduct(irreps, irreps, irreps, method=method)  # type: ignore[arg-type]
    layer = place.put(layer)
    x, y = (place.put(torch.randn(nodes, irreps.dim)).requires_grad_() for _ in range(2))
    return Step(lambda: layer(x, y), (x, y), place)


def power(
    place: Place, degree: int, *, nodes: int = 2000, channels: int = 128, order: int = 3
) -> Step:
    torch.manual_seed(0)
    irreps = natural(channels, degree)
    layer = place.put(GauntPower(irreps, irreps, order, elements=4))
    x = place.put(torch.randn(nodes, irreps.dim)).requires_grad_()
    element = place.put(torch.arange(nodes) % 4)
    return Step(lambda: layer(x, element), (x, *layer.parameters()), place)


# --- sets and graphs --------------------------------------------------------------------------


def monoid(
    place: Place,
    sizes: Sequence[int],
    *,
    channels: int = 64,
    kind: Literal["geqlib", "planned", "LCM", "GRU"] = "geqlib",
) -> Step:
    """Sets reduced by the symmetric GRU, or by aggregations of torch_geometric."""
    torch.manual_seed(0)
    index = place.put(torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes)))
    x = place.put(torch.randn(len(index), channels)).requires_grad_()
    options: dict[str, Any] = {"dim_size": len(sizes)}
    if kind in ("geqlib", "planned"):
        layer: Any = MonoidAggregation(channels, operator="gru")
        if kind == "planned":
            options = {"plan": tree_plan(index, len(sizes))}
    else:
        options["max_num_elements"] = max(sizes)
        layer = (
            LCMAggregation(channels, channels, project=False)
            if kind == "LCM"
            else GRUAggregation(channels, channels)
        )
    layer = place.put(layer)
    arguments = (x,) if kind == "planned" else (x, index)
    return Step(
        lambda: layer(*arguments, **options),
        (x, *layer.parameters()),
        place,
        loss=lambda out: out.square().sum(),
    )


def rings(graphs: int, nodes: int) -> tuple[Tensor, Tensor]:
    """Rings whose nodes are joined with the four nearest: as many edges as graphs of PROTEINS."""
    ring = torch.arange(nodes)
    one = torch.cat([torch.stack([ring, (ring + d) % nodes]) for d in (1, -1, 2, -2)], 1)
    shift = nodes * torch.arange(graphs).repeat_interleave(one.size(1))
    return one.repeat(1, graphs) + shift, torch.arange(graphs).repeat_interleave(nodes)


def ego_nets(
    place: Place,
    graphs: int = 256,
    nodes: int = 39,
    *,
    channels: int = 64,
    layers: int = 4,
    kind: Literal["SPEN", "planned", "GIN"] = "SPEN",
    update: bool = True,
) -> Step:
    """SPEN with symmetric maps on graphs as large as those of PROTEINS, or GIN."""
    torch.manual_seed(0)
    edge_index, batch = rings(graphs, nodes)
    x, y = torch.eye(3)[torch.randint(3, (graphs * nodes,))], torch.randint(2, (graphs,))
    x, edge_index, batch, y = map(place.put, (x, edge_index, batch, y))
    size: dict[str, Any] = {"channels": channels, "layers": layers}
    if kind == "GIN":
        model: Any = place.put(MessagePassingNet(3, 2, **size))
        output = lambda: model(x, edge_index, batch, graphs)  # noqa: E731
    else:
        model = place.put(SPEN(3, 2, symmetric=True, **size))
        plan = model.plan(edge_index, len(x)) if kind == "planned" else None
        output = lambda: model(  # noqa: E731
            x, edge_index, batch=batch, num_graphs=graphs, plan=plan
        )
    parameters = tuple(model.parameters())
    optimizer = trained(place, list(parameters)) if update else None
    loss = nn.CrossEntropyLoss()
    return Step(output, parameters, place, optimizer, lambda out: loss(out, y))


class Wrapped(nn.Module):
    """The backbone of FA-GNN as a user puts it into `FrameAveraging`."""

    def __init__(self, plain: PlainGNN) -> None:
        super().__init__()
        self.plain = plain

    def forward(
        self, pos: Tensor, vec: Tensor, edge_index: Tensor, edge_attr: Tensor, batch: Tensor
    ) -> Tensor:
        return self.plain(pos, edge_index, vec, edge_attr)[:, None]


def frames(
    place: Place,
    graphs: int = 100,
    *,
    kind: Literal["FAGNN", "backbone", "FrameAveraging"] = "FAGNN",
    **options: Any,
) -> Step:
    """FA-GNN on complete graphs of 5 nodes, its plain backbone, or that in the generic wrapper."""
    torch.manual_seed(0)
    edge_index, batch = complete_graphs(graphs, 5)
    pos, vec = torch.randn(5 * graphs, 3), torch.randn(5 * graphs, 1, 3)
    tensors = {"pos": pos, "vec": vec, "edge_index": edge_index, "batch": batch}
    tensors["edge_attr"] = torch.randn(edge_index.size(1), 1)
    inputs = {name: place.put(tensor) for name, tensor in tensors.items()}
    net = place.put(FAGNN(0, 1, 0, 1, edge_dim=1, detach=True, **options))
    if kind == "FAGNN":
        return Step(lambda: net(**inputs, num_graphs=graphs)[1], tuple(net.parameters()), place)
    plain = PlainGNN(net)
    if kind == "backbone":
        flat = [inputs[name] for name in ("pos", "edge_index", "vec", "edge_attr")]
        return Step(lambda: plain(*flat), tuple(plain.parameters()), place)
    types = {"pos": "point", "vec": "vector", "edge_index": "edge_index"}
    wrapper = FrameAveraging(
        Wrapped(plain), "E(3)", inputs=types | {"edge_attr": "edge:scalar"}, outputs="vector"
    )
    return Step(lambda: wrapper(**inputs), tuple(plain.parameters()), place)


def eigenvectors(
    place: Place, count: int = 100_000, *, kind: Literal["geqlib", "torch"] = "geqlib"
) -> Step:
    """Decompositions of 3 x 3 covariances in float64, forward only."""
    points = torch.randn(count, 5, 3, generator=torch.Generator().manual_seed(0)).double()
    matrix = (points.mT @ points).to(place.device)
    decompose = symmetric_eigen if kind == "geqlib" else torch.linalg.eigh
    return Step(lambda: decompose(matrix)[1], (), replace(place, dtype=torch.float64))
