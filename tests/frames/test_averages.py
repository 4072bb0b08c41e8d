"""Averages equal explicit sums, and are exact where geometry degenerates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from geqlib.frames.averaging import FrameAveraging
from geqlib.frames.copies import FrameCopies
from geqlib.frames.point_frames import Frames
from geqlib.testing import degenerate_sets, equivariance_error, random_rotation
from tests.frames.oracle_frames import average, eigen_frames, stabiliser

WANTED = {torch.float64: 1e-12, torch.float32: 1e-5}
SETS = degenerate_sets() | {
    "random": torch.randn(6, 3, generator=torch.Generator().manual_seed(1)).double()
}


class Plain(nn.Module):
    """No symmetry at all: depends on the order of the points, too. Scalars and points."""

    def __init__(self, points: int, dim: int = 3, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        size, out = points * dim, 4 + points * dim
        self.dim = dim
        self.a = torch.randn(size, 16, generator=generator).double()
        self.b = torch.randn(16, out, generator=generator).double() / 4
        self.calls = 0

    def forward(self, pos: Tensor) -> tuple[Tensor, Tensor]:
        self.calls += 1
        h = torch.sin(pos.flatten(-2) @ self.a.to(pos) + 0.3) @ self.b.to(pos)
        return h[..., :4], h[..., 4:].unflatten(-1, (-1, self.dim))


class Symmetric(nn.Module):
    """Keeps relabelling, and nothing else: point clouds to a scalar, points and irreps."""

    def __init__(self, seed: int = 0, dim: int = 3, irreps: int = 9) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.dim, self.out = dim, 2 + dim + irreps
        shapes = ((dim, 12), (12, 12), (12, self.out))
        self.a, self.b, self.c = (torch.randn(s, generator=generator).double() for s in shapes)
        self.rows = 0

    def forward(self, pos: Tensor, batch: Tensor, num_graphs: int) -> dict[str, Tensor]:
        self.rows += num_graphs
        h = torch.sin(pos @ self.a.to(pos) + 0.5)
        total = h.new_zeros(num_graphs, 12).index_add(0, batch, h)
        y = torch.tanh(h + total[batch] @ self.b.to(pos) / 12) @ self.c.to(pos) / 4
        parts = y.split([2, self.dim, self.out - 2 - self.dim], 1)
        graph = total.new_zeros(num_graphs, self.dim).index_add(0, batch, parts[1])
        return {"scalar": parts[0], "point": parts[1], "irreps": parts[2], "graph": graph}


OUTPUTS = {"scalar": "scalar", "point": "point", "graph": "graph:vector"}


def averaged(group: str, outputs: Any = OUTPUTS, **options: Any) -> FrameAveraging:
    net = Symmetric(dim=2 if "(2)" in group else 3)
    return FrameAveraging(net, group, inputs={"pos": "point"}, outputs=outputs, **options)


def error(net: FrameAveraging, pos: Tensor, group: str, outputs: Any = OUTPUTS) -> float:
    batch = torch.zeros(len(pos), dtype=torch.long)
    inputs = {"pos": (pos, "point"), "batch": (batch, "batch")}

    def fn(pos: Tensor, batch: Tensor) -> Any:
        return net(pos=pos, batch=batch, num_graphs=1)

    return equivariance_error(fn, inputs, outputs, group, samples=4)


@pytest.mark.parametrize("group", ["E(3)", "SE(3)"])
def test_generic_sets_have_the_signs_of_eigenvectors(group: str) -> None:
    pos = SETS["random"]
    net = Plain(6)
    fn = lambda x: tuple(y.numpy() for y in net(torch.from_numpy(x)))  # noqa: E731
    frames = eigen_frames((pos - pos.mean(0)).numpy(), group == "SE(3)")
    expected = average(fn, pos.numpy(), frames)
    outputs = ("graph:scalar", "point")
    single = FrameAveraging(net, group, inputs={"pos": "point"}, outputs=outputs)(pos=pos)
    dense = FrameAveraging(net, group, inputs={"pos": "point"}, outputs=outputs, dense=True)
    both = dense(pos=torch.stack([pos, pos.flip(0)]))
    for k, exact in enumerate(expected):
        np.testing.assert_allclose(single[k], exact, atol=1e-13)
        np.testing.assert_allclose(both[k][0], exact, atol=1e-13)


@pytest.mark.parametrize("group", ["E(3)", "SE(3)"])
@pytest.mark.parametrize("name", ["tetrahedron", "octahedron", "prism"])
def test_symmetric_sets_have_a_coset_of_their_group(name: str, group: str) -> None:
    pos, proper = SETS[name] - SETS[name].mean(0), group == "SE(3)"
    net = averaged(group)
    zeros = torch.zeros(len(pos), dtype=torch.long)
    actual = net.plan(pos=pos, batch=zeros).matrix.numpy()
    coset = np.stack([g @ actual[0] for g in stabiliser(pos.numpy(), proper)])
    distance = np.abs(actual[:, None] - coset).max((2, 3))
    assert distance.min(0).max() < 1e-12
    if name == "prism" and proper:  # lengths and angles do not tell its two hands apart
        assert len(actual) == 2 * len(coset)
        return
    assert distance.min(1).max() < 1e-12 and len(actual) == len(coset)
    mixed = Plain(len(pos))
    fn = lambda x: tuple(y.numpy() for y in mixed(torch.from_numpy(x)))  # noqa: E731
    plain = FrameAveraging(mixed, group, inputs={"pos": "point"}, outputs=("graph:scalar", "point"))
    for got, exact in zip(plain(pos=pos), average(fn, pos.numpy(), coset), strict=True):
        np.testing.assert_allclose(got, exact, atol=1e-12)


@pytest.mark.parametrize("mode", ["full", "weighted", "minimal", "learned"])
@pytest.mark.parametrize("group", ["E(3)", "SE(3)"])
@pytest.mark.parametrize("dtype", WANTED, ids=str)
def test_exact_on_degenerate_sets(mode: Any, group: str, dtype: torch.dtype) -> None:
    """Positions far from the origin are rounded before anything is computed: not in float32."""
    torch.manual_seed(0)
    net = averaged(group, mode=mode)
    broken = {
        name: size
        for name, pos in SETS.items()
        if (dtype is torch.float64 or name != "far_away")
        and not (size := error(net, pos.to(dtype), f"S_n x {group}"))
        <= WANTED[dtype] * (1000 if name == "far_away" else 1)
    }
    assert not broken


def test_learned_frames_are_exact_whatever_the_type_of_their_weights() -> None:
    """Invariants rounded to float32 would now and then differ between a set and its copy."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    net = averaged("SE(3)", mode="learned")
    assert net.learned is not None and net.learned.choose[0].weight.dtype == torch.float32
    for _ in range(20):
        pos = torch.randn(6, 3, generator=generator).double()
        assert error(net, pos, "S_n x SE(3)") < 1e-12


