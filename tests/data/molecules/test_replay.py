"""Old structures among new ones: which batches there are, when, and what is refused."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from typing import Any

import pytest
import torch
from torch.utils.data.distributed import DistributedSampler

from geqlib.data import MoleculeData
from geqlib.data.molecules.replay import BothBatches
from tests.train.potential import write_frames

KEYS: dict[str, Any] = {"energy_key": "E", "forces_key": "F", "cutoff": 3.0, "batch_size": 3}


def batches(new: int, old: int, epoch: int = 0, **options: Any) -> list[list[int]]:
    sampler = BothBatches(new, old, options.pop("size", 3), **options)
    sampler.set_epoch(epoch)
    listed = list(sampler)
    assert len(listed) == len(sampler)
    return listed


@pytest.mark.parametrize("weight", [0.0, 0.4, 1.0, 2.5])
def test_batches_are_of_one_kind_and_as_many_as_their_weights_say(weight: float) -> None:
    new, old = 10, 7
    for epoch in range(3):
        listed = batches(new, old, epoch, weight=weight, seed=5)
        kinds = [{k >= new for k in batch} for batch in listed]
        assert all(len(kind) == 1 for kind in kinds)
        replayed = [batch for batch in listed if batch[0] >= new]
        assert len(listed) - len(replayed) == 3 and len(replayed) == round(3 * weight)
        assert all(len(batch) == 3 for batch in listed)
        own = [k for batch in listed for k in batch if k < new]
        assert len(set(own)) == 9
        # drawn without repetition, until all were drawn
        drawn = Counter(k for batch in replayed for k in batch)
        assert set(drawn) <= set(range(new, new + old))
        if drawn:
            assert max(drawn.values()) <= -(-len(replayed) * 3 // old)


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    one, two = (batches(10, 7, 4, weight=1.0, seed=3) for _ in range(2))
    assert one == two
    assert one != batches(10, 7, 5, weight=1.0, seed=3)
    assert one != batches(10, 7, 4, weight=1.0, seed=2)
    positions = {tuple(b[0] >= 10 for b in batches(10, 7, e, weight=1.0)) for e in range(8)}
    assert len(positions) > 1  # not always the same kind first


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_new_structures_come_in_the_order_of_a_run_without_old_ones(weight: float) -> None:
    plain = DistributedSampler(range(10), 1, 0, shuffle=True, seed=1)  # type: ignore[arg-type]
    plain.set_epoch(2)
    expected = [list(plain)[3 * k : 3 * k + 3] for k in range(3)]
    own = [b for b in batches(10, 7, 2, weight=weight, seed=1) if b[0] < 10]
    assert sorted(own) == sorted(expected)
    assert weight or own == expected


def test_processes_share_both_kinds() -> None:
    shares = [batches(12, 8, 1, weight=1.0, processes=2, rank=r, size=2) for r in (0, 1)]
    assert [b[0] >= 12 for b in shares[0]] == [b[0] >= 12 for b in shares[1]]
    new, old = (
        [k for k in chain.from_iterable(chain.from_iterable(shares)) if (k >= 12) == late]
        for late in (False, True)
    )
    assert sorted(new) == list(range(12))
    assert len(old) == 12 and max(Counter(old).values()) == 2


def test_fewer_structures_than_a_batch() -> None:
    assert [len(b) for b in batches(2, 1, weight=1.0, size=5)] == [2, 2]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("replay")
    for name, count in (("new", 10), ("old", 12)):
        write_frames(folder / f"{name}.xyz", count)
    return {name: str(folder / f"{name}.xyz") for name in ("new", "old")}


def test_loaders(files: dict[str, str]) -> None:
    """Old structures have the settings of the new ones but those that they name."""
    replay = {"train": files["old"], "val": 5, "weight": 1.0}
    data = MoleculeData(files["new"], 2, replay=replay, **KEYS)
    data.setup("fit")
    sizes = {name: len(split) for name, split in data.splits.items()}
    assert sizes == {"train": 8, "val": 2, "old_train": 7, "old_val": 5}
    new, old = data.val_dataloader()
    assert sum(b.num_graphs for b in new) == 2 and sum(b.num_graphs for b in old) == 5
    assert data.validated == ("val", "old")
    energies = {name: set(data.splits[name].energy.tolist()) for name in ("train", "old_train")}
    kinds = []
    for batch in data.train_dataloader():
        assert batch.edge_index.max() < batch.num_nodes and "forces" in batch
        kinds += [n for n, own in energies.items() if set(batch.energy.tolist()) <= own]
    assert len(kinds) >= 4 and {"train", "old_train"} <= set(kinds)
    test = data.of_file(files["old"])
    test.setup("test")
    assert list(test.splits) == ["test"] and len(test.splits["test"]) == 12


def test_a_weight_of_0_measures_alone(files: dict[str, str]) -> None:
    replay = {"train": files["old"], "val": 5, "weight": 0}
    measured = MoleculeData(files["new"], 2, replay=replay, **KEYS)
    plain = MoleculeData(files["new"], 2, **KEYS)
    for data in (measured, plain):
        data.setup("fit")
    assert "old_train" not in measured.splits and len(measured.splits["old_val"]) == 5
    for one, two in zip(measured.train_dataloader(), plain.train_dataloader(), strict=True):
        assert torch.equal(one.index, two.index)


def test_another_data_module(files: dict[str, str]) -> None:
    old = {"train": files["old"], "val": 3, "energy_key": "E", "forces_key": "F"}
    replay = {"class_path": "geqlib.data.MoleculeData", "init_args": old, "weight": 0.5}
    data = MoleculeData(files["new"], 2, replay=replay, **KEYS)
    data.setup("fit")
    assert len(data.splits["old_train"]) == 9 and data.replay_weight == 0.5


@pytest.mark.parametrize(
    ("replay", "said"),
    [
        ({"train": "a.xyz", "weight": -1}, "weight of replay is -1"),
        ({"train": "a.xyz", "weight": "much"}, "weight of replay is 'much'"),
        ({"weight": 1.0}, "names no structures"),
        ({"train": "a.xyz", "wieght": 1.0}, "has the setting 'wieght'"),
        ({"train": "a.xyz", "test": 3}, "has the setting 'test'"),
        ({"class_path": "os.system", "init_args": {}}, "not a class of geqlib"),
    ],
)
def test_refused(replay: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        MoleculeData("new.xyz", replay=replay)


def test_validation_is_needed(files: dict[str, str]) -> None:
    data = MoleculeData(files["new"], 2, replay={"train": files["old"], "val": 0}, **KEYS)
    with pytest.raises(ValueError, match="no structures for validation"):
        data.setup("fit")
