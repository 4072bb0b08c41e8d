"""Averages over rotations: exact where the network is, closer to it where it is not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from numpy.polynomial.legendre import legval
from torch import nn

from geqlib.models import PONITA, Potential, RotationAverage, energy_forces
from geqlib.sphere.grids import compound_rotations, rotation_group, sphere_grid
from geqlib.symmetry.rotations import random_rotations
from tests.atoms.atoms import batch, fields, system


def network(**options: Any) -> PONITA:
    torch.manual_seed(0)
    sizes = {"channels": 16, "layers": 2, "cutoff": 4.0, "smooth": True}
    return PONITA(3, 0, 1, 0, **(sizes | options)).double().eval()


def compound_leftover(count: int, degree: int) -> float:
    """Norm of the mean of all harmonics of a degree over the compound's points."""
    grid = sphere_grid(12)
    points = torch.cat([grid @ turn.T for turn in compound_rotations(grid, count)])
    cosine = (points @ points.T).clamp(-1, 1).numpy()
    coefficients = [0.0] * degree + [1.0]
    return float(max(legval(cosine, coefficients).mean(), 0.0)) ** 0.5


@pytest.mark.slow
def test_what_compounds_integrate() -> None:
    alone = compound_leftover(1, 6)
    assert alone == pytest.approx(0.44**0.5)  # 66 pairs and themselves, by hand
    shares = [compound_leftover(count, 6) / alone for count in (2, 3, 5)]
    torch.testing.assert_close(shares, [0.59, 0.37, 0.04], atol=0.006, rtol=0)
    for degree in (2, 4):  # an icosahedron is exact there, so its copies are
        assert compound_leftover(5, degree) < 1e-7
    turns = compound_rotations(sphere_grid(12), 5)
    torch.testing.assert_close(turns @ turns.mT, torch.eye(3).double().expand(5, 3, 3))
    assert torch.equal(turns[0], torch.eye(3).double())


def test_is_the_mean_over_turned_structures() -> None:
    net = network()
    average = RotationAverage(net, 3)
    pos, z, _ = system(5, periodic=False)
    inputs = fields(pos, z)
    x = torch.randn(5, 3).double()
    actual = average(pos, inputs["edge_index"], x=x)
    turned = [net(pos @ turn.T, inputs["edge_index"], x=x)[0] for turn in average.rotations]
    torch.testing.assert_close(actual, torch.stack(turned).mean(0))


def test_energies_turn_less() -> None:
    pos, z, _ = system(6, periodic=False)
    spread = {}
    for count in (1, 5):
        potential = Potential(RotationAverage(network(), count)).double()
        turns = random_rotations(60, 3, dtype=torch.float64)
        near = {k: v for k, v in fields(pos, z).items() if k != "pos"}
        energy = torch.stack(
            [energy_forces(potential, pos @ t.T, **near)["energy"][0] for t in turns]
        )
        spread[count] = float(energy.std())
    # degree 6 falls to 4 %, degrees 10 and 12 to 60 and 40 %
    assert 0 < spread[5] < 0.6 * spread[1]
    exact = energy_forces(potential, pos @ rotation_group("icosahedral")[7].T, **near)
    assert exact["forces"].isfinite().all()


@pytest.mark.parametrize("periodic", [False, True])
def test_batches_and_forces(periodic: bool) -> None:
    potential = Potential(RotationAverage(network(layers=1), 2)).double()
    sizes = (3, 1, 4)
    systems = [system(n, periodic=periodic) for n in sizes]
    alone = [energy_forces(potential, **fields(p, z, c[None])) for p, z, c in systems]
    actual = energy_forces(potential, **batch(sizes, [periodic] * 3))
    expected = torch.cat([one["energy"] for one in alone])
    torch.testing.assert_close(actual["energy"], expected)
    torch.testing.assert_close(actual["forces"], torch.cat([one["forces"] for one in alone]))


def test_errors() -> None:
    with pytest.raises(ValueError, match="no grid of orientations"):
        RotationAverage(nn.Linear(1, 1), 2)
    with pytest.raises(ValueError, match="no grid"):
        RotationAverage(PONITA(1, 0, 1, 0, channels=4, layers=1, orientations=None), 2)
    with pytest.raises(ValueError, match="at least 1"):
        RotationAverage(network(), 0)
