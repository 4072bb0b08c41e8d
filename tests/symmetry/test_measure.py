"""The ruler measures what is known: it passes true symmetries and fails broken ones."""

from __future__ import annotations

import doctest
import math
import subprocess
import sys
from functools import partial

import pytest
import torch
from e3nn import o3
from scipy.spatial.transform import Rotation
from torch import Tensor

import geqlib.testing
from geqlib.symmetry.types import parse_type, rotate
from geqlib.testing import (
    assert_equivariant,
    degenerate_sets,
    equivariance_error,
    random_rotation,
    random_translation,
)

EXACT = 1e-12
BROKEN = 1e-2


def draw(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


POINTS = {"pos": (draw(6, 3), "point")}
PAIR = {"u": (draw(6, 3), "vector"), "v": (draw(6, 4, 3)[:, 0], "vector")}
EDGES = torch.tensor([[0, 1, 2, 3, 4, 0, 2], [1, 2, 3, 4, 5, 3, 0]])
GRAPH = {**POINTS, "edge_index": (EDGES, "edge_index"), "weight": (draw(7), "edge_scalar")}
BATCH = torch.tensor([0, 0, 0, 1, 1, 1])


def distance_sum(pos: Tensor) -> Tensor:
    return torch.cdist(pos, pos).sum()


def centre(pos: Tensor) -> Tensor:
    return pos.mean(dim=0)


def max_x(pos: Tensor) -> Tensor:
    return pos[:, 0].max()


def cross(u: Tensor, v: Tensor) -> Tensor:
    return torch.linalg.cross(u, v)


def message(pos: Tensor, edge_index: Tensor, weight: Tensor) -> Tensor:
    source, target = edge_index
    sent = weight[:, None] * (pos[source] - pos[target])
    return torch.zeros_like(pos).index_add(0, target, sent)


def harmonics(pos: Tensor, degree: int) -> Tensor:
    return o3.spherical_harmonics(degree, pos, normalize=False)


@pytest.mark.parametrize("group", ["O(3)", "SO(3)", "E(3)", "SE(3)", "T(3)", "S_n", "S_n x E(3)"])
def test_pairwise_distance_sum_is_invariant(group):
    assert equivariance_error(distance_sum, POINTS, "graph:scalar", group) < EXACT


def test_centre_of_mass_is_a_point():
    assert_equivariant(centre, POINTS, "graph:point", "S_n x E(3)", atol=EXACT)
    assert equivariance_error(centre, POINTS, "graph:vector", "E(3)") > BROKEN


def test_cross_product_is_a_pseudovector():
    assert_equivariant(cross, PAIR, "1e", "O(3)", atol=EXACT)
    assert_equivariant(cross, PAIR, "vector", "SO(3)", atol=EXACT)
    assert equivariance_error(cross, PAIR, "vector", "O(3)") > BROKEN
    assert equivariance_error(cross, PAIR, "vector", "O(3)", samples=1) > BROKEN


@pytest.mark.parametrize("degree", [0, 1, 2, 5, 11])
def test_spherical_harmonics_are_irreps(degree):
    parity, wrong = ("e", "o") if degree % 2 == 0 else ("o", "e")
    inputs = {"pos": (torch.nn.functional.normalize(draw(6, 3)), "vector")}
    fn = partial(harmonics, degree=degree)
    assert_equivariant(fn, inputs, f"1x{degree}{parity}", "S_n x O(3)", atol=1e-11)
    assert equivariance_error(fn, inputs, f"1x{degree}{wrong}", "O(3)") > BROKEN
    assert_equivariant(fn, inputs, f"1x{degree}{wrong}", "SO(3)", atol=1e-11)


@pytest.mark.parametrize("improper", [False, True])
@pytest.mark.parametrize("irreps", ["4x0e+2x1o", "0o+1e+2x2e+2o+0x1o+3x4e", "1x14e"])
def test_irreps_transform_like_e3nn(irreps, improper):
    matrix = random_rotation(3, torch.Generator().manual_seed(3), improper=improper)
    x = draw(5, 2, o3.Irreps(irreps).dim)
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)  # e3nn makes its generators in the default dtype
    try:
        blocks = [ir.D_from_matrix(matrix) for mul, ir in o3.Irreps(irreps) for _ in range(mul)]
    finally:
        torch.set_default_dtype(default)
    moved = rotate(x, parse_type("x", irreps), matrix)
    torch.testing.assert_close(moved, x @ torch.block_diag(*blocks).T, atol=1e-11, rtol=0)


