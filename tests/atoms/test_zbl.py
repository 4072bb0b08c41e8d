"""The repulsion of nuclei is the published function, smooth and finite."""

from __future__ import annotations

from math import exp, hypot

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from geqlib.nn import ZBL
from tests.contract import Case, Contract

ELEMENTS = (1, 6, 8, 14)


class TestContract(Contract):
    @staticmethod
    def inputs(pos, edge_index, generator):
        both = torch.cat([edge_index, edge_index.flip(0)], 1).unique(dim=1)
        z = torch.tensor(ELEMENTS)[torch.randint(4, (len(pos),), generator=generator)]
        return {
            "pos": (0.5 * pos, "point"),  # close enough to feel each other
            "z": (z, "scalar"),
            "edge_index": (both, "edge_index"),
        }

    cases = (
        Case(
            "ZBL",
            ZBL,
            inputs.__func__,
            "scalar",
            groups=("E(3)",),
        ),
    )


def energy(first, second, distance):
    pos = torch.tensor([[0.0, 0, 0], [0.0, distance, 0]], dtype=torch.float64)
    edges = torch.tensor([[0, 1], [1, 0]])
    return ZBL()(pos, torch.tensor([first, second]), edges).sum().item()


def by_hand(first, second, distance, touching):
    """The formula in plain numbers; the constants as LAMMPS documents them."""
    x = distance * (first**0.23 + second**0.23) / (0.8854 * 0.529177)
    screened = (
        0.18175 * exp(-3.19980 * x)
        + 0.50986 * exp(-0.94229 * x)
        + 0.28022 * exp(-0.40290 * x)
        + 0.02817 * exp(-0.20162 * x)
    )
    t = distance / touching
    envelope = 1 - 28 * t**6 + 48 * t**7 - 21 * t**8
    return 14.399645 * first * second / distance * screened * envelope


@pytest.mark.parametrize("distance", [0.1, 0.4, 0.7, 1.0])
@pytest.mark.parametrize(("pair", "touching"), [((6, 8), 0.76 + 0.66), ((14, 1), 1.11 + 0.31)])
def test_formula(pair, touching, distance):
    expected = by_hand(*pair, hypot(distance, 1e-3), touching)
    assert energy(*pair, distance) == pytest.approx(expected, rel=1e-12)
    assert energy(*pair, distance) == energy(*pair[::-1], distance)


def test_silent_beyond_the_covalent_radii():
    assert energy(6, 6, 1.52) == 0.0
    assert energy(6, 6, 1.519) > 0.0
    assert energy(6, 6, 1.5) < 1e-3


def test_derivatives():
    pos = 0.6 * torch.randn(4, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    edges = (~torch.eye(4, dtype=torch.bool)).nonzero().T
    shift = torch.zeros(12, 3, dtype=torch.float64)
    leaves = (pos.requires_grad_(), shift.requires_grad_())
    layer, z = ZBL(), torch.tensor(ELEMENTS)
    gradcheck(lambda p, s: layer(p, z, edges, s), leaves)
    gradgradcheck(lambda p, s: layer(p, z, edges, s), leaves)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_coincident_nuclei(dtype):
    pos = torch.zeros(2, 3, dtype=dtype, requires_grad=True)
    total = ZBL()(pos, torch.tensor([118, 118]), torch.tensor([[0, 1], [1, 0]])).sum()
    (force,) = torch.autograd.grad(total, pos, create_graph=True)
    (second,) = torch.autograd.grad((force * torch.randn_like(force)).sum(), pos)
    assert total.isfinite() and not force.any() and bool(second.isfinite().all())


def test_periodic_images_repel():
    """A chain of one atom a cell: each has two neighbours, itself."""
    edges, shift = torch.zeros(2, 2, dtype=torch.long), torch.tensor([[0.8, 0, 0], [-0.8, 0, 0]])
    chain = ZBL()(torch.zeros(1, 3), torch.tensor([6]), edges, shift)
    assert chain.item() == pytest.approx(energy(6, 6, 0.8), rel=1e-6)


def test_constants_keep_their_digits():
    layer = ZBL().half().double()
    assert layer.tables.table("decay", torch.zeros(1, dtype=torch.float64))[0].item() == 3.19980
