"""Messages between local frames equal those edge by edge; frames fade where they are arbitrary."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from e3nn import o3
from torch import Tensor, nn

from geqlib.frames.frame_counts import watch_frames
from geqlib.frames.transport import into_frames, needed_axes, out_of_frames, terms_of
from geqlib.models import TransportNet
from geqlib.nn import FrameTransport, LocalFrames
from geqlib.symmetry.rotations import random_rotations
from geqlib.testing import degenerate_sets
from tests.contract import Case, Contract, Typed, all_edges
from tests.frames.oracle_transport import naive_frame, naive_messages, representation
from tests.frames.test_point_networks import NEAREST, cloud, size

IRREPS = "2x0e+1x0o+2x1o+1x1e+1x2e+1x2o+2x1o+1x3o"
DIM = o3.Irreps(IRREPS).dim


def random_axes(count: int, seed: int = 0, reflected: bool = False) -> Tensor:
    """[count, 3, 3] orthonormal; every second one left-handed if reflected."""
    generator = torch.Generator().manual_seed(seed)
    axes = random_rotations(count, 3, dtype=torch.float64, generator=generator)
    axes[::2] *= -1.0 if reflected else 1.0
    return axes


def turned_inputs(pos: Tensor, edge_index: Tensor, generator: torch.Generator) -> Typed:
    x = torch.randn(len(pos), DIM, generator=generator, dtype=torch.float64)
    axes = random_axes(len(pos), int(torch.randint(99, (1,), generator=generator)), reflected=True)
    certainty = torch.rand(len(pos), 3, generator=generator, dtype=torch.float64)
    return {
        "x": (x, "scalar"),
        "axes": (axes, "vector"),
        "edge_index": (edge_index, "edge_index"),
        "certainty": (certainty, "scalar"),
    }


class CertainAxes(nn.Module):
    """Axes times their certainties, which are equivariant vectors also where axes are arbitrary."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.frames = LocalFrames(1, 1, channels=4, **options)

    def reset_parameters(self) -> None:
        self.frames.reset_parameters()

    def forward(
        self, pos: Tensor, edge_index: Tensor, x: Tensor, vec: Tensor
    ) -> tuple[Tensor, Tensor]:
        axes, certainty = self.frames(pos, edge_index, x, vec)
        return axes * certainty[:, [2, 0, 1], None], certainty


def featured(pos: Tensor, edge_index: Tensor, generator: torch.Generator) -> Typed:
    x = torch.ones(len(pos), 1, dtype=pos.dtype)
    return {
        "pos": (pos, "point"),
        "edge_index": (edge_index, "edge_index"),
        "x": (x, "scalar"),
        "vec": (pos[:, None] - pos.mean(0), "vector"),
    }


def frames(group: str) -> Case:
    build = partial(CertainAxes, group=group)
    return Case(f"LocalFrames {group}", build, featured, ("vector", "scalar"), (group,))


def network(level: str, group: str, irreps: str, layers: int = 1) -> Case:
    options: dict[str, Any] = {"out_scalars": 2, "out_vectors": 1, "channels": 4, "layers": layers}
    return Case(
        f"TransportNet {level} {group}",
        partial(TransportNet, level=level, group=group, irreps=irreps, **options),
        cloud,
        (f"{level}:scalar", f"{level}:vector"),
        (group,),
        size,
        backend="eager",
        exceptions=NEAREST,
    )


class TestContract(Contract):
    cases = (
        Case(
            "FrameTransport",
            partial(FrameTransport, IRREPS),
            turned_inputs,
            "edge:scalar",
            ("O(3)",),
        ),
        frames("E(3)"),
        network("node", "SE(3)", "3x0e+2x1o+1x2e", layers=2),
        network("graph", "E(3)", "3x0e+1x0o+2x1o+1x1e"),
    )