@pytest.mark.parametrize("group", ["O(2)", "SE(2)"])
@pytest.mark.parametrize("mode", ["full", "weighted", "minimal"])
def test_exact_in_the_plane(mode: Any, group: str) -> None:
    net = averaged(group, mode=mode)
    for name in ("single", "coincident", "triangle", "square", "hexagon_centred", "collinear"):
        assert error(net, SETS[name][:, :2].contiguous(), group) < 1e-12, name


@pytest.mark.parametrize("mode", ["full", "weighted"])
@pytest.mark.parametrize("noise", [1e-2, 1e-4, 1e-6, 1e-8])
def test_near_degenerate_sets(noise: float, mode: Any) -> None:
    """Axes from points are well-conditioned where eigenvectors are not, so "full" is exact, too."""
    net, generator = averaged("E(3)", mode=mode), torch.Generator().manual_seed(0)
    for name in ("coincident", "collinear", "planar", "square", "tetrahedron", "cube"):
        pos = SETS[name] + noise * torch.randn(SETS[name].shape, generator=generator).double()
        assert error(net, pos, "S_n x E(3)") < 1e-11, name
        assert error(net, pos.float(), "S_n x E(3)") < 3e-5, name


def test_only_weighted_frames_are_continuous_where_eigenvalues_cross() -> None:
    """A box whose sides cross in length, sheared: the two ends of the step are 2e-7 apart."""
    corners = SETS["cube"] * torch.tensor([3.0, 1.0, 0.5])
    extra = torch.tensor([[0.1, 0.2, -0.3], [0.2, -0.1, 0.1]]).double()

    def jump(mode: Any) -> float:
        net, ends = averaged("E(3)", mode=mode), []
        for shear in (-1e-7, 1e-7):
            pos = torch.cat([corners, extra])
            pos = pos - pos.mean(0)
            # whitened, then sheared: eigenvectors of the plane turn by 45 degrees at once
            pos = pos @ torch.linalg.inv(torch.linalg.cholesky(pos.T @ pos)).T
            pos = pos @ torch.tensor([[1, shear, 0], [shear, 1, 0], [0, 0, 0.5]]).double()
            ends.append(net(pos=pos, batch=torch.zeros(10).long(), num_graphs=1)["point"])
        return float((ends[0] - ends[1]).abs().max())

    assert jump("weighted") < 1e-5