def test_degree_one_odd_is_a_cartesian_vector():
    inputs = {"x": (draw(5, 6), "2x1o")}
    assert_equivariant(lambda x: x.view(-1, 2, 3), inputs, "vector", "S_n x O(3)", atol=EXACT)


def test_irreps_ignore_translations():
    inputs = {**POINTS, "x": (draw(6, 4), "0e+1o")}

    def fn(pos, x):
        return torch.cat([x[:, :1], x[:, 1:] + pos - pos.mean(0)], 1)

    assert_equivariant(fn, inputs, "0e+1o", "S_n x E(3)", atol=EXACT)
    assert equivariance_error(lambda pos, x: x, inputs, "0e+1o", "T(3)") == 0


def test_broken_functions_fail():
    assert equivariance_error(max_x, POINTS, "graph:scalar", "SO(3)") > BROKEN
    assert equivariance_error(lambda pos: pos.cumsum(0), POINTS, "vector", "S_n") > BROKEN
    assert_equivariant(lambda pos: pos.cumsum(0), POINTS, "vector", "O(3)", atol=EXACT)

    def halves(pos):
        return pos[:3].mean(0)

    assert equivariance_error(halves, POINTS, "graph:point", "S_n x E(3)") > BROKEN


def test_translation_dependence_shows_with_translations_only():
    def fn(pos):
        return pos.norm(dim=1)

    assert_equivariant(fn, POINTS, "scalar", "O(3)", atol=EXACT)
    for group in ("E(3)", "SE(3)", "T(3)"):
        assert equivariance_error(fn, POINTS, "scalar", group) > BROKEN


def test_message_passing_with_edge_index():
    assert_equivariant(message, GRAPH, "vector", "S_n x E(3)", atol=EXACT)

    def by_edge_order(pos: Tensor, edge_index: Tensor, weight: Tensor) -> Tensor:
        return message(pos, edge_index, weight.cumsum(0))

    def by_node_number(pos: Tensor, edge_index: Tensor, weight: Tensor) -> Tensor:
        return message(pos, edge_index, weight * edge_index[0])

    for broken in (by_edge_order, by_node_number):
        assert equivariance_error(broken, GRAPH, "vector", "S_n") > BROKEN


def test_edge_outputs_follow_the_edges():
    def fn(pos, edge_index, weight):
        return pos[edge_index[0]] - pos[edge_index[1]]

    assert_equivariant(fn, GRAPH, "edge:vector", "S_n x E(3)", atol=EXACT)


def test_batch_stays_sorted_and_index_does_not():
    seen = []

    def fn(pos: Tensor, batch: Tensor) -> Tensor:
        seen.append(bool((batch.diff() >= 0).all()))
        return pos.new_zeros(2, 3).index_add(0, batch, pos)

    inputs = {**POINTS, "batch": (BATCH, "batch")}
    assert_equivariant(fn, inputs, "graph:vector", "S_n x O(3)", atol=EXACT)
    assert all(seen)
    inputs["batch"] = (BATCH, "index")
    assert_equivariant(fn, inputs, "graph:vector", "S_n x O(3)", atol=EXACT)
    assert not all(seen)

    def first(pos, batch):
        return pos[:1]

    assert equivariance_error(first, inputs, "graph:vector", "S_n") > BROKEN