@pytest.mark.parametrize("reflected", [False, True])
@pytest.mark.parametrize("nodes", [1, 5])
def test_messages_are_those_edge_by_edge(nodes: int, reflected: bool) -> None:
    torch.manual_seed(0)
    edges = torch.randint(nodes, (2, 12))  # loops and repeated edges, too
    x = torch.randn(nodes, DIM, dtype=torch.float64, requires_grad=True)
    axes = random_axes(nodes, reflected=reflected)
    got, expected = FrameTransport(IRREPS)(x, axes, edges), naive_messages(x, axes, edges, IRREPS)
    torch.testing.assert_close(got, expected, atol=1e-12, rtol=0)
    grads = [torch.autograd.grad(y.cos().sum(), x)[0] for y in (got, expected)]
    torch.testing.assert_close(*grads, atol=1e-12, rtol=0)
    assert FrameTransport(IRREPS)(x, axes, edges[:, :0]).shape == (0, DIM)


def test_what_arrives_in_the_same_frame_is_what_was_sent() -> None:
    axes, irreps = random_axes(4, reflected=True), o3.Irreps(IRREPS)
    x = torch.randn(4, DIM, dtype=torch.float64)
    maps = FrameTransport(IRREPS).maps(axes)
    world = out_of_frames(x, maps, terms_of(irreps))
    torch.testing.assert_close(into_frames(world, maps, terms_of(irreps)), x, atol=1e-13, rtol=0)
    assert (world - x).abs().max() > 0.1
    loops = torch.arange(4).repeat(2, 1)
    torch.testing.assert_close(FrameTransport(IRREPS)(x, axes, loops), x, atol=1e-13, rtol=0)


@pytest.mark.parametrize("group", ["E(3)", "SE(3)"])
@pytest.mark.parametrize("certain", [0, 1, 2])
def test_messages_do_not_depend_on_arbitrary_axes(group: Any, certain: int) -> None:
    """With the first axes alone, all frames that have these give the same messages."""
    if group == "SE(3)" and certain == 2:
        pytest.skip("two axes fix a right-handed frame")
    torch.manual_seed(0)
    layer, edges = FrameTransport(IRREPS, group=group), all_edges(3)
    x, axes = torch.randn(3, DIM, dtype=torch.float64), random_axes(3)
    certainty = torch.ones(3, 3, dtype=torch.float64)
    certainty[1, certain:] = 0.0
    messages = layer(x, axes, edges, certainty)
    other = axes.clone()
    angle = torch.tensor(0.7, dtype=torch.float64)
    if certain == 0:
        other[1] = random_axes(2, seed=5)[1]
    if certain == 1:  # x and z turn about y
        c, s = angle.cos(), angle.sin()
        other[1, 0], other[1, 2] = c * axes[1, 0] + s * axes[1, 2], c * axes[1, 2] - s * axes[1, 0]
    if certain == 2 or group == "E(3)":
        other[1, 0] *= -1
    torch.testing.assert_close(layer(x, other, edges, certainty), messages, atol=1e-12, rtol=0)
    assert (layer(x, other, edges) - layer(x, axes, edges)).abs().max() > 0.1
    assert messages.abs().max() > 0.1


@pytest.mark.parametrize("ir", ["0e", "0o", "1o", "1e", "2e", "2o", "3o"])
def test_needed_axes_are_those_of_the_stabilisers(ir: str) -> None:
    """Components that stay under all elements which leave the first axes as they are."""
    irrep = o3.Irrep(ir)
    turn = torch.tensor([[0.8, 0, 0.6], [0, 1, 0], [-0.6, 0, 0.8]], dtype=torch.float64)
    mirror = torch.diag(torch.tensor([-1.0, 1, 1], dtype=torch.float64))
    elements = [random_axes(1)[0], turn, mirror]  # of O(3), O(2) about y, and x -> -x
    stay = torch.ones(3, irrep.dim, dtype=torch.bool)
    for axes in range(3):
        for g in elements[axes:]:
            column = representation(irrep, g) - torch.eye(irrep.dim, dtype=torch.float64)
            stay[axes] &= column.abs().amax(0) < 1e-12
    expected = 3 - stay.int().sum(0)
    assert needed_axes(irrep, reflected=True).tolist() == expected.tolist()