def test_weighted_frames_stay_put_near_symmetric_sets() -> None:
    generator = torch.Generator().manual_seed(0)
    net = averaged("E(3)", mode="weighted")
    for name in ("tetrahedron", "cube", "square", "collinear", "coincident", "random"):
        pos = SETS[name]
        batch = torch.zeros(len(pos), dtype=torch.long)
        at = net(pos=pos, batch=batch)
        for noise in (1e-4, 1e-6, 1e-8):
            near = pos + noise * torch.randn(pos.shape, generator=generator).double()
            moved = net(pos=near, batch=batch)
            change = max(float((moved[k] - at[k]).abs().max()) for k in OUTPUTS)
            assert change < 1e3 * noise, (name, noise, change)


def test_full_frames_jump_near_symmetric_sets() -> None:
    """What "weighted" is for."""
    generator = torch.Generator().manual_seed(0)
    pos = SETS["cube"]
    batch, net = torch.zeros(8, dtype=torch.long), averaged("E(3)")
    near = pos + 1e-6 * torch.randn(pos.shape, generator=generator).double()
    assert (net(pos=pos, batch=batch)["scalar"] - net(pos=near, batch=batch)["scalar"]).norm() > 0.1


def test_minimal_is_full_with_fewer_passes() -> None:
    passes = {}
    for name, pos in SETS.items():
        batch = torch.zeros(len(pos), dtype=torch.long)
        results = []
        for mode, group in (("full", "E(3)"), ("minimal", "E(3)"), ("minimal", "S_n x E(3)")):
            net = averaged(group, mode=mode)
            results.append(net(pos=pos, batch=batch))
            passes.setdefault(name, []).append(net.module.rows)
        for other in results[1:]:
            for key in OUTPUTS:
                torch.testing.assert_close(other[key], results[0][key], atol=1e-12, rtol=0)
    assert passes["tetrahedron"] == [24, 24, 1]
    assert passes["cube"] == [48, 48, 1]
    assert passes["planar"] == [8, 4, 4]
    assert passes["coincident"] == [8, 1, 1]
    assert passes["collinear"] == [8, 2, 1]
    assert passes["random"] == [8, 8, 8]


def test_minimal_has_the_derivatives_of_invariants() -> None:
    for name in ("planar", "tetrahedron", "collinear", "coincident"):
        grads = []
        for mode, group in (("full", "E(3)"), ("minimal", "S_n x E(3)")):
            pos = SETS[name].clone().requires_grad_()
            net = averaged(group, "graph:vector", mode=mode)
            net.module.forward = _energy(net.module)  # type: ignore[method-assign]
            net.output_types = averaged(group, "graph:scalar").output_types
            energy = net(pos=pos, batch=torch.zeros(len(pos), dtype=torch.long), num_graphs=1)
            grads.append(torch.autograd.grad(energy.sum(), pos)[0])
        assert grads[0].isfinite().all()
        torch.testing.assert_close(grads[1], grads[0], atol=1e-11, rtol=0)


def _energy(net: Symmetric) -> Any:
    whole = net.forward
    return lambda pos, batch, num_graphs: whole(pos, batch, num_graphs)["graph"]


def test_averaging_an_equivariant_network_changes_nothing() -> None:
    class Centroid(nn.Module):
        def forward(self, pos: Tensor, batch: Tensor, num_graphs: int) -> tuple[Tensor, Tensor]:
            total = pos.new_zeros(num_graphs, 3).index_add(0, batch, pos)
            mean = total / torch.bincount(batch, minlength=num_graphs)[:, None]
            return (pos - mean[batch]).norm(dim=-1) ** 3, 2 * pos - mean[batch]

    for mode in ("full", "weighted", "minimal", "stochastic"):
        net = FrameAveraging(
            Centroid(), "E(3)", inputs={"pos": "point"}, outputs=("scalar", "point"), mode=mode
        )
        for name, pos in SETS.items():
            batch = torch.zeros(len(pos), dtype=torch.long)
            scale = float(pos.abs().max().clamp(min=1))
            for got, own in zip(net(pos=pos, batch=batch), Centroid()(pos, batch, 1), strict=True):
                torch.testing.assert_close(got, own, atol=1e-12 * scale, rtol=0, msg=name)


