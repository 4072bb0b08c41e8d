"""Padding changes neither losses nor gradients nor predictions, of every task and family."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from geqlib.graph.padding import Sizes, mixing_layers, padded, rounded_up, sizes_of
from geqlib.models import (
    DPA3,
    PONITA,
    SPEN,
    EScAIP,
    GauntNet,
    MoleculeModel,
    MonoidGNN,
    SetNetwork,
)
from geqlib.radial import LogGaussianBasis
from geqlib.train import (
    BitsTask,
    ClassificationTask,
    DisplacementTask,
    EnergyForces,
    GraphClassificationTask,
    LinkPredictionTask,
    MaskedClassificationTask,
    MaskedRegressionTask,
    MultitaskTask,
    NodeClassificationTask,
    NormalsTask,
    PropertyTask,
    RegressionTask,
    Task,
)
from geqlib.train.steps.replay import Replay
from tests.train.ragged import double, ragged_batch

SMALL: dict[str, Any] = {"channels": 4, "layers": 1}
GRAPH: dict[str, Any] = SMALL | {"level": "graph", "orientations": 4}
MOVES = ("pos", "vec", "x", "edge_attr")
BARE = ("pos", "z", "cell", "cell_shift", "energy", "forces", "stress")
ATOMS = (*BARE, "reverse")


def moves(**options: Any) -> Callable[[], Task]:
    return lambda: DisplacementTask(
        PONITA(2, 1, 0, 1, **SMALL, edge_dim=1, **options), loss="rmse", rotate=False
    )


def potential(net: Callable[[], Any], **options: Any) -> Callable[[], Task]:
    return lambda: EnergyForces(net(), **options)


def ponita() -> Any:
    return PONITA(4, 0, 1, 0, **SMALL, orientations=4, cutoff=3.0)


def gaunt() -> Any:
    return GauntNet(["H", "C"], cutoff=3.0, **SMALL)


def escaip() -> Any:
    return EScAIP(4, 1, channels=8, layers=2, heads=2, gaussians=4, radial=4, cutoff=3.0, k=3)


def dpa3() -> Any:
    short: dict[str, Any] = {"cutoff": 3.0, "switch": 2.5, "angle_cutoff": 2.5, "angle_switch": 2.0}
    return DPA3(8, 4, 4, compressed=4, layers=2, readout=[8], **short)


def properties(net: Callable[[], Any], **options: Any) -> Callable[[], Task]:
    named = {"dipole": "graph:vector", "charges": "scalar", "gap": "graph:scalar"}
    return lambda: PropertyTask(net(), named, **options)


def channels() -> Any:
    return PONITA(4, 0, 2, 1, **SMALL, orientations=4, cutoff=3.0)


def monoid(**options: Any) -> Any:
    return MonoidGNN(2, "max", **options)


Case = tuple[Callable[[], Task], tuple[str, ...], dict[str, str]]
CASES: dict[str, Case] = {
    "displacement": (moves(orientations=4), MOVES, {"y": "shift"}),
    "displacement full": (moves(orientations=4, separable=False), MOVES, {"y": "shift"}),
    "displacement factored": (
        moves(orientations=4, factored=True, radial=LogGaussianBasis()),
        MOVES,
        {"y": "shift"},
    ),
    "displacement R3": (moves(space="R3", orientations=None), MOVES, {"y": "shift"}),
    "displacement SE3": (moves(space="SE3", orientations=4), MOVES, {"y": "shift"}),
    "displacement max": (moves(orientations=4, aggr="max"), MOVES, {"y": "shift"}),
    "normals": (
        lambda: NormalsTask(PONITA(2, 0, 0, 1, **SMALL, orientations=4)),
        ("pos", "x", "normal"),
        {},
    ),
    "classification": (
        lambda: ClassificationTask(PONITA(2, 0, 2, 0, **GRAPH), 2, label_smoothing=0.1),
        ("pos", "x"),
        {"y": "label"},
    ),
    "regression": (
        lambda: RegressionTask(MoleculeModel(gaunt()), loss="mse"),
        ("pos", "z", "y"),
        {},
    ),
    "multitask max": (
        lambda: MultitaskTask(MonoidGNN(2, "max", out_node=3, out_graph=3)),
        ("x", "y_node", "y_graph"),
        {},
    ),
    "bits": (lambda: BitsTask(SetNetwork(4, "sum", out_bits=1)), (), {"x": "z", "y": "y"}),
    "masked regression": (
        lambda: MaskedRegressionTask(monoid(out_graph=3), 3, loss="mse"),
        ("x",),
        {"y": "targets"},
    ),
    "masked regression nodes": (
        lambda: MaskedRegressionTask(monoid(out_node=2), 2, level="node"),
        ("x",),
        {"y": "classes"},
    ),
    "masked classification": (
        lambda: MaskedClassificationTask(monoid(out_node=2), 2, level="node"),
        ("x",),
        {"y": "classes"},
    ),
    "classes of nodes": (
        lambda: NodeClassificationTask(monoid(out_node=3), 3, label_smoothing=0.1),
        ("x",),
        {"y": "kind"},
    ),
    "links": (
        lambda: LinkPredictionTask(monoid(out_node=4)),
        ("x", "edge_label", "edge_label_index"),
        {},
    ),
    "properties": (properties(channels), ("pos", "z", "charges", "dipole", "gap"), {}),
    "properties mae": (
        properties(channels, loss="mae", intensive=["gap"]),
        ("pos", "z", "charges", "dipole", "gap"),
        {},
    ),
    "energy ponita": (potential(ponita, stress_weight=1.0), ATOMS, {}),
    "energy ponita huber": (potential(ponita, loss="huber", zbl=True), BARE, {}),
    "energy gaunt": (potential(gaunt, stress_weight=1.0), ATOMS, {}),
    "energy escaip": (potential(escaip, stress_weight=1.0), ATOMS, {}),
    "energy dpa3": (potential(dpa3, stress_weight=1.0), ATOMS, {}),
}
REPLAYED = (
    "displacement",
    "regression",
    "multitask max",
    "masked regression",
    "masked classification",
    "classes of nodes",
    "links",
    "properties",
    "energy ponita",
    "energy gaunt",
    "energy escaip",
)
BATCHES = ([0, 1, 2], [3, 8, 5, 4])


def parts(name: str) -> tuple[Task, list[Any]]:
    make, names, labels = CASES[name]
    torch.manual_seed(0)
    task = make().double()
    batches = [double(ragged_batch(numbers, names=names, **labels)) for numbers in BATCHES]
    task._trainer = Fitting()  # type: ignore[assignment]
    return task, batches


class Fitting:
    """What tasks ask of a trainer while they fit."""

    training, world_size, precision, barebones = True, 1, "64-true", False
    accumulate_grad_batches = 1


def gradients(task: Task, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
    task.zero_grad()
    loss = task.with_auxiliary(task.loss(batch))
    loss.backward()
    return loss.detach(), {
        n: p.grad.clone() for n, p in task.named_parameters() if p.grad is not None
    }


@pytest.mark.filterwarnings("ignore:cuda_graphs")
@pytest.mark.parametrize("name", CASES)
def test_losses_and_gradients_are_those_of_the_plain_batch(name: str) -> None:
    """To rounding, in buckets of two sizes."""
    task, batches = parts(name)
    replay, seen = Replay(task), set()
    for batch in batches:
        packed = replay._padded(batch)
        bucket, _ = replay._bucket((), packed)
        assert bucket.batch.num_graphs > batch.num_graphs
        seen.add(packed.sizes)
        loss, grads = gradients(task, batch)
        padded_loss, padded_grads = gradients(task, bucket.batch)
        assert torch.allclose(loss, padded_loss, rtol=1e-11, atol=0)
        assert grads.keys() == padded_grads.keys()
        for key, grad in grads.items():
            assert torch.allclose(grad, padded_grads[key], rtol=1e-8, atol=1e-10), key
    assert len(seen) == 2


@pytest.mark.filterwarnings("ignore:cuda_graphs")
@pytest.mark.parametrize("name", REPLAYED)
def test_replayed_steps_are_plain_steps(name: str) -> None:
    """Also with buckets in turn, and predictions, cut to the real nodes and graphs."""
    task, batches = parts(name)
    replay = Replay(task)
    for batch in (*batches, *batches):
        loss, grads = gradients(task, batch)
        outputs = replay.step(batch, 1, first=True)
        assert outputs is not None and torch.allclose(outputs["total"], loss, rtol=1e-11)
        own = {n: p.grad for n, p in task.named_parameters() if p.grad is not None}
        for key, grad in grads.items():
            assert torch.allclose(own[key], grad, rtol=1e-8, atol=1e-10), key
    task.eval()
    for batch in (*batches, *batches):
        plain = task.predict_outputs(batch)
        outputs = replay.evaluate(batch, task.predict_outputs, "")
        assert outputs is not None
        for key, value in outputs[0].items():
            assert torch.allclose(value, plain[key].detach(), rtol=1e-10, atol=1e-12), key
    assert not replay.refused and len(replay.buckets) == 4


def test_norms_over_all_nodes_are_refused() -> None:
    """With a sentence that names them, once."""
    torch.manual_seed(0)
    task = GraphClassificationTask(SPEN(2, 2, **SMALL), 2)
    task._trainer = Fitting()  # type: ignore[assignment]
    batch = ragged_batch([0, 1], names=("x",), y="label")
    with pytest.warns(UserWarning, match="cpu has no CUDA graphs"):
        replay = Replay(task)
    with pytest.warns(UserWarning, match="because BatchNorm1d takes statistics over all nodes"):
        assert replay.step(batch, 1, first=True) is None
    assert replay.step(batch, 1, first=True) is None
    assert mixing_layers(task.model) == ["BatchNorm1d"]


class WholeBatch(PONITA):
    """A network that looks at all graphs of a batch at once."""

    def forward(self, pos: Tensor, edge_index: Tensor, x: Tensor, plan: Any = None) -> Any:  # type: ignore[override]
        scalars, vectors = super().forward(pos - pos.mean(0).square(), edge_index, x=x, plan=plan)
        return scalars - pos.mean(), vectors * pos.mean()


class Unpadded(DisplacementTask):
    """A loss in which padding counts."""

    def loss(self, batch: Any) -> Tensor:
        return self.predict_outputs(batch)["y"].square().mean()


class Reading(PONITA):
    """A network that looks at a value."""

    def forward(self, pos: Tensor, edge_index: Tensor, x: Tensor, plan: Any = None) -> Any:  # type: ignore[override]
        factor = 2.0 if bool(pos.sum() > 0) else 1.0
        return super().forward(pos * factor, edge_index, x=x, plan=plan)


@pytest.mark.filterwarnings("ignore:cuda_graphs. cpu")
@pytest.mark.parametrize(
    ("task", "reason"),
    [
        (DisplacementTask(WholeBatch(2, 0, 0, 1, **SMALL)), "padding changes"),
        (Unpadded(PONITA(2, 0, 0, 1, **SMALL)), "padding changes the loss"),
        (DisplacementTask(Reading(2, 0, 0, 1, **SMALL)), "Reading reads values"),
    ],
)
def test_what_cannot_be_replayed_is_noticed(task: Task, reason: str) -> None:
    """A model or a loss of a user's, before anything of it is recorded."""
    task._trainer = Fitting()  # type: ignore[assignment]
    batch = ragged_batch([0, 1, 2], names=("pos", "x"), y="shift")
    before = [p.clone() for p in task.parameters()]
    replay = Replay(task)
    with pytest.warns(UserWarning, match=reason):
        assert replay.step(batch, 1, first=True) is None
    assert all(torch.equal(a, b) for a, b in zip(before, task.parameters(), strict=True))


