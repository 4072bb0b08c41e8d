"""The denoiser: coefficients by their formulas, symmetry, and networks that it refuses."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from geqlib.generation import Denoiser, centred, loss_weight, preconditioning
from geqlib.graph.complete import complete_graphs
from geqlib.models import PONITA, PointNet
from geqlib.nn import FrameAveraging
from geqlib.symmetry.rotations import random_rotations
from tests.contract import Case, Contract, Typed, all_edges
from tests.ponita.test_network import MIRRORED

SMALL: dict[str, Any] = {"channels": 3, "basis": 3, "layers": 1, "widen": 1}


class DrawnPONITA(PONITA):
    """One whose outputs are not 0 before it is trained."""

    def zero_readout(self) -> None:
        pass


def noisy(pos: Tensor, edge_index: Tensor, generator: torch.Generator) -> Typed:
    x = torch.randn(len(pos), 2, generator=generator, dtype=torch.float64)
    sigma = 0.5 + torch.rand(1, generator=generator, dtype=torch.float64)
    return {
        "pos": (pos, "point"),
        "x": (x, "scalar"),
        "sigma": (sigma, "graph:scalar"),
        "edge_index": (edge_index, "edge_index"),
        "batch": (torch.zeros(len(pos), dtype=torch.long), "batch"),
    }


def denoiser(conditional: bool = False, **options: Any) -> Denoiser:
    features = 5 if conditional else 3
    network = DrawnPONITA(features, 1, 2, 1, **(SMALL | options))
    return Denoiser(network, ["H", "C"], conditional=conditional)


def fixed(module: Denoiser, tensors: dict[str, Tensor], graphs: int) -> dict[str, Any]:
    plan = module.plan(tensors["edge_index"], len(tensors["pos"]))
    return {"num_graphs": graphs, "plan": plan}


class TestContract(Contract):
    cases = (
        Case(
            "Denoiser",
            denoiser,
            noisy,
            ("vector", "scalar"),  # positions without their mean: translations change nothing
            groups=("T(3)", MIRRORED),
            extra=fixed,
            backend="eager",
        ),
        Case(
            "Denoiser with features of pairs",
            partial(denoiser, edge_dim=5),
            noisy,
            ("vector", "scalar"),
            groups=("T(3)", MIRRORED),
            extra=fixed,
            backend="eager",
        ),
    )


@pytest.mark.parametrize("sigma", [1e-3, 0.2, 1.0, 7.5])
def test_coefficients_are_those_of_the_paper(sigma: float) -> None:
    """Karras et al., table 1, with sigma_data = 1, in float64."""
    scales = preconditioning(torch.tensor(sigma, dtype=torch.float64))
    data = 1.0
    expected = (
        data**2 / (sigma**2 + data**2),
        sigma * data / math.sqrt(sigma**2 + data**2),
        1 / math.sqrt(sigma**2 + data**2),
        math.log(sigma) / 4,
    )
    assert torch.tensor(scales).tolist() == pytest.approx(expected, rel=1e-6)
    weight = float(loss_weight(torch.tensor(sigma, dtype=torch.float64)))
    # out^2 weight = 1, so that errors of the network count alike, but for the smallest levels
    assert weight == pytest.approx(min(1 / expected[1] ** 2, 1000), rel=1e-12)


def pairs(x: Tensor, level: Tensor, edges: Tensor) -> Tensor:
    """[E, 5] of each edge in a loop."""
    rows = [torch.cat([level[i], x[j] + x[i], x[j] * x[i]]) for j, i in edges.T.tolist()]
    return torch.stack(rows)


@pytest.mark.parametrize("edge_dim", [0, 5])
def test_denoised_by_hand(edge_dim: int) -> None:
    """D(y; sigma) = skip y + out (into y - network), each in its own loop, in float64."""
    module, pos = denoiser(edge_dim=edge_dim).double(), torch.randn(5, 3, dtype=torch.float64)
    x, sigma = torch.randn(5, 2, dtype=torch.float64), torch.tensor([0.3, 2.0], dtype=torch.float64)
    sizes = [(0, 3), (3, 5)]
    near = complete_graphs(torch.tensor([0, 3, 5]))
    batch = torch.tensor([0, 0, 0, 1, 1])
    result = module(pos, x, sigma, near.edge_index, batch, 2, near.reverse)
    for (a, b), s in zip(sizes, sigma.tolist(), strict=True):
        p = pos[a:b] - pos[a:b].mean(0)
        into = 1 / math.sqrt(s * s + 1)
        level = torch.full((b - a, 1), math.log(s) / 4, dtype=torch.float64)
        features = torch.cat([into * x[a:b], level], 1)
        edges = all_edges(b - a)
        of_pairs = pairs(into * x[a:b], level, edges) if edge_dim else None
        scalars, vectors = module.network(into * p, edges, features, into * p[:, None], of_pairs)
        moved = vectors[:, 0] - vectors[:, 0].mean(0)
        skip, out = 1 / (s * s + 1), s / math.sqrt(s * s + 1)
        torch.testing.assert_close(result.pos[a:b], skip * p + out * (into * p - moved))
        torch.testing.assert_close(result.x[a:b], skip * x[a:b] + out * (into * x[a:b] - scalars))


@pytest.mark.parametrize("space", ["R3xS2", "R3"])
def test_an_untrained_denoiser_returns_its_input_scaled(space: Any) -> None:
    module = Denoiser(PONITA(6, 1, 5, 1, **SMALL, space=space)).double()
    pos = centred(torch.randn(4, 3, dtype=torch.float64), torch.zeros(4, dtype=torch.long), 1)
    x, sigma = torch.randn(4, 5, dtype=torch.float64), torch.tensor([3.0], dtype=torch.float64)
    for _ in range(2):
        result = module(pos, x, sigma, all_edges(4))
        torch.testing.assert_close(result.pos, pos * 4 / 10)
        torch.testing.assert_close(result.x, x * 4 / 10)
        module.reset_parameters()


def test_centring_is_an_orthogonal_projection() -> None:
    batch, eye = torch.tensor([0, 0, 0, 2, 2]), torch.eye(5, dtype=torch.float64)
    matrix = centred(eye, batch, 3)  # of coordinates, as positions of one dimension each
    torch.testing.assert_close(matrix @ matrix, matrix)
    torch.testing.assert_close(matrix, matrix.T)
    assert round(float(matrix.trace())) == 5 - 2  # one degree of freedom a molecule is lost
    assert torch.allclose(matrix.sum(0), torch.zeros(5, dtype=torch.float64))


@torch.no_grad()
def rotation_error(module: Denoiser) -> float:
    torch.manual_seed(0)
    rotations = random_rotations(8, 3, dtype=torch.float64)
    rotations = torch.cat([rotations, -rotations])
    pos, x = torch.randn(6, 3, dtype=torch.float64), torch.randn(6, 2, dtype=torch.float64)
    sigma, edges = torch.tensor([0.7], dtype=torch.float64), all_edges(6)
    plain = module(pos, x, sigma, edges)
    errors = []
    for rotation in rotations:
        turned = module(pos @ rotation.T + 3, x, sigma, edges)
        errors += [turned.pos - plain.pos @ rotation.T, turned.x - plain.x]
    return max(float((e / plain.pos.abs().max()).abs().max()) for e in errors)


def test_all_rotations() -> None:
    """Without orientations exactly; with 12 of them, as near as the grid is dense."""
    exact = rotation_error(denoiser(space="R3", edge_dim=5).double())
    grid = rotation_error(denoiser(orientations=12).double())
    fine = rotation_error(denoiser(orientations=120).double())
    assert exact < 1e-12
    assert exact < fine < grid / 3 and grid < 0.3


def test_the_noise_level_and_the_property_are_seen() -> None:
    module, edges = denoiser(conditional=True), all_edges(4)
    pos, x = torch.randn(4, 3), torch.randn(4, 2)
    level = torch.tensor([1.0])
    unknown = module(pos, x, level, edges).x
    conditional = module(pos, x, level, edges, condition=torch.tensor([[0.0, 1.0]])).x
    other = module(pos, x, level, edges, condition=torch.tensor([[2.0, 1.0]])).x
    torch.testing.assert_close(unknown, module(pos, x, level, edges, condition=torch.zeros(1, 2)).x)
    assert not torch.allclose(unknown, conditional) and not torch.allclose(conditional, other)
    with pytest.raises(ValueError, match="build it with conditional=True"):
        denoiser()(pos, x, level, edges, condition=torch.zeros(1, 2))


def test_frame_averages_are_networks_too() -> None:
    network = PointNet(2, 1, level="node", in_scalars=3, channels=4)
    inputs = {"pos": "point", "x": "scalar"}
    averaged = FrameAveraging(network, "E(3)", inputs=inputs, outputs=("scalar", "vector"))
    assert rotation_error(Denoiser(averaged, ["H", "C"]).double()) < 1e-10
    assert rotation_error(Denoiser(network, ["H", "C"]).double()) > 1e-3


class ScalarsAlone(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


def test_networks_that_cannot_denoise_are_refused() -> None:
    with pytest.raises(ValueError, match=r"PONITA returns no vectors, along which .* moves atoms"):
        Denoiser(PONITA(3, 1, 2, 0, **SMALL), ["H", "C"])
    with pytest.raises(ValueError, match="in_scalars=2, and a denoiser of H, C takes 3"):
        Denoiser(PONITA(2, 1, 2, 1, **SMALL), ["H", "C"])
    with pytest.raises(ValueError, match=r"edge_dim=3, .* build it with edge_dim=5\."):
        Denoiser(PONITA(3, 1, 2, 1, **SMALL, edge_dim=3), ["H", "C"])
    inputs = {"pos": "point", "x": "scalar"}
    network = PointNet(2, 1, level="node", in_scalars=3, channels=4)
    network.edge_dim = 5  # which frames are not averaged over
    averaged = FrameAveraging(network, "E(3)", inputs=inputs, outputs=("scalar", "vector"))
    with pytest.raises(ValueError, match=r"PointNet has edge_dim=5, .* build it with edge_dim=0\."):
        Denoiser(averaged, ["H", "C"])
    with pytest.raises(ValueError, match='build it with level="node"'):
        Denoiser(PONITA(3, 1, 2, 1, **SMALL, level="graph"), ["H", "C"])
    module = Denoiser(ScalarsAlone(), ["H", "C"])
    with pytest.raises(ValueError, match=r"ScalarsAlone returned Tensor .* vectors \[2, 1, 3\]"):
        module(torch.zeros(2, 3), torch.zeros(2, 2), torch.ones(1), all_edges(2))


def test_species() -> None:
    module = denoiser()
    assert module.decode(module.encode(torch.tensor([6, 1]))).tolist() == [6, 1]
    assert module.encode(torch.tensor([6])).tolist() == [[0.0, 0.25]]
    with pytest.raises(ValueError, match=r"O is not one of the species of the denoiser \(H, C\)"):
        module.encode(torch.tensor([1, 8]))
    with pytest.raises(ValueError, match="species are H, Xx"):
        Denoiser(ScalarsAlone(), ["H", "Xx"])
