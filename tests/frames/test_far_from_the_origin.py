"""Frames of positions that float32 rounds coarsely: outputs move as far as the positions do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from geqlib.frames.extremal_vectors import extremal_chains
from geqlib.models import FAGNN
from geqlib.testing import degenerate_sets
from tests.frames.test_averages import Symmetric, averaged

DIRECTION = torch.tensor([1.0, -0.7, 0.3], dtype=torch.float64)
OUTPUTS = {"scalar": "scalar", "graph": "graph:vector"}
MODES = ["full", "minimal", "weighted", "learned"]
GROUPS = ["E(3)", "SE(3)", "S_n x E(3)", "S_n x SE(3)"]


def buckyball() -> Tensor:
    """C60 with all of its 120 symmetries, radius 3.57."""
    gold = (1 + 5**0.5) / 2
    corners = ([0, 1, 3 * gold], [1, 2 + gold, 2 * gold], [gold, 2, 2 * gold + 1])
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * 3)
    one = torch.cat([signs * torch.tensor(c, dtype=torch.float64) for c in corners])
    every = torch.cat([one.roll(k, 1) for k in range(3)])
    return 0.72 * every[np.unique(every.numpy().round(9), axis=0, return_index=True)[1]]


def asymmetric(count: int = 72) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(5)
    sizes = [0.5, 1.0, 3.0]
    return {
        f"random {k}": sizes[k % 3] * torch.randn(4 + k % 7, 3, generator=generator).double()
        for k in range(count)
    }


SETS = {k: x for k, x in degenerate_sets().items() if k != "far_away"}
SETS |= asymmetric() | {"C60": buckyball()}


def outputs(net: Any, pos: Tensor) -> dict[str, Tensor]:
    with torch.no_grad():
        return net(pos=pos, batch=torch.zeros(len(pos), dtype=torch.long), num_graphs=1)


def moved(net: Any, offset: float, sets: dict[str, Tensor]) -> dict[str, float]:
    """Sets whose outputs in float32 change by more than 200 roundings of their positions."""
    pos, counts = torch.cat(list(sets.values())), torch.tensor([len(x) for x in sets.values()])
    numbers = {"batch": torch.arange(len(sets)).repeat_interleave(counts), "num_graphs": len(sets)}
    with torch.no_grad():
        near = net(pos=pos, **numbers)
        far = net(pos=(pos + offset * DIRECTION[: pos.size(1)]).float(), **numbers)
    change = (far["graph"].double() - near["graph"]).abs().amax(1)
    each = (far["scalar"].double() - near["scalar"]).abs().amax(1)
    change = change.scatter_reduce(0, numbers["batch"], each, "amax")
    names, limit = list(sets), 200 * 2**-24 * max(offset, 1.0)
    return {names[k]: float(change[k]) for k in (~(change <= limit)).nonzero()[:, 0].tolist()}


@pytest.mark.parametrize("offset", [0.0, 1e2, 1e4])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("group", GROUPS)
def test_outputs_stay(group: str, mode: Any, offset: float) -> None:
    """Random, symmetric and degenerate sets, C60 among them, against float64 at the origin."""
    torch.manual_seed(0)
    assert not moved(averaged(group, OUTPUTS, mode=mode), offset, SETS)


@pytest.mark.parametrize("offset", [0.0, 1e2, 1e4])
def test_c60_has_a_frame_for_each_of_its_symmetries(offset: float) -> None:
    net = averaged("E(3)", OUTPUTS, mode="minimal")
    far = (SETS["C60"] + offset * DIRECTION).float()
    plan = net.plan(pos=far, batch=torch.zeros(60, dtype=torch.long), num_graphs=1)
    assert len(plan.matrix) == 120


@pytest.mark.parametrize("offset", [0.0, 1e2, 1e4])
@pytest.mark.parametrize("mode", ["full", "minimal", "weighted"])
@pytest.mark.parametrize("group", ["E(2)", "SE(2)", "S_n x E(2)"])
def test_in_the_plane(group: str, mode: Any, offset: float) -> None:
    names = ("single", "two", "coincident", "triangle", "square", "hexagon_centred", "collinear")
    flat = {k: SETS[k][:, :2].contiguous() for k in (*names, *list(asymmetric())[:24])}
    assert not moved(averaged(group, OUTPUTS, mode=mode), offset, flat)


@pytest.mark.parametrize("offset", [0.0, 1e2, 1e4])
def test_single_draws(offset: float) -> None:
    """Each draw is the output of one of the frames at the origin."""
    net = averaged("E(3)", OUTPUTS, mode="stochastic")

    def draws(pos: Tensor, count: int) -> Tensor:
        batch = torch.arange(count).repeat_interleave(len(pos))
        drawn = net(pos=pos.repeat(count, 1), batch=batch, num_graphs=count)["scalar"]
        return drawn.double().view(count, -1)

    for name in ("random 0", "random 1", "planar", "square", "tetrahedron"):
        torch.manual_seed(0)
        pos = SETS[name]
        every, far = draws(pos, 200), draws((pos + offset * DIRECTION).float(), 10)
        nearest = (every - far[:, None]).abs().amax(2).amin(1)
        assert float(nearest.max()) <= 200 * 2**-24 * max(offset, 1.0), name


@pytest.mark.parametrize("offset", [1e2, 1e4])
def test_minimal_is_full(offset: float) -> None:
    """Copies that differ by more than rounding are not merged: the number of passes says so."""
    for name in ("random 3", "planar", "cube", "C60"):
        pos, passes = SETS[name], []
        for at in (0.0, offset):
            net = averaged("E(3)", OUTPUTS, mode="minimal")
            outputs(net, (pos + at * DIRECTION).float())
            passes.append(net.module.rows)
        assert passes[1] >= passes[0], name
    random = averaged("E(3)", OUTPUTS, mode="minimal")
    outputs(random, (SETS["random 3"] + offset * DIRECTION).float())
    assert random.module.rows == 8


@pytest.mark.parametrize("offset", [1e2, 1e4])
@pytest.mark.parametrize("group", ["E(3)", "SE(3)"])
def test_with_vectors(group: str, offset: float) -> None:
    """Vectors are not rounded, and break the symmetry of the points as they do at the origin."""

    class Both(Symmetric):
        def forward(self, pos: Tensor, vec: Tensor, batch: Tensor, num_graphs: int) -> Any:
            return super().forward(pos + torch.sin(vec + 1.0), batch, num_graphs)

    net = averaged(group, OUTPUTS)
    net = type(net)(Both(), group, inputs={"pos": "point", "vec": "vector"}, outputs=OUTPUTS)
    generator = torch.Generator().manual_seed(0)
    for name in ("cube", "collinear", "coincident", "random 0"):
        pos = SETS[name]
        vec = torch.randn(pos.shape, generator=generator).double()
        near, far = (
            net(pos=x, vec=vec.to(x.dtype), batch=torch.zeros(len(x)).long(), num_graphs=1)
            for x in (pos, (pos + offset * DIRECTION).float())
        )
        for key, value in near.items():
            change = float((far[key].double() - value).abs().max())
            assert change <= 200 * 2**-24 * offset, name


@pytest.mark.parametrize("offset", [1e2, 1e4])
@pytest.mark.parametrize("group", ["E(3)", "SE(3)"])
def test_message_networks(group: str, offset: float) -> None:
    """The scalars of FAGNN, whose frames are of its latent vectors, too."""
    torch.manual_seed(0)
    net = FAGNN(0, 1, 2, 1, group=group, layers=2).double()
    for name in ("random 0", "random 1", "random 2", "planar"):
        pos, generator = SETS[name], torch.Generator().manual_seed(0)
        edges = (~torch.eye(len(pos), dtype=torch.bool)).nonzero().T
        vec = torch.randn(len(pos), 1, 3, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            near = net.double()(pos, edges, vec=vec)[0]
            far = net.float()((pos + offset * DIRECTION).float(), edges, vec=vec.float())[0]
        assert float((far - near).abs().max()) <= 200 * 2**-24 * offset, name


def test_points_and_centres_are_subtracted_in_float64() -> None:
    """A module sees centred positions to the last digit that the inputs have."""
    seen: list[Tensor] = []

    class Seen(Symmetric):
        def forward(self, pos: Tensor, batch: Tensor, num_graphs: int) -> Any:
            seen.append(pos)
            return super().forward(pos, batch, num_graphs)

    pos = (SETS["random 0"] + 1e4 * DIRECTION).float()
    net = averaged("E(3)", OUTPUTS)
    net.module = Seen()
    outputs(net, pos)
    assert float(seen[0].view(8, -1, 3).mean(1).abs().max()) < 1e-6
    lengths = (pos.double() - pos.double().mean(0)).norm(dim=1)
    torch.testing.assert_close(
        seen[0].view(8, -1, 3)[0].norm(dim=1).double(), lengths, rtol=1e-6, atol=0
    )


def test_noise_larger_than_the_set_leaves_all_rotations_free() -> None:
    """Nothing is read from directions that are rounding alone."""
    vectors = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.2, 0.0], [-0.5, 0.0, 0.3]]).double()
    sample, eps = torch.tensor([0, 0, 0, 1, 1, 1]), torch.full((2,), 1e-7).double()
    both = torch.cat([vectors, vectors])
    shortest = torch.tensor([2.0, 0.9]).double()
    by_rank = extremal_chains(both, sample, 3, eps, shortest).by_rank()
    assert [{*chains.sample.tolist()} for chains in by_rank] == [{0}, {1}, set(), set()]
    assert bool(by_rank[1].axes.isfinite().all())


@pytest.mark.parametrize("mode", MODES)
def test_a_set_of_a_few_roundings_has_no_directions(mode: Any) -> None:
    """Its outputs do not depend on which rounding its positions have."""
    torch.manual_seed(0)
    net, generator = averaged("E(3)", OUTPUTS, mode=mode), torch.Generator().manual_seed(0)
    exact = outputs(net, torch.zeros(4, 3).double())
    for _ in range(5):
        pos = 1e-2 * torch.randn(4, 3, generator=generator).double() + 1e4 * DIRECTION
        far = outputs(net, pos.float())
        for key, value in exact.items():
            assert float((far[key] - value).abs().max()) < 0.1