@pytest.mark.parametrize("group", ["E(3)", "SE(3)"])
def test_frames_are_those_of_gram_schmidt(group: Any) -> None:
    torch.manual_seed(0)
    pos, edges = torch.randn(6, 3, dtype=torch.float64), all_edges(6)
    layer = LocalFrames(group=group).double()
    axes, certainty = layer(pos, edges)
    offset = pos[edges[0]] - pos[edges[1]]
    radial = layer.radial(offset.norm(dim=1))
    weight = torch.einsum("ekn,en->ek", layer.weigh(radial).unflatten(1, (-1, 8)), radial)
    for i in range(6):
        mine = edges[1] == i
        expected = naive_frame(weight[mine].T @ offset[mine])
        torch.testing.assert_close(axes[i], expected, atol=1e-12, rtol=0)
    assert certainty.shape == (6, 3) and certainty.median() > 0.99
    handed = torch.linalg.det(axes)
    assert (handed > 0).all() if group == "SE(3)" else (handed < 0).any()


def test_certainties_of_symmetric_neighbourhoods() -> None:
    """A node alone, one in the middle, two on a line, three in a plane."""
    torch.manual_seed(0)
    layer, sets = LocalFrames(channels=8).double(), degenerate_sets()
    for name, axes in (("single", 0), ("octahedron_centred", 0), ("two", 1), ("planar", 2)):
        pos = sets[name]
        certainty = layer(pos, all_edges(len(pos))).certainty
        node = int(pos.sub(pos.mean(0)).norm(dim=1).argmin()) if axes == 0 else 0
        assert (certainty[node] > 0).tolist() == [k < axes for k in range(3)], name
    right_handed = LocalFrames(channels=8, group="SE(3)").double()
    _, second, third = right_handed(sets["planar"], all_edges(5)).certainty.unbind(1)
    assert torch.equal(second, third) and third.amax() > 0.9


@torch.no_grad()
def test_outputs_are_continuous_where_frames_become_arbitrary() -> None:
    """From a flat set, a line and a tetrahedron, whose frames lack axes, to sets beside them."""
    torch.manual_seed(0)
    net = TransportNet(2, 1, level="node", channels=8).double()
    generator = torch.Generator().manual_seed(0)
    for name in ("planar", "collinear", "tetrahedron", "coincident"):
        pos = degenerate_sets()[name]
        noise = torch.randn(pos.shape, generator=generator, dtype=torch.float64)
        at, steps = net(pos), []
        for scale in (1e-3, 1e-5, 1e-7):
            near = net(pos + scale * noise)
            steps.append(max(float((a - b).abs().max()) for a, b in zip(near, at, strict=True)))
        assert steps[1] < 1e-2 and steps[2] < 1e-4, f"{name}: {steps}"


def test_degenerate_frames_are_counted() -> None:
    torch.manual_seed(0)
    pos = torch.randn(6, 3)
    edges = torch.cat([all_edges(5) + 1, torch.tensor([[0], [0]])], 1)  # node 0 alone
    with watch_frames() as counts:
        LocalFrames(group="SE(3)")(pos, edges)
    ((nodes, bad),) = counts
    assert nodes == 6 and bad == 1


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: FrameTransport("nonsense"), "cannot be read"),
        (lambda: FrameTransport("0x0e"), "holds no irreps"),
        (lambda: FrameTransport("1x0e", group="T(3)"), r'group must be "E\(3\)"'),
        (lambda: LocalFrames(group="T(3)"), r'group must be "E\(3\)"'),
        (lambda: TransportNet(1, layers=0), "layers and neighbors must be at least 1"),
        (lambda: TransportNet(1, level="edge"), "level must be"),
        (
            lambda: FrameTransport("1o")(torch.ones(2, 4), torch.ones(2, 3, 3), all_edges(2)),
            r"expected \[N, 3\] for 1x1o",
        ),
        (
            lambda: FrameTransport("1o").maps(torch.ones(2, 3, 3), torch.ones(2, 2)),
            r"certainty has shape \[2, 2\], expected \[2, 3\]",
        ),
        (lambda: LocalFrames(2)(torch.ones(2, 3), all_edges(2)), "x is missing, expected"),
        (
            lambda: LocalFrames()(torch.ones(2, 3), all_edges(2), vec=torch.ones(2, 1, 3)),
            r"vec is of shape \[2, 1, 3\], expected \[2, 0, 3\]",
        ),
    ],
)
def test_bad_input(build: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