def test_two_dimensions():
    inputs = {"pos": (draw(5, 2), "point"), "v": (draw(5, 4, 2), "vector")}

    def turn(pos: Tensor, v: Tensor) -> Tensor:
        return torch.stack([-v[..., 1], v[..., 0]], dim=-1) + (pos - pos.mean(0))[:, None]

    assert_equivariant(turn, inputs, "vector", "S_n x SE(2)", atol=EXACT)
    assert equivariance_error(turn, inputs, "vector", "E(2)") > BROKEN
    assert_equivariant(lambda pos, v: pos, inputs, "point", "T(2)", atol=EXACT)
    assert_equivariant(lambda pos, v: v.norm(dim=-1), inputs, "scalar", "O(2)", atol=EXACT)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_finite_group(dtype):
    icosahedral = torch.from_numpy(Rotation.create_group("I").as_matrix())
    assert len(icosahedral) == 60
    directions = harmonics(icosahedral[:, :, 1], 6)  # the orbit of a five-fold axis
    invariant = directions.mean(0)  # spans the icosahedral invariants of degree 6

    def sextic(v: Tensor) -> Tensor:
        return harmonics(v, 6) @ invariant.to(v)

    inputs = {"v": (torch.nn.functional.normalize(draw(4, 3, dtype=dtype)), "vector")}
    atol = 1e-5 if dtype == torch.float32 else 1e-11
    assert_equivariant(sextic, inputs, "scalar", icosahedral.to(dtype), atol=atol, samples=60)
    assert equivariance_error(sextic, inputs, "scalar", "SO(3)") > BROKEN


def test_finite_group_is_tested_in_full():
    flips = torch.stack([torch.eye(2), torch.diag(torch.tensor([1.0, -1.0]))]).repeat(4, 1, 1)
    calls = []

    def fn(v):
        return calls.append(v) or v[:, 0]

    assert_equivariant(fn, {"v": (draw(4, 2), "vector")}, "scalar", flips, samples=100)
    assert len(calls) == 1 + len(flips)


def test_tuple_and_mapping_outputs():
    def fn(pos):
        return (pos.norm(dim=1), None, pos, "text")

    assert_equivariant(fn, POINTS, ("scalar", None, "vector", None), "S_n x O(3)")
    assert equivariance_error(fn, POINTS, ["scalar", None, "scalar", None], "O(3)") > BROKEN

    def named(pos):
        return {"r": pos.norm(dim=1), "p": pos, "rest": 1}

    assert_equivariant(named, POINTS, {"r": "scalar", "p": "vector"}, "S_n x O(3)")
    assert equivariance_error(named, POINTS, {"r": "scalar", "p": "scalar"}, "O(3)") > BROKEN


def test_each_output_is_measured_on_its_own_scale():
    def fn(pos):
        return (1e9 * pos.norm(dim=1), pos[:, 0])

    assert equivariance_error(fn, POINTS, ("scalar", "scalar"), "SO(3)") > BROKEN


def test_forces_by_autograd_and_callers_tensors_untouched():
    pos = draw(6, 3)

    def forces(pos: Tensor) -> Tensor:
        pos.requires_grad_(True)
        return -torch.autograd.grad(distance_sum(pos), pos)[0]

    before = pos.clone()
    assert_equivariant(forces, {"pos": (pos, "point")}, "vector", "S_n x E(3)", atol=1e-10)
    assert not pos.requires_grad
    assert torch.equal(pos, before)
    leaf = {"pos": (draw(6, 3).requires_grad_(), "point")}

    def grad(pos):
        return torch.autograd.grad(distance_sum(pos), pos)[0]

    assert_equivariant(grad, leaf, "vector", "S_n x E(3)", atol=1e-10)


def test_runs_in_the_callers_grad_mode():
    modes = []

    def fn(pos):
        return modes.append(torch.is_grad_enabled()) or pos

    with torch.no_grad():
        assert_equivariant(fn, POINTS, "point", "E(3)")
    assert not any(modes)


def test_dtype_is_kept_and_integers_too():
    seen = set()

    def fn(pos: Tensor, z: Tensor) -> Tensor:
        seen.add((pos.dtype, z.dtype))
        return pos.norm(dim=1) * z

    inputs = {"pos": (draw(6, 3, dtype=torch.float32), "point"), "z": (torch.arange(6), "scalar")}
    assert_equivariant(fn, inputs, "scalar", "S_n x O(3)")
    assert seen == {(torch.float32, torch.int64)}


