"""Batches of the n-body benchmark hold what they promise."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import geqlib.data.points.nbody
from geqlib.data import NBodyData
from geqlib.data.points.nbody import simulations
from geqlib.data.points.nbody_simulation import NBodySystem, draw_initial_states, simulate

SPLITS = ("train", "val", "test")


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    """A short random stream, so that the tests need not draw all of the benchmark's."""
    monkeypatch.setattr(geqlib.data.points.nbody, "DRAWN", {"train": 12, "val": 8, "test": 8})


@pytest.fixture
def make(tmp_path):
    """A data module that is set up, by default of 7 + 5 + 4 short simulations."""

    def make(batch_size=3, **options):
        sizes = {"train": 7, "val": 5, "test": 4, "input_frame": 0, "target_frame": 2}
        data = NBodyData(batch_size, cache=str(tmp_path), **(sizes | options))
        data.prepare_data()
        data.setup()
        return data

    return make


def loaders(data):
    return {split: getattr(data, f"{split}_dataloader")() for split in SPLITS}


def starts(loader):
    """First coordinate of every simulation, in the order of the loader."""
    return [x for batch in loader for x in batch.pos[batch.ptr[:-1], 0].tolist()]


def test_splits_are_pieces_of_one_stream(make):
    data, rng, system = make(), np.random.RandomState(43), NBodySystem()
    for split, drawn, size in zip(SPLITS, (12, 8, 8), (7, 5, 4), strict=True):
        start = draw_initial_states(system, drawn, rng, keep=size)
        pos, vel = simulate(system, start, (0, 1, 2))
        part = data.splits[split]
        assert len(part) == size
        expected = {"x": start.charge, "pos": pos[:, 0], "y": pos[:, 2], "vec": vel[:, 0]}
        for key, value in (expected | {"path": pos.swapaxes(1, 2)}).items():
            # one rounding to float32
            assert np.allclose(getattr(part, key).flatten(), value.flatten(), 1e-7, 1e-7)


@pytest.mark.parametrize(("dim", "balls"), [(3, 5), (2, 4), (3, 1)])
def test_batches(make, dim, balls):
    data = make(batch_size=2, dim=dim, n_balls=balls, charge_products=True)
    batch, part = next(iter(data.val_dataloader())), data.splits["val"]
    n, e = 2 * balls, 2 * balls * (balls - 1)
    shapes = {key: tuple(value.shape) for key, value in batch.to_dict().items()}
    assert shapes == {
        "pos": (n, dim),
        "vec": (n, 1, dim),
        "x": (n, 1),
        "edge_index": (2, e),
        "edge_attr": (e, 1),
        "y": (n, dim),
        "path": (n, batch.path.size(1), dim),
        "batch": (n,),
        "ptr": (3,),
    }
    assert batch.num_graphs == 2 and batch.num_nodes == n
    for key in ("pos", "vec", "x", "y", "path"):
        assert torch.equal(batch[key], getattr(part, key)[:n])
    assert torch.equal(batch.path[:, 0], batch.pos) and torch.equal(batch.path[:, -1], batch.y)
    assert batch.batch.tolist() == [0] * balls + [1] * balls
    floats = [value.dtype for value in batch.to_dict().values() if value.is_floating_point()]
    assert set(floats) == {torch.float32} and batch.edge_index.dtype == torch.long


