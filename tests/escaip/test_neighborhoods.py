"""Soft ranks, envelopes and the tables of neighbours."""

from __future__ import annotations

import math
from dataclasses import astuple

import pytest
import torch
from torch import Tensor

from geqlib.escaip.neighborhoods import (
    Envelope,
    departure,
    most_neighbors,
    neighborhood_plan,
    neighborhoods,
    soft_rank,
)
from geqlib.graph import neighbor_list
from tests.escaip.oracle_escaip import Edges
from tests.waits import waits

ENVELOPE = Envelope(cutoff=3.0, k=4, softness=0.2, temperature=0.1)


def cloud(nodes: int, seed: int = 0, scale: float = 1.2) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(nodes, 3, generator=generator, dtype=torch.float64)


class Options:
    """What the slow formulas ask of a network."""

    envelope = ENVELOPE


def test_envelopes_are_their_formula() -> None:
    """Of edges that go both ways, and of some that go one way."""
    pos = cloud(9)
    edge_index = neighbor_list(pos, 3.0).edge_index[:, 3:]
    plan = neighborhood_plan(edge_index, 9, ENVELOPE.k)
    offset = pos[plan.neighbor] - pos[:, None]
    distance = (offset.square().sum(2) + 1e-6).sqrt()
    x = ENVELOPE(distance, plan)
    slow = Edges(Options(), pos, edge_index)  # type: ignore[arg-type]
    for node, slot in plan.filled.nonzero().tolist():
        number = int(plan.edge[node, slot])
        assert slow.ends[number] == (int(plan.neighbor[node, slot]), node)
        torch.testing.assert_close(
            float(x[node, slot]), slow.envelope(number), atol=1e-12, rtol=1e-12
        )
    assert int(plan.filled.sum()) == edge_index.size(1)
    assert bool((x[~plan.filled] > 1).all())


def test_tables_lead_from_arrivals_to_departures_and_back() -> None:
    edge_index = torch.tensor([[0, 1, 2, 2, 2], [1, 0, 0, 1, 3]])
    plan = neighborhood_plan(edge_index, 5, 30)
    assert plan.neighbor.shape == (5, 3) and len(plan.nearest) == 3
    flat = plan.edge.flatten()
    for node, slot in plan.left.nonzero().tolist():
        number = flat[plan.leaving[node, slot]]
        assert edge_index[0, number] == node
        assert plan.departure.flatten()[plan.leaving[node, slot]] == 3 * node + slot
    assert int(plan.left.sum()) == int(plan.filled.sum()) == 5


def test_the_host_waits_once() -> None:
    edge_index = neighbor_list(cloud(9), 3.0).edge_index
    assert waits(lambda: neighborhood_plan(edge_index, 9, 4)) == ["_local_scalar_dense"]
    plan = neighborhood_plan(edge_index, 9, 4)
    assert waits(lambda: neighborhoods(cloud(9), plan, ENVELOPE)) == []


def test_ranks_of_distant_edges_are_whole_numbers() -> None:
    """Far apart in units of the softness: the atom itself, those nearer, and half of the own."""
    torch.testing.assert_close(
        soft_rank(torch.tensor([[20.0, 90.0, 50.0]])), torch.tensor([[1.5, 3.5, 2.5]])
    )


def test_an_edge_leaves_the_ranks_of_others_at_the_cutoff() -> None:
    """By a term of t that grows without a bound there: the published sum would jump."""
    cutoff, softness = ENVELOPE.cutoff, ENVELOPE.softness
    near, edge = 2.7, torch.tensor(3.0 - 1e-5, dtype=torch.float64)
    t = edge / softness + departure(edge / cutoff)
    own = near / softness + float(departure(torch.tensor(near / cutoff, dtype=torch.float64)))
    assert torch.sigmoid(own - t) == 0
    assert 1 / (1 + math.exp((3.0 - near) / softness)) > 0.1  # as published


@pytest.mark.parametrize("scale", [0.05, 0.3, 1.0])
@pytest.mark.parametrize("k", [2, 3, 8])
def test_the_table_holds_all_that_count(k: int, scale: float) -> None:
    """At most 2k - 2, also of neighbours that are equally far, and of some cut off by the rest."""
    envelope = Envelope(3.0, k, 0.2, 0.1)
    shell = torch.nn.functional.normalize(cloud(40), dim=1) * 2 * scale
    for pos in (cloud(40, scale=scale), torch.cat([shell.new_zeros(1, 3), shell])):
        plan = neighborhood_plan(neighbor_list(pos, 3.0).edge_index, len(pos), k)
        offset = pos[plan.neighbor] - pos[:, None]
        x = envelope((offset.square().sum(2) + 1e-6).sqrt(), plan)
        count = (x < 1).sum(1)
        assert int(count.max()) <= most_neighbors(k)
        slots = neighborhoods(pos, plan, envelope)
        assert torch.equal(slots.log_weight.isfinite().sum(1), count + 1)
        assert slots.neighbor.size(1) <= most_neighbors(k) + 1
        trimmed = neighborhoods(pos, plan, envelope, trimmed=True)
        width = int(count.max()) + 1
        assert trimmed.neighbor.size(1) == width
        for one, other in zip(astuple(trimmed), astuple(slots), strict=True):
            assert torch.equal(one, other[:, :width])


def test_the_atom_itself_stands_first() -> None:
    pos = cloud(6)
    plan = neighborhood_plan(neighbor_list(pos, 3.0).edge_index, 6, 4)
    slots = neighborhoods(pos, plan, ENVELOPE)
    assert slots.neighbor[:, 0].tolist() == list(range(6))
    for own in (slots.log_weight[:, 0], slots.distance[:, 0], slots.direction[:, 0]):
        assert not own.any()
    # nearest first
    weights = slots.log_weight[:, 1:]
    assert bool((weights[:, 1:] <= weights[:, :-1]).all())