def test_reused_output_buffer_does_not_hide_an_error():
    buffer = torch.zeros(6, 3, dtype=torch.float64)
    assert equivariance_error(lambda pos: buffer.copy_(pos), POINTS, "scalar", "O(3)") > BROKEN


def test_nan_fails():
    def fn(pos):
        return pos.norm(dim=1) / 0 * 0

    assert math.isnan(equivariance_error(fn, POINTS, "scalar", "O(3)"))
    with pytest.raises(AssertionError, match="error nan exceeds"):
        assert_equivariant(fn, POINTS, "scalar", "O(3)")


def test_message_of_the_assertion():
    with pytest.raises(AssertionError, match=r"max_x .* S_n x O\(3\): error .* exceeds atol 0.001"):
        assert_equivariant(max_x, POINTS, "graph:scalar", "S_n x O(3)", atol=1e-3)
    with pytest.raises(AssertionError, match="finite group of 24 matrices"):
        octahedral = torch.from_numpy(Rotation.create_group("O").as_matrix())
        assert_equivariant(max_x, POINTS, "graph:scalar", octahedral)


def test_seed_reproduces_and_global_rng_is_untouched():
    state = torch.get_rng_state()
    errors = [equivariance_error(max_x, POINTS, "graph:scalar", "E(3)", seed=s) for s in (1, 1, 2)]
    assert torch.equal(state, torch.get_rng_state())
    assert errors[0] == errors[1] != errors[2]


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("improper", [False, True])
def test_random_rotation(d, improper):
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack([random_rotation(d, generator, improper=improper) for _ in range(400)])
    eye = torch.eye(d, dtype=torch.float64).expand(400, d, d)
    torch.testing.assert_close(drawn @ drawn.mT, eye)
    torch.testing.assert_close(drawn.det(), torch.full((400,), -1.0 if improper else 1.0).double())
    assert drawn.mean(0).abs().max() < 0.15  # Haar measure has mean zero
    again = torch.Generator().manual_seed(0)
    single = random_rotation(d, again, torch.float32, improper)
    assert torch.equal(single, drawn[0].float())
    assert random_translation(d, again, torch.float32).dtype == torch.float32


def test_degenerate_sets():
    sets = degenerate_sets(torch.float32)
    assert {"single", "two", "coincident", "collinear", "planar", "tetrahedron", "cube"} <= set(
        sets
    )
    for name, pos in sets.items():
        assert pos.dtype == torch.float32 and pos.shape[1:] == (3,), name
    rank = {k: int(torch.linalg.matrix_rank(p - p.mean(0))) for k, p in degenerate_sets().items()}
    assert (rank["coincident"], rank["collinear"], rank["hexagon"], rank["cube"]) == (0, 1, 2, 3)
    sides = torch.pdist(degenerate_sets()["tetrahedron"])
    torch.testing.assert_close(sides, sides[:1].expand(6))


