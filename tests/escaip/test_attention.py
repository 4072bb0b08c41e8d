"""Attention inside neighbourhoods: its formula, the addition theorem, and bond orders."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from ase.build import bulk
from torch import Tensor
from torch.nn.functional import normalize, scaled_dot_product_attention

from geqlib.escaip.attention import angular_products, attention
from geqlib.escaip.inputs import LEAST, bond_orders
from geqlib.nn import NeighborhoodAttention
from geqlib.sphere.harmonics import SolidHarmonics
from geqlib.symmetry.rotations import random_rotations
from tests.escaip.oracle_escaip import legendre

ATOMS, SLOTS, HEADS = 3, 6, 2
CHANNELS = (3, 1, 0, 2, 2)


def directions(seed: int = 0) -> Tensor:
    """Unit vectors, after the 0 of the atom itself."""
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(ATOMS, SLOTS, 3, generator=generator, dtype=torch.float64)
    vectors = normalize(vectors, dim=2)
    vectors[:, 0] = 0
    return vectors


def harmonics(vectors: Tensor, degree: int) -> Tensor:
    return SolidHarmonics(degree)(vectors.flatten(0, 1)).unflatten(0, vectors.shape[:2])


def random(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def log_weights() -> Tensor:
    """0 of the atom itself, a few finite ones, and an empty slot."""
    weights = -random(ATOMS, SLOTS, seed=2).abs()
    weights[:, 0] = 0
    weights[:, -1] = -torch.inf
    return weights


def test_addition_theorem() -> None:
    """Also with the atom itself, whose direction is 0, and with vectors of other lengths."""
    vectors = directions() * torch.linspace(0.5, 1.5, SLOTS, dtype=torch.float64)[:, None]
    products = angular_products(harmonics(vectors, 5), 5)
    assert products.shape == (5, ATOMS, SLOTS, SLOTS)
    for degree in range(1, 6):
        for i in range(ATOMS):
            slow = [[legendre(degree, u, v) for v in vectors[i]] for u in vectors[i]]
            expected = torch.tensor(slow, dtype=torch.float64)
            torch.testing.assert_close(products[degree - 1, i], expected, atol=1e-12, rtol=0)


def test_no_degrees_no_products() -> None:
    assert angular_products(harmonics(directions(), 2), 0).shape == (0, ATOMS, SLOTS, SLOTS)


def test_attention_is_the_published_form() -> None:
    """Channels that are repeated and multiplied by harmonics, then plain attention."""
    q, k, v = (random(ATOMS, HEADS, SLOTS, sum(CHANNELS), seed=seed) for seed in range(3))
    values, blocks, repeated = harmonics(directions(), 4), [], []
    of_channel = [degree for degree, count in enumerate(CHANNELS) for _ in range(count)]
    for channel, degree in enumerate(of_channel):
        part = values[..., degree**2 : (degree + 1) ** 2]
        blocks.append(part * (4 * torch.pi / (2 * degree + 1)) ** 0.5)
        repeated += [channel] * (2 * degree + 1)
    wide_q, wide_k = (x[..., repeated] * torch.cat(blocks, 2)[:, None] for x in (q, k))
    mask = log_weights()[:, None, None, :].expand(-1, HEADS, SLOTS, -1)
    expected = scaled_dot_product_attention(wide_q, wide_k, v, attn_mask=mask)
    out = attention(q, k, v, log_weights(), angular_products(values, 4), CHANNELS)
    torch.testing.assert_close(out, expected, atol=1e-13, rtol=1e-13)


def test_the_first_slot_alone() -> None:
    """The same as the first output of all, as its angles are of degree 0."""
    x, angles = random(ATOMS, SLOTS, 8), angular_products(harmonics(directions(), 3), 3)
    torch.manual_seed(0)
    every = NeighborhoodAttention(8, 2, angular=(4,)).double()
    first = NeighborhoodAttention(8, 2, centre=True).double()
    first.load_state_dict(every.state_dict())
    out = first(x, log_weights(), angles)
    assert out.shape == (ATOMS, 1, 8)
    torch.testing.assert_close(out, every(x, log_weights(), angles)[:, :1], atol=1e-14, rtol=0)


def test_empty_slots_and_the_order_of_slots_change_nothing() -> None:
    layer = NeighborhoodAttention(8, 2, angular=(2, 1, 1)).double()
    x, weights, vectors = random(ATOMS, SLOTS, 8), log_weights(), directions()

    def run(order: Tensor) -> Tensor:
        angles = angular_products(harmonics(vectors[:, order], 2), 2)
        return layer(x[:, order], weights[:, order], angles)

    out, order = run(torch.arange(SLOTS)), torch.tensor([0, 3, 1, 4, 2])
    torch.testing.assert_close(run(order), out[:, order], atol=1e-14, rtol=1e-14)


def test_angles_matter() -> None:
    layer = NeighborhoodAttention(8, 2, angular=(2, 1, 1)).double()
    x, weights = random(ATOMS, SLOTS, 8), log_weights()
    one, other = (
        layer(x, weights, angular_products(harmonics(directions(seed), 2), 2)) for seed in (0, 1)
    )
    assert (one - other).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 8, "heads": 3}, "channels must be a multiple of heads.* got 8 and 3"),
        ({"channels": 8, "heads": 0}, "both positive"),
        ({"channels": 8, "heads": 2, "angular": (5, -1)}, "must add up"),
        ({"channels": 8, "heads": 2, "angular": (1, 1)}, "must add up to channels / heads = 4"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NeighborhoodAttention(**options)


def test_bond_orders_do_not_turn() -> None:
    vectors, weights = directions(), log_weights().exp()
    expected = bond_orders(harmonics(vectors, 9), weights, 9)
    for rotation in (*random_rotations(3, 3, dtype=torch.float64), -torch.eye(3).double()):
        turned = bond_orders(harmonics(vectors @ rotation.T, 9), weights, 9)
        torch.testing.assert_close(turned, expected, atol=1e-12, rtol=0)


def test_bond_orders_of_crystals() -> None:
    """Steinhardt's values for the 12 nearest neighbours in fcc, which have no atom itself."""
    atoms = bulk("Cu", "fcc", a=2**0.5) * (5, 5, 5)
    vectors = atoms.get_all_distances(mic=True, vector=True)[0]
    near = vectors[np.isclose(np.linalg.norm(vectors, axis=1), 1)]
    assert len(near) == 12
    slots = torch.cat([torch.zeros(1, 3, dtype=torch.float64), torch.from_numpy(near)])[None]
    orders = bond_orders(harmonics(slots, 6), torch.ones(1, 13, dtype=torch.float64), 6)[0]
    published = (orders.square() - LEAST).clamp(min=0).sqrt() * 13 / 12
    torch.testing.assert_close(published[3], torch.tensor(0.19094).double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(published[5], torch.tensor(0.57452).double(), atol=1e-5, rtol=0)
    assert published[0] < 1e-6  # l = 1: there is an inversion
