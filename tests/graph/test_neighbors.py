"""The neighbours that the definition gives, image by image."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

from geqlib.graph import neighbor_list, neighbors, radius_graph, reverse_edges
from tests.waits import waits


@pytest.fixture(params=["host", "device"], autouse=True)
def form(request, monkeypatch):
    """Lists are made by search trees on the host, and by torch where the positions are."""
    if request.param == "device":
        monkeypatch.setattr(neighbors, "DEVICES", {"cpu"})


def brute_force(pos, cutoff, cell, pbc, first=0):
    """{(target, source, shift)} of one graph: look at every pair of images.

    With fractional coordinates in [-1, 2] and singular values above 0.5, a pair within 1.4 is at
    most 3 + 1.4 / 0.5 < 6 cells away. Where a direction does not repeat, the way along it may have
    to be undone by the others.
    """
    images = 6 if bool(pbc.all()) else 30
    ranges = [range(-images, images + 1) if repeats else [0] for repeats in pbc.tolist()]
    shifts = torch.tensor(list(product(*ranges)))
    offset = pos[None] - pos[:, None] + (shifts.double() @ cell)[:, None, None]
    near = offset.norm(dim=-1) <= cutoff
    near &= shifts.any(-1)[:, None, None] | ~torch.eye(len(pos), dtype=torch.bool)
    return {(first + i, first + j, *shifts[k].tolist()) for k, i, j in near.nonzero().tolist()}


def random_system(rng, nodes):
    """Positions in and out of a skewed cell, some directions of which repeat."""
    cell = np.zeros((3, 3))
    while np.linalg.svd(cell)[1].min() < 0.5:
        cell = rng.normal(size=(3, 3))
    pbc = torch.from_numpy(rng.integers(0, 2, 3).astype(bool))
    pos = rng.uniform(-1, 2, size=(nodes, 3)) @ cell
    return torch.from_numpy(pos), torch.from_numpy(cell), pbc


def as_set(near):
    rows = torch.cat([near.edge_index.flip(0).T, near.cell_shift], 1).tolist()
    assert rows == sorted(rows), "edges are not sorted"
    actual = {tuple(row) for row in rows}
    assert len(actual) == len(rows), "an edge stands twice"
    return actual


@pytest.mark.parametrize("seed", range(40))
def test_batches_equal_brute_force(seed):
    """Mixed periodicity in one batch, empty graphs, unsorted nodes."""
    rng = np.random.default_rng(seed)
    sizes = [int(n) for n in rng.integers(0, 6, 4)]
    systems = [random_system(rng, n) for n in sizes]
    if seed % 3 == 0:  # a vector that does not repeat may be anything, zero for instance
        systems = [(p, torch.where(pbc[:, None], cell, 0), pbc) for p, cell, pbc in systems]
    cutoff, firsts = float(rng.uniform(0.4, 1.4)), np.cumsum([0, *sizes])
    pos = torch.cat([system[0] for system in systems])
    cell, pbc = (torch.stack([system[k] for system in systems]) for k in (1, 2))
    batch = torch.arange(4).repeat_interleave(torch.tensor(sizes))
    expected = set()
    for system, first in zip(systems, firsts, strict=False):
        expected |= brute_force(system[0], cutoff, *system[1:], int(first))
    assert as_set(neighbor_list(pos, cutoff, cell=cell, pbc=pbc, batch=batch)) == expected
    mixed = torch.from_numpy(rng.permutation(len(pos)))
    got = neighbor_list(pos[mixed], cutoff, cell=cell, pbc=pbc, batch=batch[mixed])
    names = mixed.tolist()
    assert {(names[i], names[j], *s) for i, j, *s in as_set(got)} == expected


def test_reverse_edges_and_offsets():
    pos, cell, _ = random_system(np.random.default_rng(5), 4)
    near = neighbor_list(pos, 2.6, cell=cell[None])
    assert near.reverse.size(0) > 50
    source, target = near.edge_index
    assert torch.equal(near.edge_index[:, near.reverse], near.edge_index.flip(0))
    assert torch.equal(near.cell_shift[near.reverse], -near.cell_shift)
    assert torch.equal(near.reverse[near.reverse], torch.arange(source.size(0)))
    offset = pos[source] - pos[target] + near.cell_shift.double() @ cell
    assert offset.norm(dim=1).max() <= 2.6 and offset.norm(dim=1).min() > 0


def test_molecules_equal_the_radius_graph():
    pos, batch = torch.randn(30, 3), torch.arange(5).repeat_interleave(6)
    near = neighbor_list(pos, 1.5, batch=batch)
    pairs = (torch.cdist(pos.double(), pos.double()) <= 1.5) & (batch == batch[:, None])
    expected = (pairs & ~torch.eye(30, dtype=torch.bool)).nonzero().T.flip(0)
    assert torch.equal(near.edge_index, expected)
    assert torch.equal(near.edge_index, radius_graph(pos, 1.5, batch))
    assert not near.cell_shift.any() and near.cell_shift.shape == (expected.size(1), 3)
    assert torch.equal(near.reverse, reverse_edges(expected, 30))


def test_molecules_in_a_box_do_not_repeat():
    pos = torch.tensor([[0.0, 0, 0], [9.5, 0, 0]])
    box = 10 * torch.eye(3)[None]
    near = neighbor_list(pos, 1.0, cell=box, pbc=torch.zeros(1, 3, dtype=torch.bool))
    assert near.reverse.numel() == 0
    assert neighbor_list(pos, 1.0, cell=box).cell_shift.tolist() == [[-1, 0, 0], [1, 0, 0]]
    assert neighbor_list(pos, 1.0, cell=torch.zeros(1, 3, 3)).reverse.numel() == 0


def test_neighbours_at_the_cutoff_count():
    near = neighbor_list(torch.zeros(1, 3), 2.0, cell=2 * torch.eye(3)[None])
    assert near.edge_index.size(1) == 6
    assert radius_graph(torch.tensor([[0.0], [2.0]]), 2.0).size(1) == 2


def test_order_does_not_depend_on_the_order_of_nodes():
    """The same crystal, written twice: the same edges, whatever algorithm found them."""
    pos, cell, _ = random_system(np.random.default_rng(1), 5)
    first, again = (neighbor_list(pos, 1.2, cell=cell[None]) for _ in range(2))
    assert all(torch.equal(getattr(first, k), getattr(again, k)) for k in vars(first))


@pytest.mark.parametrize("dim", [2, 3])
def test_nothing_is_near_nothing(dim):
    near = neighbor_list(torch.zeros(0, dim), 1.0)
    assert (near.edge_index.shape, near.cell_shift.shape) == ((2, 0), (0, 3))
    assert neighbor_list(torch.zeros(1, dim), 1.0).reverse.numel() == 0
    assert near.to("cpu").edge_index.dtype == torch.long


FLAT = torch.tensor([[[1.0, 0, 0], [0, 1, 0], [1, 1, 0]]])


@pytest.mark.parametrize(
    ("message", "pos", "options"),
    [
        ("cutoff must be positive, got 0", torch.zeros(1, 3), {"cutoff": 0.0}),
        ("cutoff must be positive, got nan", torch.zeros(1, 3), {"cutoff": float("nan")}),
        ("pos holds NaN", torch.full((1, 3), torch.nan), {}),
        ("cell holds NaN", torch.zeros(1, 3), {"cell": torch.full((1, 3, 3), torch.inf)}),
        ("graph 0 repeats along the vectors .* no volume", torch.zeros(1, 3), {"cell": FLAT}),
        (
            "graph 0 repeats along the vectors .* no volume",
            torch.zeros(0, 3),
            {"cell": torch.zeros(1, 3, 3), "pbc": torch.ones(1, 3, dtype=torch.bool)},
        ),
        ("`cell` is missing", torch.zeros(1, 3), {"pbc": torch.ones(1, 3, dtype=torch.bool)}),
        ("pos has 2 coordinates", torch.zeros(1, 2), {"cell": torch.eye(3)[None]}),
        (
            "batch counts 2 graphs, but cell has 1",
            torch.zeros(2, 3),
            {"cell": torch.eye(3)[None], "batch": torch.tensor([0, 1])},
        ),
        (
            "pbc has 2 rows",
            torch.zeros(2, 3),
            {"cell": torch.eye(3)[None], "pbc": torch.ones(2, 3, dtype=torch.bool)},
        ),
    ],
)
def test_errors(message, pos, options):
    with pytest.raises(ValueError, match=message):
        neighbor_list(pos, **{"cutoff": 1.0, **options})


def test_flat_in_a_direction_that_does_not_repeat():
    near = neighbor_list(torch.zeros(1, 3), 1.1, cell=FLAT, pbc=torch.tensor([[True, True, False]]))
    assert near.edge_index.size(1) == 4


def both_ways(monkeypatch, pos, cutoff, **options):
    """The list of the host, and that of the device with what the host waited for."""
    lists = []
    for devices in (set(), {"cpu"}):
        monkeypatch.setattr(neighbors, "DEVICES", devices)
        lists.append(neighbor_list(pos, cutoff, **options))
    return *lists, waits(lambda: neighbor_list(pos, cutoff, **options))


def check_both(monkeypatch, pos, cutoff, **options):
    host, device, names = both_ways(monkeypatch, pos, cutoff, **options)
    for name, value in vars(host).items():
        assert torch.equal(value, getattr(device, name)), name
    assert names == ["tolist", "_local_scalar_dense"]
    return host


@pytest.mark.parametrize("seed", range(30))
def test_lists_of_the_device_are_those_of_the_host(seed, monkeypatch):
    """Skewed and partly periodic cells, and low ones with many images."""
    rng = np.random.default_rng(seed)
    sizes = [int(n) for n in rng.integers(0, 8, 5)]
    systems = [random_system(rng, n) for n in sizes]
    pos = torch.cat([system[0] for system in systems])
    cell, pbc = (torch.stack([system[k] for system in systems]) for k in (1, 2))
    batch = torch.arange(5).repeat_interleave(torch.tensor(sizes))
    options = {"cell": cell, "pbc": pbc, "batch": batch}
    for cutoff in (0.3, 1.0, 4.0):
        check_both(monkeypatch, pos, cutoff, **options)


@pytest.mark.parametrize("seed", range(10))
def test_neighbours_far_outside_of_the_cell(seed):
    """They are the same, and their shifts make up for it."""
    rng = np.random.default_rng(seed)
    systems = [random_system(rng, 4) for _ in range(3)]
    pos = torch.cat([system[0] for system in systems])
    cell, pbc = (torch.stack([system[k] for system in systems]) for k in (1, 2))
    batch = torch.arange(3).repeat_interleave(4)
    options = {"cell": cell, "pbc": pbc, "batch": batch}
    far = torch.from_numpy(rng.integers(-(10**4), 10**4, (len(pos), 3))) * pbc[batch]
    near = neighbor_list(pos, 1.0, **options)
    away = neighbor_list(pos + (far.double()[:, None] @ cell[batch])[:, 0], 1.0, **options)
    source, target = away.edge_index
    shift = away.cell_shift + far[source] - far[target]
    rows = torch.cat([away.edge_index.flip(0).T, shift], 1).tolist()
    assert {tuple(row) for row in rows} == as_set(near)


def test_dense_crystals_and_large_boxes(monkeypatch):
    rng = np.random.default_rng(0)
    pos = torch.from_numpy(rng.uniform(size=(400, 3)))
    near = check_both(monkeypatch, pos, 0.2, cell=torch.eye(3)[None].double())
    assert near.edge_index.size(1) > 4000
    check_both(monkeypatch, 30 * pos, 3.0)
    apart = torch.cat([pos, pos + 1e6])  # more bins than there may be
    check_both(monkeypatch, apart, 0.2)
    check_both(monkeypatch, pos[:, :2], 0.1)


@pytest.mark.parametrize("graphs", [1, 3, 100])
def test_empty_graphs_and_numbers_beyond_the_points(graphs, monkeypatch):
    pos, batch = torch.randn(3, 3), torch.tensor([graphs - 1] * 3)
    host, device, _ = both_ways(monkeypatch, pos, 2.0, batch=batch)
    assert all(torch.equal(value, getattr(device, k)) for k, value in vars(host).items())