@pytest.mark.parametrize(
    ("inputs", "outputs", "group", "sentence"),
    [
        ({"pos": (draw(4, 3), "pointt")}, "scalar", "O(3)", "input 'pos' has the unknown type"),
        ({"pos": (draw(4, 3), "grph:point")}, "scalar", "O(3)", "unknown type 'grph:point'"),
        ({"pos": (draw(4, 3), "")}, "scalar", "O(3)", "unknown type ''"),
        (POINTS, "scaler", "O(3)", "the output has the unknown type 'scaler'"),
        ({"pos": draw(4, 3)}, "scalar", "O(3)", "input 'pos' must be a pair"),
        (POINTS, "scalar", "O(4)", r"group 'O\(4\)' is unknown"),
        (POINTS, "scalar", "S_n x", "group 'S_n x' is unknown"),
        (POINTS, "scalar", "O(2) x T(3)", "mixes 2 and 3 dimensions"),
        (POINTS, "scalar", torch.ones(2, 3, 3), "orthogonal matrices"),
        (POINTS, "scalar", torch.ones(3, 3), r"shape \[n, 2, 2\] or \[n, 3, 3\], got \[3, 3\]"),
        ({"pos": (draw(4, 2), "point")}, "scalar", "O(3)", r"under O\(3\) its last axis must be 3"),
        ({"pos": (draw(4, 4), "point")}, "scalar", "O(2)", r"under O\(2\) its last axis must be 2"),
        ({"pos": (draw(4, 2), "1o")}, "scalar", "E(2)", "its last axis must be 3"),
        (POINTS | {"x": (draw(6, 2), "vector")}, "scalar", "E(2)", "its last axis must be 2"),
        ({"pos": (draw(4, 4), "1o")}, "scalar", "E(3)", "its last axis must be 3"),
        ({"pos": (torch.ones(4, 3).long(), "point")}, "scalar", "E(3)", "must be floating point"),
        (POINTS, "1o+0e", "E(3)", "the output has type .* its last axis must be 4"),
        ({**POINTS, "z": (draw(4), "scalar")}, "scalar", "S_n", "'z' .* permutes 6 nodes"),
        ({"pos": (draw(4, 3), "graph:vector")}, "graph:scalar", "S_n", "nothing to permute"),
        ({**POINTS, "e": (EDGES[0], "edge_index")}, "scalar", "S_n", r"have shape \[2, edges\]"),
        ({**POINTS, "e": (EDGES + 1, "edge_index")}, "scalar", "S_n", "names node 6 of only 6"),
        (POINTS, ("scalar", None), "O(3)", "outputs has 2 types, but the function returned Tensor"),
        (POINTS, {"energy": "scalar"}, "O(3)", r"name \['energy'\], but the function returned"),
    ],
)
def test_errors_are_one_sentence(inputs, outputs, group, sentence):
    def fn(**tensors: Tensor) -> Tensor:
        return tensors["pos"].norm(dim=-1)

    with pytest.raises(ValueError, match=sentence):
        equivariance_error(fn, inputs, outputs, group)


def test_errors_about_outputs():
    with pytest.raises(ValueError, match="type after 'graph:' if it has one entry per graph"):
        equivariance_error(distance_sum, POINTS, "scalar", "S_n")
    with pytest.raises(ValueError, match="output 1 is a NoneType: return a tensor"):
        equivariance_error(lambda pos: (pos, None), POINTS, ("vector", "vector"), "O(3)")
    with pytest.raises(ValueError, match="outputs gives no type"):
        equivariance_error(lambda pos: (pos, None), POINTS, (None, None), "O(3)")
    with pytest.raises(ValueError, match="shape must not depend on g"):
        equivariance_error(lambda pos: pos[pos[:, 0] > 0, 0], POINTS, "graph:scalar", "O(3)")
    with pytest.raises(ValueError, match="samples must be at least 1"):
        equivariance_error(centre, POINTS, "graph:point", "E(3)", samples=0)


@pytest.mark.slow
def test_import_is_light():
    code = (
        "import sys, geqlib; before = {*sys.modules}; import geqlib.testing; "
        "print({'e3nn', 'lightning', 'matplotlib'} & ({*sys.modules} - before))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"


def test_docstring_examples():
    assert doctest.testmod(geqlib.testing).failed == 0


QUARTER_TURNS = torch.tensor([[[1.0, 0], [0, 1]], [[0, -1], [1, 0]], [[-1, 0], [0, -1]]])


@pytest.mark.parametrize("group", ["SO(2)", "O(2)", "GL+(2)", "T(2)", "S_n x E(2)", QUARTER_TURNS])
def test_groups_of_the_plane_act_about_the_z_axis_of_space(group: str | Tensor) -> None:
    """Heights stay, and the parts in the plane do not."""
    pos = {"pos": (draw(6, 3), "point")}
    assert equivariance_error(lambda pos: pos[:, 2], pos, "scalar", group) < 1e-12
    assert equivariance_error(lambda pos: pos[:, 0], pos, "scalar", group) > 0.1
    assert equivariance_error(lambda pos: pos, pos, "point", group) < 1e-12


def test_irreps_turn_about_the_z_axis_with_the_points() -> None:
    def harmonics(pos: Tensor) -> Tensor:
        return o3.spherical_harmonics([1, 2], pos, normalize=False)

    pos = {"pos": (draw(6, 3), "vector")}
    assert equivariance_error(harmonics, pos, "1o+2e", "O(2)") < 1e-12
