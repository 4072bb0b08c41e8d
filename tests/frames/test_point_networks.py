"""Networks on point clouds keep the contract, and equal their formulas."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.nn import EdgeConv

from geqlib.baselines.points import NearestEdgeConv
from geqlib.graph.neighbors import most_points, nearest
from geqlib.models import DGCNN, FADGCNN, FALocalPointNet, FAPointNet, PointNet
from geqlib.testing import equivariance_error
from tests.contract import Case, Contract, Typed
from tests.waits import waits

FRAMES = "the number of frames depends on the points"
LARGEST = "the largest cloud decides how many distances there are"
VARIABLE = {"compile": FRAMES, "export": FRAMES, "vmap": FRAMES}
NEAREST = {"compile": LARGEST, "export": LARGEST}
COUNT = {"out_scalars": 2, "out_vectors": 1, "channels": 4}


def cloud(pos: Tensor, edge_index: Tensor, generator: torch.Generator) -> Typed:
    return {"pos": (pos, "point"), "batch": (torch.zeros(len(pos), dtype=torch.long), "batch")}


def featured(pos: Tensor, edge_index: Tensor, generator: torch.Generator) -> Typed:
    x = torch.ones(len(pos), 1, dtype=pos.dtype)
    vec = pos[:, None] - pos.mean(0)
    return cloud(pos, edge_index, generator) | {"x": (x, "scalar"), "vec": (vec, "vector")}


def size(net: Any, tensors: dict[str, Tensor], graphs: int) -> dict[str, Any]:
    return {"num_graphs": graphs}


def case(build: Any, level: str, group: str = "", inputs: Any = cloud, **options: Any) -> Case:
    exceptions = options.pop("exceptions", {})
    arguments: dict[str, Any] = COUNT | {"level": level} | options
    if group:
        arguments["group"] = group
    vectors = f"{level}:vector" if group else f"{level}:scalar"  # no symmetry but order
    return Case(
        f"{build.__name__} {level} {group}",
        partial(build, **arguments),
        inputs,
        (f"{level}:scalar", vectors),
        (group,) if group else (),
        size,
        backend="eager",
        exceptions=exceptions,
    )


FEATURES = {"in_scalars": 1, "in_vectors": 1, "inputs": featured}


class TestContract(Contract):
    cases = (
        case(PointNet, "graph", **FEATURES),
        case(PointNet, "node"),
        case(FAPointNet, "graph", "E(3)", exceptions=VARIABLE, **FEATURES),
        case(FAPointNet, "node", "SE(3)", exceptions=VARIABLE),
        case(DGCNN, "node", layers=2, exceptions=NEAREST),
        case(FADGCNN, "node", "E(3)", layers=2, exceptions=VARIABLE),
        case(FALocalPointNet, "node", "E(3)", exceptions=VARIABLE),
    )


def clouds() -> tuple[Tensor, Tensor, int]:
    """Ragged clouds, one of them empty, with points at equal places."""
    generator = torch.Generator().manual_seed(0)
    batch = torch.tensor([0] * 9 + [1] * 1 + [3] * 4)
    pos = torch.randn(len(batch), 3, generator=generator, dtype=torch.float64)
    pos[3] = pos[2]
    return pos, batch, 4


@pytest.mark.parametrize("k", [1, 3, 20])
def test_nearest_are_the_nearest(k: int) -> None:
    x, batch, graphs = clouds()
    x = 1e-3 * x + 5.0  # far from the origin, where squares cancel
    actual = nearest(x, batch, graphs, k)
    for i in range(len(x)):
        same = [j for j in range(len(x)) if batch[j] == batch[i]]
        same.sort(key=lambda j: (j != i, float((x[i] - x[j]).norm())))
        expected = same[:k] + [i] * (k - len(same))
        assert actual[i].tolist() == expected


def test_nearest_in_low_precision_is_that_of_single() -> None:
    x, batch, graphs = clouds()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(nearest(x.float(), batch, graphs, 3), nearest(x, batch, graphs, 3))
    assert nearest(x[:0], batch[:0], 2, 3).shape == (0, 3)


def test_edge_convolution_is_that_of_torch_geometric() -> None:
    h, batch, graphs = clouds()
    h.requires_grad_()
    torch.manual_seed(0)
    conv = NearestEdgeConv(3, 5, 4).double()
    weight = torch.cat([conv.own.weight, conv.difference.weight], 1).detach()
    peer = EdgeConv(nn.Sequential(nn.Linear(6, 5), nn.LeakyReLU(0.2)), aggr="max").double()
    peer.load_state_dict({"nn.0.weight": weight, "nn.0.bias": conv.own.bias.detach()})
    near = nearest(h, batch, graphs, 4)
    edges = torch.stack([near.flatten(), torch.arange(len(h)).repeat_interleave(4)])
    edges = edges.unique(dim=1)
    got, expected = conv(h, batch, graphs), peer(h, edges)
    torch.testing.assert_close(got, expected, atol=1e-13, rtol=0)
    other = h.detach()[[0, 1, 2, *range(4, len(h))]].requires_grad_()  # a maximum of its own
    keep = torch.cat([batch[:3], batch[4:]])
    near = nearest(other, keep, graphs, 4)
    edges = torch.stack([near.flatten(), torch.arange(len(other)).repeat_interleave(4)])
    values = conv(other, keep, graphs).cos().sum(), peer(other, edges.unique(dim=1)).cos().sum()
    grads = [torch.autograd.grad(value, other)[0] for value in values]
    torch.testing.assert_close(*grads, atol=1e-12, rtol=0)


def explicit_frames(pos: Tensor) -> Tensor:
    """[8, 3, 3] eigenvectors of the covariance with all signs."""
    centred = pos - pos.mean(0)
    axes = torch.linalg.eigh(centred.T @ centred).eigenvectors.flip(1)  # the longest first
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0]).double()] * 3)
    return axes * signs[:, None]


@pytest.mark.parametrize("build", [FAPointNet, FADGCNN])
def test_averages_are_explicit_sums(build: Any) -> None:
    torch.manual_seed(0)
    net = build(2, 1, level="node", channels=8).double()
    pos = torch.randn(12, 3, dtype=torch.float64)
    scalars, vectors = net(pos)
    actual = [
        (s, v @ frame.T)
        for frame in explicit_frames(pos)
        for s, v in [net.average.module((pos - pos.mean(0)) @ frame)]
    ]
    for got, parts in zip((scalars, vectors), zip(*actual, strict=True), strict=True):
        torch.testing.assert_close(got, torch.stack(parts).mean(0), atol=1e-12, rtol=0)


def test_preferred_frames_have_the_longest_vectors() -> None:
    """Cloud by cloud, of ragged ones; and a mode that networks without vectors do not have."""
    torch.manual_seed(0)
    net = FADGCNN(1, 2, level="node", channels=8, mode="argmax").double()
    pos, batch, graphs = clouds()
    pos = pos + 0.1 * torch.randn_like(pos)
    scalars, vectors = net(pos, batch, graphs)
    for cloud in (0, 3):
        own = pos[batch == cloud]
        seen = [
            (s, v @ frame.T)
            for frame in explicit_frames(own)
            for s, v in [net.average.module.net((own - own.mean(0)) @ frame)]
        ]
        lengths = torch.stack([v.norm(dim=2).mean() for _, v in seen])
        best = seen[int(lengths.argmax())]
        torch.testing.assert_close(scalars[batch == cloud], best[0], atol=1e-11, rtol=0)
        torch.testing.assert_close(vectors[batch == cloud], best[1], atol=1e-11, rtol=0)
        assert lengths.std() > 1e-4
    types = ("scalar", "vector")
    assert equivariance_error(net, {"pos": (pos[batch == 0], "point")}, types, "E(3)") < 1e-11
    with pytest.raises(ValueError, match="chooses by the lengths of vectors"):
        FADGCNN(1, level="node", mode="argmax")


def test_local_frames_are_explicit_sums() -> None:
    """Neighbourhood by neighbourhood, with the frame of the neighbours and the point itself."""
    torch.manual_seed(0)
    net = FALocalPointNet(1, 1, level="node", channels=8, neighbors=5).double()
    pos = torch.randn(9, 3, dtype=torch.float64)
    rows = []
    for i in range(9):
        near = pos[(pos - pos[i]).norm(dim=1).argsort()[:5]]
        known = torch.cat([near, pos[i : i + 1]])
        frames, centre = explicit_frames(known), known.mean(0)
        seen = [
            net.local.module(((near - centre) @ f)[None], ((pos[i] - centre) @ f)[None, None])
            for f in frames
        ]
        rows.append(
            (
                torch.stack([s[0] for s, _ in seen]).mean(0),
                torch.stack([v[0] @ f.T for (_, v), f in zip(seen, frames, strict=True)]).mean(0),
            )
        )
    x, vec = (torch.stack(part) for part in zip(*rows, strict=True))
    extent = torch.cdist(pos, pos).topk(5, largest=False).values.square().mean(1)[:, None, None]
    vec = vec * extent / (extent + 1e-6)
    zero = torch.zeros(9, dtype=torch.long)
    for got, expected in zip(net(pos), net.cloud(pos, x, vec, zero, 1), strict=True):
        torch.testing.assert_close(got, expected, atol=1e-12, rtol=0)


def test_mirror_images() -> None:
    torch.manual_seed(0)
    pos = torch.randn(10, 3, dtype=torch.float64)
    mirrored = pos * pos.new_tensor([1.0, 1.0, -1.0])
    for build in (FAPointNet, FADGCNN, FALocalPointNet):
        for group, same in (("E(3)", True), ("SE(3)", False)):
            net = build(3, channels=8, group=group).double()
            gap = (net(pos)[0] - net(mirrored)[0]).abs().max()
            assert (gap < 1e-12) if same else (gap > 1e-6)


def test_normals_of_a_plane_need_the_group_without_reflections() -> None:
    """What the documents say: a reflection that fixes every point fixes its vectors."""
    torch.manual_seed(0)
    pos = torch.randn(10, 3, dtype=torch.float64) * pos_flat()
    for group, flat in (("E(3)", True), ("SE(3)", False)):
        vectors = FAPointNet(0, 1, level="node", group=group).double()(pos)[1]
        assert (vectors[..., 2].abs().max() < 1e-12) == flat


def pos_flat() -> Tensor:
    return torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)


@pytest.mark.parametrize("build", [PointNet, FAPointNet, DGCNN, FADGCNN, FALocalPointNet])
def test_errors(build: Any) -> None:
    with pytest.raises(ValueError, match='level must be "graph" or "node", got \'cloud\''):
        build(1, level="cloud")
    with pytest.raises(ValueError, match="batch is given without num_graphs"):
        build(1)(torch.ones(3, 3), batch=torch.zeros(3, dtype=torch.long))
    net, pos = build(0, 1, level="node").eval(), torch.randn(12, 3)
    batch = torch.arange(2).repeat_interleave(6)  # outputs per point need no number of clouds
    assert torch.equal(net(pos, batch=batch)[1], net(pos, batch=batch, num_graphs=2)[1])
    if build not in (PointNet, DGCNN):
        with pytest.raises(
            ValueError, match=r'group must be "E\(3\)" or "SE\(3\)", got \'O\(3\)\''
        ):
            build(1, group="O(3)")
    if build not in (PointNet, FAPointNet):
        with pytest.raises(ValueError, match=r"neighbo.* must be at least 1, got 0"):
            build(1, neighbors=0)(torch.ones(3, 3))
    if build in (DGCNN, FADGCNN):
        with pytest.raises(ValueError, match="layers must be at least 1, got 0"):
            build(1, layers=0)


@pytest.mark.parametrize("build", [PointNet, FAPointNet])
def test_features_that_the_network_was_not_built_for(build: Any) -> None:
    pos, x, vec = torch.randn(6, 3), torch.randn(6, 2), torch.randn(6, 1, 3)
    assert build(4, in_scalars=2, in_vectors=1)(pos, x, vec)[0].shape == (1, 4)
    with pytest.raises(ValueError, match=r"x has 2 features per point, .*set in_scalars to 2\."):
        build(4)(pos, x)
    with pytest.raises(ValueError, match=r"built with in_scalars=3: set in_scalars to 2\."):
        build(4, in_scalars=3)(pos, x)
    with pytest.raises(ValueError, match=r"vec has 1 features per point, .*set in_vectors to 1\."):
        build(4)(pos, vec=vec)
    with pytest.raises(ValueError, match="x is missing: the network was built with in_scalars=2"):
        build(4, in_scalars=2)(pos)
    with pytest.raises(ValueError, match=r"x has shape \(.*, expected \[points, in_scalars\]"):
        build(4, in_scalars=2)(pos, x[:, 0])


@pytest.mark.parametrize("layers", [1, 3])
def test_dgcnn_waits_for_the_device_once(layers: int) -> None:
    pos, batch, graphs = clouds()
    net = DGCNN(2, layers=layers, channels=4, neighbors=3).double()
    seen = waits(lambda: net(pos, batch=batch, num_graphs=graphs))
    assert seen == ["_local_scalar_dense"]


def test_the_size_of_the_largest_cloud_may_be_said() -> None:
    x, batch, graphs = clouds()
    assert most_points(batch, graphs) == 9 and most_points(batch[:0], 0) == 0
    for k in (2, 20):
        counted, said = (nearest(x, batch, graphs, k, widest=n) for n in (None, 9))
        assert torch.equal(counted, said)
