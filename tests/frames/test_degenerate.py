"""Frames of degenerate samples are those of a loop over samples in numpy, without its reads."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from geqlib.frames import weighted_frames as weighted_frames_module
from geqlib.frames.degenerate import degenerate_frames
from geqlib.frames.vectors import Geometry, Rounding, inertia
from geqlib.testing import degenerate_sets
from geqlib.train.steps.host_reads import HostReads
from tests.frames import oracle_degenerate as oracle
from tests.frames import oracle_weighted
from tests.frames.test_far_from_the_origin import buckyball


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def flat(x: Tensor) -> Tensor:
    """Of which the last axis is uncertain."""
    return x * torch.tensor([1.0, 0.8, 1e-3], dtype=x.dtype)


CENTRED = {name: x - x.mean(0) for name, x in degenerate_sets().items()}
SPATIAL = {
    **CENTRED,
    **{f"{name}, squeezed": flat(x) for name, x in CENTRED.items()},
    "C60": buckyball(),
    "random": random(7, 3),
    "random in a plane": flat(random(6, 3, seed=1)) * torch.tensor([1.0, 1.0, 0.0]),
    "random on a line": random(4, 1) * torch.tensor([[0.6, 0.0, 0.8]]).double(),
    "equal": torch.ones(5, 3).double(),
    "equal on both sides": torch.tensor([[1.0, 0, 0], [1, 0, 0], [-1, 0, 0], [-1, 0, 0]]).double(),
    "zero": torch.zeros(3, 3).double(),
    "huge": 1e30 * random(5, 3, seed=2),
    "one": random(1, 3, seed=3),
    "none": torch.zeros(0, 3).double(),
}
ANGLE = torch.arange(5).double() * (2 * torch.pi / 5)
PLANAR = {
    "pentagon": torch.stack([ANGLE.cos(), ANGLE.sin()], 1),
    "square": torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]]).double(),
    "segment": torch.tensor([[1.0, 2.0], [-1.0, -2.0]]).double(),
    "random": random(5, 2),
    "none": torch.zeros(0, 2).double(),
}

SIGNS = torch.tensor([1.0, 1.0, -1.0, -1.0]).double()[:, None]


def geometry(sets: list[Tensor], *, tensors: bool = False, eps: float = 2.0**-52) -> Geometry:
    """Of samples whose vectors are given, in an order that mixes them."""
    vectors = torch.cat(sets)
    sample = torch.arange(len(sets)).repeat_interleave(torch.tensor([len(x) for x in sets]))
    mixed = torch.randperm(len(vectors), generator=torch.Generator().manual_seed(0))
    mixed = mixed[mixed.remainder(3).argsort(stable=True)]
    d = vectors.size(1)
    moved, of_tensor = vectors.new_zeros(0, d, d), sample[:0]
    if tensors:
        moved = inertia(random(2 * len(sets), 5), 2)
        of_tensor = torch.arange(len(sets)).repeat(2)
    unit = vectors.new_full((len(sets),), eps)
    rounding = Rounding(unit, torch.zeros_like(unit))
    return Geometry(vectors[mixed], sample[mixed], moved, of_tensor, rounding)


CASES = {
    "space": (list(SPATIAL.values()), {}),
    "space, in float32": ([x.float().double() for x in SPATIAL.values()], {"eps": 2.0**-23}),
    "long axes": ([random(7, 3), SPATIAL["octahedron"], SPATIAL["C60"], random(3, 3, seed=4)], {}),
    "as many chains as samples": (
        [torch.diag(torch.tensor([2.0, 1.0, 0.0])).double()[[0, 1, 0, 1]] * SIGNS]
        + [SPATIAL["zero"]] * 3,
        {},
    ),
    "one chain each": ([random(n, 3, seed=n) for n in (3, 5, 9)], {}),
    "with tensors": (list(SPATIAL.values()), {"tensors": True}),
    "plane": (list(PLANAR.values()), {}),
    "line": ([random(3, 1), torch.zeros(2, 1).double()], {}),
    "four dimensions": ([random(3, 4), random(6, 4), torch.eye(4).double()], {}),
}


@pytest.mark.parametrize("degree", [1, 3])
@pytest.mark.parametrize("proper", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_frames_are_those_of_a_loop_over_samples(case: str, proper: bool, degree: int) -> None:
    """Matrices, samples, weights and derivatives, of all samples and of every other one."""
    sets, options = CASES[case]
    whole = geometry(sets, **options)
    for samples in (torch.arange(len(sets)), torch.arange(0, len(sets), 2)):
        results = []
        for frames in (oracle.degenerate_frames, degenerate_frames):
            whole.vectors.grad = None
            matrix, sample, weight = frames(
                replaced(whole, whole.vectors.requires_grad_()),
                samples,
                proper=proper,
                degree=degree,
            )
            (matrix * weighting(matrix)).sum().backward()
            results.append((matrix.detach(), sample, weight, whole.vectors.grad))
        expected, got = results
        for a, b in zip(got[:3], expected[:3], strict=True):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
        scale = expected[3].abs().amax(1, keepdim=True).clamp(min=1e-30)
        torch.testing.assert_close(got[3] / scale, expected[3] / scale, rtol=1e-6, atol=1e-6)


def replaced(whole: Geometry, vectors: Tensor) -> Geometry:
    rest = (whole.sample, whole.inertia, whole.inertia_sample, whole.rounding)
    return Geometry(vectors, *rest)


def weighting(matrix: Tensor) -> Tensor:
    return torch.cos(torch.arange(matrix.numel(), dtype=matrix.dtype)).view_as(matrix)


def test_coincident_vectors_give_one_frame() -> None:
    """However many there are."""
    many = torch.tensor([[0.0, 0, 1], [0, 1, 0]]).double().repeat(2000, 1)
    matrix, _, weight = degenerate_frames(
        geometry([many]), torch.tensor([0]), proper=True, degree=1
    )
    assert len(matrix) == 2 and weight.tolist() == [0.5, 0.5]


def test_the_host_reads_no_more_of_many_samples_than_of_one() -> None:
    """Waits are for the levels of the most symmetric sample, not for each sample."""
    counts = []
    for copies in (1, 20):
        whole = geometry([SPATIAL["octahedron"], SPATIAL["equal on both sides"]] * copies)
        with HostReads() as reads:
            degenerate_frames(whole, torch.arange(2 * copies), proper=True, degree=1)
        counts.append(len(reads.names))
    assert counts[0] == counts[1]


@pytest.mark.parametrize("proper", [False, True])
@pytest.mark.parametrize("case", ["space", "with tensors", "plane", "many"])
def test_weighted_frames_are_those_of_a_loop_over_samples(
    case: str, proper: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As sets, in each sample, and their derivatives; in groups of samples, too."""
    monkeypatch.setattr(weighted_frames_module, "PAIRS", 100)
    sets, options = CASES.get(case, ([random(20, 3), *list(SPATIAL.values())[:3]], {}))
    whole, results = geometry(sets, **options), []
    for frames in (oracle_weighted.weighted_frames, weighted_frames_module.weighted_frames):
        vectors = whole.vectors.clone().requires_grad_()
        result = frames(replaced(whole, vectors), proper=proper)
        moment = torch.einsum("f,fij,fkl->ijkl", result.weight, result.matrix, result.matrix.cos())
        (grad,) = torch.autograd.grad((moment * weighting(moment)).sum(), vectors)
        total = moment.new_zeros(whole.count).index_add(0, result.sample, result.weight)
        results.append((len(result.weight), total.detach(), moment.detach(), grad))
    (size, *expected), (same, *got) = results
    assert size == same and bool((got[0] - 1).abs().max() < 1e-12)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("kind", ["equal on both sides", "zero"])
def test_tensors_that_stay_free_to_rotate_are_refused(kind: str) -> None:
    """In the sample that has them, and in no other."""
    cubic = inertia(torch.tensor([[0.0, 1, 0, 0, 0, 0, 0]]).double(), 3)  # of xyz: no axes
    assert bool((cubic - cubic[0, 0, 0] * torch.eye(3)).abs().max() < 1e-12)
    plain = geometry([SPATIAL["octahedron"], SPATIAL[kind], SPATIAL["octahedron"]])
    for owner in (0, 1):
        rest = (cubic, torch.tensor([owner]), plain.rounding)
        whole = Geometry(plain.vectors, plain.sample, *rest)
        if owner == 0:
            degenerate_frames(whole, torch.arange(3), proper=False, degree=3)
            continue
        with pytest.raises(ValueError, match="sample 1 has tensors of degree 2 or more"):
            degenerate_frames(whole, torch.arange(3), proper=False, degree=3)
