"""MD17: raw files of the upstream layout, in electronvolts, split by strides."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from geqlib.data import MD17Data
from geqlib.graph import check_graph
from tests.data.molecules.raw_md17 import Z, arrays, original, revised

KCAL = 0.0433641


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("GEQLIB_DATA", str(tmp_path))
    return tmp_path / "md17"


def ready(name="revised aspirin", **options):
    data = MD17Data(name, **options)
    data.setup()
    return data


@pytest.mark.parametrize(
    ("name", "place", "write"),
    [
        ("revised aspirin", "raw/rmd17/npz_data/rmd17_aspirin.npz", revised),
        ("revised ethanol", "rmd17/npz_data/rmd17_ethanol.npz", revised),
        ("revised salicylic acid", "rmd17_salicylic.npz", revised),
        ("ethanol", "ethanol/raw/md17_ethanol.npz", original),
        ("benzene", "md17_benzene2017.npz", original),
    ],
)
def test_files(root, name, place, write):
    write(root / place)
    data = ready(name)
    pos, energy, forces = arrays(430)
    assert data.splits["train"].index.tolist() == [100, 200, 300, 400]
    assert data.splits["val"].index.tolist() == [0]
    assert data.splits["test"].index.tolist() == [k for k in range(430) if k % 100]
    for split in ("val", "test"):
        for batch in getattr(data, f"{split}_dataloader")():
            check_graph(batch)
            rows = batch.index.numpy()
            assert batch.z.tolist() == Z.tolist() * len(rows)
            assert np.allclose(batch.pos, pos[rows].reshape(-1, 3), rtol=1e-6, atol=1e-7)
            forces_ev = forces[rows].reshape(-1, 3) * KCAL
            assert np.allclose(batch.forces, forces_ev, rtol=2e-6, atol=1e-7)
            assert np.allclose(batch.energy, energy[rows] * KCAL, rtol=2e-6)
            assert batch.edge_index.size(1) == 12 * len(rows)


def test_energies_keep_their_digits(root):
    """Steps of 0.001 kcal/mol on -406 757 kcal/mol: float32 has steps of 0.03."""
    revised(root / "rmd17_aspirin.npz")
    energy = ready().splits["test"].energy
    assert energy.dtype == torch.float64
    steps = -energy.diff()[:98] / (0.001 * KCAL)
    assert torch.allclose(steps, torch.ones_like(steps), rtol=1e-4)


def test_split_of_the_paper(root):
    revised(root / "rmd17_aspirin.npz", count=2_100)
    data = ready(stride=2, val_every=20, num_train=None)
    assert [len(part) for part in data.splits.values()] == [997, 53, 1050]
    assert data.splits["val"].index.tolist() == list(range(0, 2_100, 40))


def test_the_paper_uses_a_hundred_thousand_frames(root, monkeypatch):
    monkeypatch.setattr("geqlib.data.molecules.md17.FRAMES", 2_000)
    revised(root / "rmd17_aspirin.npz", count=2_100)
    assert [len(part) for part in ready().splits.values()] == [19, 1, 1980]


def test_fewer_training_frames(root):
    revised(root / "rmd17_aspirin.npz")
    whole = ready(stride=10, cutoff=2.0)
    some = ready(stride=10, cutoff=2.0, num_train=7)
    fewer = ready(stride=10, cutoff=2.0, num_train=3)
    sets = [set(data.splits["train"].index.tolist()) for data in (fewer, some, whole)]
    assert [len(part) for part in sets] == [3, 7, 40] and sets[0] < sets[1] < sets[2]
    batch = next(iter(fewer.train_dataloader()))
    offset = batch.pos[batch.edge_index[0]] - batch.pos[batch.edge_index[1]]
    assert batch.num_graphs == 3 and offset.norm(dim=1).max() <= 2.0


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"name": "water"}, "name must be one of benzene, uracil"),
        ({"name": "aspirin CCSD"}, "name must be one of"),
        ({"name": "ethanol"}, r"md17_ethanol.npz is not below md17, here or .* download it by"),
        ({"stride": 0}, "stride, val_every, batch_size and eval_batch_size must be at least 1"),
        ({"cutoff": -1.0}, "cutoff must be positive, or null"),
        ({"num_train": 5}, "num_train must be from 1 to the 4 training frames, got 5"),
    ],
    ids=str,
)
def test_wrong_arguments(root, options, sentence):
    revised(root / "rmd17_aspirin.npz")
    with pytest.raises(ValueError, match=sentence):
        ready(**options)


def test_damaged_files(root):
    path = root / "rmd17_aspirin.npz"
    revised(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="is not a file of MD17, or is damaged"):
        ready()
    np.savez(path, something=np.zeros(3))
    with pytest.raises(ValueError, match="is not a file of MD17, or is damaged"):
        ready()
    np.savez(path, z=np.array([{}], dtype=object), R=0, E=0, F=0)
    with pytest.raises(ValueError, match="is not a file of MD17, or is damaged"):
        ready()