def test_edges_are_all_pairs_within_a_simulation(make):
    batch = next(iter(make(charge_products=True).test_dataloader()))
    edges = batch.edge_index.T.tolist()
    wanted = [[i, j] for i in range(15) for j in range(15) if i != j and i // 5 == j // 5]
    assert sorted(edges) == wanted
    products = [batch.x[i, 0] * batch.x[j, 0] for i, j in edges]
    assert batch.edge_attr[:, 0].tolist() == products
    assert "edge_attr" not in next(iter(make().test_dataloader()))


def test_one_simulation_or_some_of_them(make):
    part = make().splits["train"]
    pos = part.pos.view(-1, 5, 3)
    assert torch.equal(part[4].pos, pos[4]) and part[4].edge_index.max() == 4
    some = part.__getitems__([5, 0, 5])
    assert torch.equal(some.pos.view(3, 5, 3), pos[[5, 0, 5]])


def test_training_order_depends_on_seed_and_epoch_alone(make):
    def order(epoch, **options):
        loader = make(**options).train_dataloader()
        loader.sampler.set_epoch(epoch)
        return starts(loader)

    everything = set(make().splits["train"].pos[::5, 0].tolist())
    first = order(0)
    assert order(0) == first and len(set(first)) == 6  # the last batch of one is dropped
    assert set(first) < everything
    assert order(1) != first and order(1) == order(1)
    assert order(0, shuffle_seed=1) != first


def test_other_splits_keep_their_order(make):
    data = make()
    for split in ("val", "test"):
        loader = loaders(data)[split]
        assert starts(loader) == data.splits[split].pos[::5, 0].tolist() == starts(loader)
    assert starts(data.predict_dataloader()) == starts(data.test_dataloader())


@pytest.mark.parametrize("sizes", [(1, 1, 1), (2, 1, 0), (3, 0, 3), (13, 9, 9)])
def test_small_splits(make, sizes):
    data = make(batch_size=4, **dict(zip(SPLITS, sizes, strict=True)))
    for loader, size in zip(loaders(data).values(), sizes, strict=True):
        # a training split that is smaller than a batch is one batch; a longer one drops its rest
        whole = size - size % 4 if loader.drop_last and size > 4 else size
        assert sum(batch.num_graphs for batch in loader) == whole


def test_empty_training_split(make):
    with pytest.raises(ValueError, match="training split is empty: set `train`"):
        make(train=0).train_dataloader()


def test_baselines(make):
    data = make(train=12, input_frame=1, target_frame=5)
    train, test = data.splits["train"], data.splits["test"]
    columns = [
        np.concatenate([(s.pos - s.pos.mean(0)).flatten() for s in train]),
        np.concatenate([s.vec.flatten() for s in train]),
    ]
    shift = np.concatenate([(s.y - s.pos).flatten() for s in train])
    normal = np.array([[a @ b for b in columns] for a in columns])
    a, b = np.linalg.solve(normal, np.array([c @ shift for c in columns]))
    expected = {"copy": [], "constant velocity": [], "linear": []}
    for s in test:
        v = s.vec[:, 0]
        expected["copy"].append(((s.pos - s.y) ** 2).mean())
        expected["constant velocity"].append(((s.pos + 0.4 * v - s.y) ** 2).mean())
        centred = s.pos - s.pos.mean(0)
        expected["linear"].append(((s.pos + a * centred + b * v - s.y) ** 2).mean())
    actual = data.baselines()
    assert actual.keys() == expected.keys()
    for name, errors in actual.items():
        # float32 least squares on 180 rows
        assert np.allclose(errors, np.array(expected[name]), rtol=1e-3, atol=1e-6), name


def test_simulations_are_generated_once(make, monkeypatch):
    first = make()
    monkeypatch.setattr(NBodyData, "_generate", lambda self: pytest.fail("generated again"))
    again = make(batch_size=1, shuffle_seed=5)
    assert torch.equal(first.splits["test"].path, again.splits["test"].path)


def test_data_seed(make):
    a, b = (make(data_seed=seed).splits["train"].pos for seed in (43, 44))
    assert not torch.equal(a, b)


def test_precision_is_the_default_of_torch():
    arrays = (np.ones((1, 2)), np.zeros((1, 2, 2, 3)), np.zeros((1, 2, 3)))
    torch.set_default_dtype(torch.float64)
    try:
        assert simulations(*arrays)[0].pos.dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"train": -1}, "train, val and test must not be negative, got -1, 2000 and 2000"),
        ({"input_frame": 3, "target_frame": 3}, "must not be negative and come before"),
        ({"input_frame": -1}, "input_frame -1 must not be negative"),
        ({"dim": 1}, "dim must be 2 or 3, got 1"),
    ],
    ids=str,
)
def test_wrong_arguments(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        NBodyData(**options)