def test_mirror_images() -> None:
    pos = SETS["random"]
    batch = torch.zeros(6, dtype=torch.long)
    for group, apart in (("SE(3)", True), ("E(3)", False)):
        net = averaged(group, {"scalar": "scalar"})
        ours, mirrored = (net(pos=p, batch=batch)["scalar"] for p in (pos, -pos))
        assert bool((ours - mirrored).abs().max() > 1e-3) is apart


def test_stochastic_frames_are_unbiased(monkeypatch: pytest.MonkeyPatch) -> None:
    """Uniform numbers spread evenly over [0, 1] choose each frame equally often."""
    pos, batch = torch.cat([SETS["random"], SETS["tetrahedron"]]), torch.arange(10) // 6
    full = averaged("E(3)")(pos=pos, batch=batch)
    even = (torch.arange(24) + 0.5) / 24
    monkeypatch.setattr(torch, "rand", lambda n, k: even.expand(n, k))
    net = averaged("E(3)", mode="stochastic", samples=24)
    drawn = net(pos=pos, batch=batch)
    for key in OUTPUTS:
        torch.testing.assert_close(drawn[key], full[key], atol=1e-12, rtol=0)


def test_stochastic_draws_differ() -> None:
    net = averaged("E(3)", mode="stochastic")
    pos, batch = SETS["random"], torch.zeros(6, dtype=torch.long)
    assert len({float(net(pos=pos, batch=batch)["scalar"].sum()) for _ in range(40)}) > 4
    assert net.module.rows == 40


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["full", "weighted"])
@pytest.mark.parametrize("group", ["O(3)", "SO(3)"])
@pytest.mark.parametrize("irreps", ["1x0e+1x1o+1x2e", "1x4e", "1x0o+1x1e+1x2o"])
def test_irreps_of_any_degree(irreps: str, group: str, mode: Any) -> None:
    arguments: dict[str, Any] = {"inputs": {"pos": "vector"}, "outputs": {"irreps": irreps}}
    net = FrameAveraging(Symmetric(irreps=9), group, mode=mode, **arguments)
    for name, pos in SETS.items():
        if name == "far_away":
            continue
        batch = torch.zeros(len(pos), dtype=torch.long)
        inputs = {"pos": (pos, "vector"), "batch": (batch, "batch")}
        fn = lambda pos, batch: net(pos=pos, batch=batch, num_graphs=1)  # noqa: E731
        assert equivariance_error(fn, inputs, {"irreps": irreps}, group, 4) < 1e-12, name


