"""QM9: the usual split, and targets in the units of the tables of the literature."""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest
import torch
from torch_geometric.datasets.qm9 import HAR2EV, KCALMOL2EV, atomrefs

from geqlib.data import QM9Data
from geqlib.data.molecules.qm9 import ATOMS, COLUMNS, PACKED, qm9_arrays
from geqlib.graph import check_graph, neighbor_list
from tests.data.molecules.raw_qm9 import NAMES, arrays, write_npz

MIRROR = os.environ.get("GEQLIB_DATA")
needs_mirror = pytest.mark.skipif(MIRROR is None, reason="GEQLIB_DATA is not set")
SIZES = {"train": 12, "val": 3}


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A mirror of twenty molecules."""
    write_npz(tmp_path)
    monkeypatch.setenv("GEQLIB_DATA", str(tmp_path))
    return arrays()


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The package qm9pack with the same molecules, and no mirror."""
    built, folder = arrays(), tmp_path / "qm9pack" / "data"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").write_text("raise RuntimeError('its code is not needed')")
    header = ",".join(["Index", "Elements", "XYZ_Ang", *(column for _, column in PACKED)])
    symbols = {1: "H", 6: "C", 7: "N", 8: "O", 9: "F"}
    rows, start = [], 0
    for k, n in enumerate(built["n_atoms"].tolist()):
        elements = [symbols[z] for z in built["z"][start : start + n].tolist()]
        place = built["pos"][start : start + n].tolist()
        numbers = ",".join(repr(x) for x in built["y"][k].tolist())
        rows.append(f'{built["index"][k]},"{elements}","{place}",{numbers}')
        start += n
    for part, some in enumerate((rows[:9], rows[9:])):
        (folder / f"qm9_part{part + 1}.csv").write_text("\n".join([header, *some]) + "\n")
    monkeypatch.delenv("GEQLIB_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    return built


def ready(*args, **options):
    data = QM9Data(*args, **(SIZES | options))
    data.setup()
    return data


def test_split_is_the_usual_permutation(mirror):
    order = mirror["index"][np.random.RandomState(42).permutation(20)]
    data = ready()
    actual = [data.splits[split].index.tolist() for split in ("train", "val", "test")]
    assert actual == [order[:12].tolist(), order[12:15].tolist(), order[15:].tolist()]
    fewer = ready(num_train=5)
    assert fewer.splits["train"].index.tolist() == order[:5].tolist()
    assert fewer.splits["test"].index.tolist() == actual[2]


@pytest.mark.parametrize("cutoff", [None, 1.5, 100.0])
def test_batches(mirror, cutoff):
    data = ready("mu", cutoff, eval_batch_size=2)
    batch = next(iter(data.test_dataloader()))
    check_graph(batch)
    molecules = np.random.RandomState(42).permutation(20)[15:17]
    starts = np.cumsum(mirror["n_atoms"], dtype=int) - mirror["n_atoms"]
    rows = [np.arange(starts[k], starts[k] + mirror["n_atoms"][k]) for k in molecules]
    assert np.array_equal(batch.z, mirror["z"][np.concatenate(rows)])
    assert np.array_equal(batch.pos, mirror["pos"][np.concatenate(rows)])
    assert np.allclose(batch.y, mirror["y"][molecules, NAMES.index("mu")], rtol=1e-6)
    near = neighbor_list(batch.pos, cutoff or 1e3, batch=batch.batch)
    assert torch.equal(batch.edge_index, near.edge_index)
    assert torch.equal(batch.reverse, near.reverse)


@pytest.mark.parametrize("target", COLUMNS)
def test_targets(mirror, target):
    """By a loop over the atoms, with torch_geometric's constants in electronvolts."""
    data, row = ready(target, train=18, val=1), {"U0": 7, "U": 8, "H": 9, "G": 10}
    in_mev = target not in ("mu", "alpha", "r2", "Cv")
    refs = dict(zip([1, 6, 7, 8, 9], atomrefs[row.get(target, 6)], strict=True))
    structures, start, expected = data.splits["train"], 0, {}
    for k, n in enumerate(mirror["n_atoms"].tolist()):
        value = mirror["y"][k, NAMES.index(COLUMNS[target][0])]
        if in_mev:
            atoms = mirror["z"][start : start + n].tolist()
            value = 1000 * (value * HAR2EV - sum(refs[z] for z in atoms))
        expected[int(mirror["index"][k])] = value
        start += n
    wanted = [expected[k] for k in structures.index.tolist()]
    # float32, and atoms to 1e-8 eV
    assert np.allclose(structures.y, wanted, rtol=1e-6, atol=1e-4)


def test_atoms_are_those_of_torch_geometric():
    for row, target in ((7, "U0"), (8, "U"), (9, "H"), (10, "G")):
        assert np.allclose(np.array(list(ATOMS[target].values())) * HAR2EV, atomrefs[row])


def test_package(package, tmp_path, monkeypatch):
    actual = qm9_arrays(tmp_path / "cache")
    assert actual.keys() == package.keys()
    for key, value in package.items():
        assert actual[key].dtype == value.dtype and np.array_equal(actual[key], value), key
    monkeypatch.setattr(
        "geqlib.data.molecules.qm9._from_package", lambda *_: pytest.fail("read again")
    )
    assert np.array_equal(qm9_arrays(tmp_path / "cache")["y"], package["y"])


def test_nothing_there(tmp_path, monkeypatch):
    monkeypatch.setenv("GEQLIB_DATA", str(tmp_path))
    monkeypatch.setattr("geqlib.data.molecules.qm9.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="QM9 is not here: install it by `pip install qm9pack`"):
        ready()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"target": "energy"}, "target must be one of mu, alpha, homo"),
        ({"cutoff": 0.0}, "cutoff must be positive, or null for all pairs"),
        ({"val": 0}, "must be at least 1"),
        ({"num_train": 13}, "num_train must be from 1 to train"),
        ({"train": 18}, r"train \+ val is 21, but there are 20 molecules"),
    ],
    ids=str,
)
def test_wrong_arguments(mirror, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        ready(**options)


@needs_mirror
def test_mirror():
    data = QM9Data("U0")
    data.setup()
    assert {k: len(part) for k, part in data.splits.items()} == {
        "train": 110_000,
        "val": 10_000,
        "test": 10_831,
    }
    parts = list(data.splits.values())
    index = torch.cat([part.index for part in parts])
    assert len(index.unique()) == 130_831 and sum(len(part.z) for part in parts) == 2_359_210
    y = torch.cat([part.y for part in parts])[index.argsort()]
    # methane, ammonia, water: u0_atom of the published gdb9.sdf.csv, in kcal/mol
    published = torch.tensor([-395.999594594, -276.861363363, -213.087624624])
    assert torch.allclose(y[:3], published * KCALMOL2EV * 1000, rtol=0, atol=0.02)
    check_graph(next(iter(data.val_dataloader())))