@pytest.mark.parametrize(
    "sizes", [(1, 0, 1), (21, 420, 1), (500, 2000, 100), (13, 27, 2), (9, 9, 3)]
)
def test_sizes_of_buckets(sizes: tuple[int, int, int]) -> None:
    """A graph of padding with a pair of nodes, pairs of edges, and a size for each level."""
    real = Sizes(*sizes)
    whole = real.rounded()
    assert whole.graphs > real.graphs
    assert whole.nodes - real.nodes >= 2 * (whole.graphs - real.graphs)
    assert (whole.edges - real.edges) % 2 == 0
    assert whole.nodes not in (whole.edges, whole.graphs)
    assert whole.edges <= max(1.126 * real.edges + 1, 2)
    assert len({rounded_up(n) for n in range(1000, 2001)}) == 9


def test_padding_joins_nobody() -> None:
    """Its edges stay in its own graphs, each beside its reverse; `ptr` counts on."""
    batch = ragged_batch([3, 8, 5, 4, 1], names=("pos", "x", "edge_attr"))
    tensors = batch.to_dict()
    tensors["reverse"] = torch.zeros(batch.edge_index.size(1), dtype=torch.long)
    real = sizes_of(tensors, batch.num_graphs)
    sizes = Sizes(real.nodes + 9, real.edges + 22, real.graphs + 3)
    more = padded(tensors, real, sizes)
    edges = more["edge_index"][:, real.edges :]
    assert int(edges.min()) >= real.nodes and int(edges.max()) < sizes.nodes
    source, target = more["batch"][edges]
    assert torch.equal(source, target) and bool((edges[0] != edges[1]).all())
    back = more["reverse"][real.edges :] - real.edges
    assert torch.equal(edges[:, back], edges.flip(0))
    assert torch.equal(more["ptr"].diff(), more["batch"].bincount(minlength=sizes.graphs))
    assert sorted(set(more["batch"][real.nodes :].tolist())) == [5, 6, 7]
    assert bool((more["batch"].diff() >= 0).all())
    assert int(edges.flatten().bincount().max()) <= 14


def test_tensors_of_no_level_are_refused() -> None:
    """With their name, in a sentence."""
    tensors = {"batch": torch.zeros(3, dtype=torch.long), "rings": torch.zeros(7)}
    with pytest.raises(ValueError, match="the tensor rings of shape"):
        padded(tensors, Sizes(3, 0, 1), Sizes(6, 0, 2))
    with pytest.raises(ValueError, match="no nodes"):
        padded({"batch": torch.zeros(0, dtype=torch.long)}, Sizes(0, 0, 1), Sizes(2, 0, 2))