class Tensors(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.a = torch.randn(width, 4, generator=generator).double()
        self.b = torch.randn(4, width, generator=generator).double()

    def forward(self, x: Tensor, batch: Tensor) -> Tensor:
        return torch.tanh(x @ self.a + 0.2) @ self.b


@pytest.mark.parametrize("mode", ["full", "weighted"])
@pytest.mark.parametrize("irreps", ["1x1e", "2x2e", "1x3o", "1x0o+1x1o+1x2e", "1x1e+1x1o"])
@pytest.mark.parametrize("group", ["O(3)", "SO(3)"])
def test_frames_of_tensors(irreps: str, group: str, mode: Any) -> None:
    """Random ones, ones symmetric about an axis, and none."""
    from e3nn import o3

    dim = o3.Irreps(irreps).dim
    net = FrameAveraging(Tensors(dim), group, inputs={"x": irreps}, outputs=irreps, mode=mode)
    uniaxial = o3.spherical_harmonics(
        [ir.l for mul, ir in o3.Irreps(irreps) for _ in range(mul)],
        torch.tensor([[1.0, 2.0, -1.0]]).double(),
        normalize=True,
    )
    drawn = torch.randn(1, dim, generator=torch.Generator().manual_seed(0)).double()
    for x in (drawn, drawn.repeat(2, 1), uniaxial, 0 * uniaxial):
        inputs = {"x": (x, irreps), "batch": (torch.zeros(len(x), dtype=torch.long), "batch")}
        assert equivariance_error(net, inputs, irreps, group, 6) < 1e-11


def test_collinear_points_with_free_velocities() -> None:
    """The stabiliser of the positions alone would be wrong."""

    class Both(Symmetric):
        def forward(self, pos: Tensor, vec: Tensor, batch: Tensor, num_graphs: int) -> Any:
            return super().forward(pos + torch.sin(vec + 1.0), batch, num_graphs)

    pos = SETS["collinear"]
    net = FrameAveraging(
        Both(), "E(3)", inputs={"pos": "point", "vec": "vector"}, outputs=OUTPUTS, mode="minimal"
    )
    batch, generator = torch.zeros(5, dtype=torch.long), torch.Generator().manual_seed(0)
    for size in (1.0, 1e-3, 1e-6):
        vec = size * torch.randn(5, 3, generator=generator).double()
        inputs = {"pos": (pos, "point"), "vec": (vec, "vector"), "batch": (batch, "batch")}
        fn = lambda pos, vec, batch: net(pos=pos, vec=vec, batch=batch, num_graphs=1)  # noqa: E731
        assert equivariance_error(fn, inputs, OUTPUTS, "S_n x E(3)") < 1e-12


@pytest.mark.parametrize("dim", [1, 4, 5])
@pytest.mark.parametrize("proper", [False, True])
def test_any_dimension(dim: int, proper: bool) -> None:
    if dim == 1 and proper:
        return
    net = Symmetric(dim=dim)
    group = f"{'S' if proper else ''}E({dim})"
    model = FrameAveraging(net, group, inputs={"pos": "point"}, outputs=OUTPUTS)
    generator = torch.Generator().manual_seed(0)
    simplex = torch.eye(dim).double()
    for pos in (torch.randn(6, dim, generator=generator).double(), simplex, simplex[:1]):
        batch = torch.zeros(len(pos), dtype=torch.long)
        out = model(pos=pos, batch=batch)
        for k in range(4):
            q = random_rotation(dim, generator, improper=not proper and k % 2 == 0)
            moved = model(pos=pos @ q.T + 1.5, batch=batch)
            torch.testing.assert_close(moved["scalar"], out["scalar"], atol=1e-12, rtol=0)
            torch.testing.assert_close(moved["graph"], out["graph"] @ q.T, atol=1e-12, rtol=0)
            point = out["point"] @ q.T + 1.5
            torch.testing.assert_close(moved["point"], point, atol=1e-11, rtol=0)


def test_own_frame() -> None:
    """Quarter turns of the plane, for a network that is to be invariant under these alone."""
    turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]]).double()

    def quarter(pos: Tensor) -> Frames:
        matrix = torch.stack([torch.linalg.matrix_power(turn, k) for k in range(4)])
        return Frames(matrix, torch.zeros(4, dtype=torch.long), matrix.new_full((4,), 0.25))

    net = FrameAveraging(
        Plain(4, dim=2), quarter, inputs={"pos": "vector"}, outputs=("graph:scalar", "vector")
    )
    pos = torch.randn(4, 2, generator=torch.Generator().manual_seed(0)).double()
    a, b = net(pos=pos), net(pos=pos @ turn.T)
    torch.testing.assert_close(a[0], b[0], atol=1e-13, rtol=0)
    torch.testing.assert_close(a[1] @ turn.T, b[1], atol=1e-13, rtol=0)
    assert (
        a[0] - net(pos=pos @ turn.T @ torch.tensor([[0.6, -0.8], [0.8, 0.6]]).double())[0]
    ).norm() > 0.1


def test_plans_go_through_tensors() -> None:
    """As loaders and exported programs pass them: minimal frames and Wigner matrices, too."""
    outputs = {"irreps": "1x0e+1x1o+1x2e"}
    for mode, group in (("full", "E(3)"), ("minimal", "S_n x E(3)")):
        net, pos = averaged(group, outputs, mode=mode), SETS["cube"]
        sizes: dict[str, Any] = {"batch": torch.zeros(8, dtype=torch.long), "num_graphs": 1}
        plan = net.plan(pos=pos, **sizes)
        again = FrameCopies.from_tensors(plan.to("cpu").tensors())
        assert (again.distinct is None) == (mode == "full") and len(again.wigner) == 3
        assert torch.equal(
            net(pos=pos, **sizes, plan=again)["irreps"], net(pos=pos, **sizes)["irreps"]
        )


def test_every_type_under_permutations_alone() -> None:
    """S_n moves no vectors: they pass unchanged, and sort the nodes."""

    class Sorted(nn.Module):
        def forward(self, pos: Tensor, x: Tensor, batch: Tensor) -> tuple[Tensor, Tensor]:
            return pos.cumsum(0), x.cumsum(0)

    irreps = "1x0e+1x1o"
    inputs = {"pos": "point", "x": irreps}
    net = FrameAveraging(Sorted(), "S_n", inputs=inputs, outputs=("vector", irreps))
    pos, x = SETS["random"], SETS["random"].repeat(1, 2)[:, :4]
    typed = {"pos": (pos, "point"), "x": (x, irreps), "batch": (torch.zeros(6).long(), "batch")}
    assert equivariance_error(net, typed, ("vector", irreps), "S_n") < 1e-12
